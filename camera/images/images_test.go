package images_test

import (
	"bytes"
	"context"
	"errors"
	"image"
	stdjpeg "image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nightseg/camera/images"
	"nightseg/camera/jpeg"
	"nightseg/edge/frame"
)

// grey is a picture of one level, by which a test tells which file it got.
func grey(level uint8, w, h int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = level
		if i%4 == 3 {
			m.Pix[i] = 255
		}
	}
	return m
}

func write(t *testing.T, path string, m image.Image) {
	t.Helper()
	var b bytes.Buffer
	var err error
	if strings.HasSuffix(path, ".png") {
		err = png.Encode(&b, m)
	} else {
		err = stdjpeg.Encode(&b, m, &stdjpeg.Options{Quality: 95})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func source(t *testing.T, path string, o images.Options) *images.Source {
	t.Helper()
	d, err := jpeg.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	o.JPEG = d
	s, err := images.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// names plays to the end.
func names(t *testing.T, s *images.Source) []string {
	t.Helper()
	var got []string
	var f frame.Frame
	for {
		err := s.Next(context.Background(), &f)
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, f.Name)
	}
}

func TestOrder(t *testing.T) {
	for name, c := range map[string]struct{ files, want []string }{
		"natural": {
			[]string{"10.jpg", "9.jpg", "1.png", "a2.JPG", "a10.jpeg", "a02.jpg", "notes.txt", ".hidden.jpg"},
			[]string{"1.png", "9.jpg", "10.jpg", "a2.JPG", "a02.jpg", "a10.jpeg"},
		},
		"dark zurich": {
			[]string{
				"rgb_anon/train/night/GP010397/GP010397_frame_000010_rgb_anon.png",
				"rgb_anon/train/night/GP010397/GP010397_frame_000002_rgb_anon.png",
				"rgb_anon/train/night/GP010376/GP010376_frame_000100_rgb_anon.png",
				"gt/train/night/GP010397/GP010397_frame_000002_gt_labelTrainIds.png",
				"corresp/train/night/GP010397/x.png",
			},
			[]string{
				"rgb_anon/train/night/GP010376/GP010376_frame_000100_rgb_anon.png",
				"rgb_anon/train/night/GP010397/GP010397_frame_000002_rgb_anon.png",
				"rgb_anon/train/night/GP010397/GP010397_frame_000010_rgb_anon.png",
			},
		},
		"several sequences in one folder": {
			[]string{
				"GOPR0356_frame_000324_rgb_anon.png", "GOPR0356_frame_000321_rgb_anon.png",
				"GOPR0351_frame_000999_rgb_anon.png",
			},
			[]string{
				"GOPR0351_frame_000999_rgb_anon.png", "GOPR0356_frame_000321_rgb_anon.png",
				"GOPR0356_frame_000324_rgb_anon.png",
			},
		},
		"labels beside pictures": {
			[]string{"images/1.png", "labels/1.png", "1_gt_labelIds.png"},
			[]string{"images/1.png"},
		},
		"folders beside pictures": {
			[]string{"1.png", "thumbnails/1.png", "out/mask.png"},
			[]string{"1.png"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range c.files {
				write(t, filepath.Join(dir, f), grey(9, 4, 4))
			}
			if got := names(t, source(t, dir, images.Options{})); !slices.Equal(got, c.want) {
				t.Errorf("order\n%q, want\n%q", got, c.want)
			}
		})
	}
}

func TestOneFileAndAnySize(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "1.png"), grey(10, 7, 3))
	write(t, filepath.Join(dir, "2.jpg"), grey(20, 16, 9))
	s := source(t, dir, images.Options{})
	var f frame.Frame
	for _, want := range []struct{ w, h, level int }{{7, 3, 10}, {16, 9, 20}} {
		if err := s.Next(t.Context(), &f); err != nil {
			t.Fatal(err)
		}
		if f.W != want.w || f.H != want.h || int(f.Pix[0])-want.level > 1 || want.level-int(f.Pix[0]) > 1 {
			t.Errorf("a picture of %dx%d, level %d, want %+v", f.W, f.H, f.Pix[0], want)
		}
		if f.Mono == 0 || f.WallOffset == 0 {
			t.Error("no capture time")
		}
	}
	if got := names(t, source(t, filepath.Join(dir, "2.jpg"), images.Options{})); !slices.Equal(got, []string{"2.jpg"}) {
		t.Errorf("one file: %q", got)
	}
}

func TestBrokenFileIsNamedAndPassed(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"1.jpg", "2.jpg", "3.png", "4.jpg", "5.jpg"} {
		write(t, filepath.Join(dir, n), grey(50, 32, 32))
	}
	for name, size := range map[string]int64{"2.jpg": 300, "3.png": 40} {
		if err := os.Truncate(filepath.Join(dir, name), size); err != nil {
			t.Fatal(err)
		}
	}
	s := source(t, dir, images.Options{})
	for _, n := range []string{"4.jpg", "5.jpg"} {
		if err := os.Remove(filepath.Join(dir, n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "4.jpg"), 0o755); err != nil {
		t.Fatal(err)
	}
	var f frame.Frame
	if err := s.Next(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"2.jpg", "3.png", "4.jpg", "5.jpg"} {
		err := s.Next(t.Context(), &f)
		if !errors.Is(err, images.ErrFile) || !strings.Contains(err.Error(), n) {
			t.Errorf("%s: %v", n, err)
		}
	}
	if err := s.Next(t.Context(), &f); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if c := s.Counters(); c["unreadable"] != 3 || c["missing"] != 1 {
		t.Errorf("counters %v", c)
	}
}

func TestFolderIsEmptied(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "drive")
	for _, n := range []string{"1.png", "2.png", "3.png", "4.png"} {
		write(t, filepath.Join(dir, n), grey(50, 8, 8))
	}
	s := source(t, dir, images.Options{Loop: true})
	var f frame.Frame
	if err := s.Next(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 3 { // once in the list, then when it starts again
		err := s.Next(t.Context(), &f)
		if !errors.Is(err, images.ErrGone) || !strings.Contains(err.Error(), dir) {
			t.Fatalf("folder removed: %v", err)
		}
	}
	if c := s.Counters(); c["missing"] != 3 {
		t.Errorf("counters %v", c)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.Next(t.Context(), &f); !errors.Is(err, images.ErrEmpty) {
		t.Errorf("folder emptied: %v", err)
	}
	write(t, filepath.Join(dir, "new.png"), grey(51, 8, 8))
	if err := s.Next(t.Context(), &f); err != nil || f.Name != "new.png" {
		t.Errorf("folder filled again: %v, %q", err, f.Name)
	}
}

// All pictures go, the folder stays: that is told at once and not picture by
// picture, and it is the end.
func TestAllPicturesGo(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"1.png", "2.png", "3.png", "4.png"} {
		write(t, filepath.Join(dir, n), grey(50, 8, 8))
	}
	s := source(t, dir, images.Options{})
	var f frame.Frame
	if err := s.Next(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"1.png", "2.png", "3.png", "4.png"} {
		if err := os.Remove(filepath.Join(dir, n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Next(t.Context(), &f); !errors.Is(err, images.ErrGone) || !strings.Contains(err.Error(), "after 1 of 4") {
		t.Errorf("pictures removed: %v", err)
	}
	if err := s.Next(t.Context(), &f); !errors.Is(err, io.EOF) {
		t.Errorf("then: %v, want io.EOF", err)
	}
	if c := s.Counters(); c["missing"] != 3 || c["unreadable"] != 0 {
		t.Errorf("counters %v", c)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	d, err := jpeg.New()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path string
		o    images.Options
		want string
	}{
		"missing":    {filepath.Join(dir, "no"), images.Options{JPEG: d}, "no such file"},
		"empty":      {dir, images.Options{JPEG: d}, "no pictures in " + dir},
		"other file": {filepath.Join(dir, "notes.txt"), images.Options{JPEG: d}, "notes.txt is neither"},
		"decoder":    {dir, images.Options{}, "decoder"},
	} {
		if _, err := images.Open(c.path, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", name, err, c.want)
		}
	}
}

func TestLoop(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "1.png"), grey(1, 4, 4))
	write(t, filepath.Join(dir, "2.png"), grey(2, 4, 4))
	s := source(t, dir, images.Options{Loop: true})
	var f frame.Frame
	for i := range 5 {
		if err := s.Next(t.Context(), &f); err != nil {
			t.Fatal(err)
		}
		if int(f.Pix[0]) != i%2+1 {
			t.Errorf("frame %d is picture %d", i, f.Pix[0])
		}
	}
}

func TestNamedPipeDoesNotBlock(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "1.jpg"), grey(1, 4, 4))
	pipe := filepath.Join(dir, "2.jpg")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Skipf("no named pipes here: %v", err)
	}
	s := source(t, dir, images.Options{})
	var f frame.Frame
	if err := s.Next(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	if err := s.Next(t.Context(), &f); !errors.Is(err, images.ErrFile) {
		t.Errorf("a named pipe: %v", err)
	}
}

func TestNoAllocations(t *testing.T) {
	if jpeg.Library != "libjpeg-turbo" {
		t.Skipf("%s allocates", jpeg.Library)
	}
	dir := t.TempDir()
	for i := range 10 {
		write(t, filepath.Join(dir, string(rune('a'+i))+".jpg"), grey(50, 64, 48))
	}
	s := source(t, dir, images.Options{})
	var f frame.Frame
	n := testing.AllocsPerRun(8, func() {
		if err := s.Next(t.Context(), &f); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations per frame, want 0", n)
	}
}

func TestClose(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "1.png"), grey(1, 4, 4))
	s := source(t, dir, images.Options{})
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	var f frame.Frame
	if err := s.Next(t.Context(), &f); err == nil {
		t.Error("a closed source delivered")
	}
}
