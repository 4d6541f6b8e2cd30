package model

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

func packTiny(t testing.TB) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "tiny.tar.zst")
	if err := Pack(tiny, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPack(t *testing.T) {
	archive := packTiny(t)
	dir := copyTiny(t)
	writeFile(t, filepath.Join(dir, "notes.txt"), []byte("not named in the manifest"))
	if err := os.Chtimes(filepath.Join(dir, ManifestName), time.Unix(1, 0), time.Unix(2, 0)); err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "again.tar.zst")
	if err := Pack(dir, again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readFile(t, archive), readFile(t, again)) {
		t.Error("the same bundle gave two different archives")
	}
	want, err := Open(tiny)
	if err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	b, err := OpenIn(archive, cache)
	if err != nil {
		t.Fatal(err)
	}
	if b.SHA256 != want.SHA256 || b.Path != archive {
		t.Errorf("packed and opened: sha256 %s, path %s", b.SHA256, b.Path)
	}
	if _, err := os.Stat(filepath.Join(b.Dir, "notes.txt")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that the manifest does not name was packed: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(cache, "bundles", ".part-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestDamagedCacheIsUnpackedAgain(t *testing.T) {
	archive, cache := packTiny(t), t.TempDir()
	b, err := OpenIn(archive, cache)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(b.Dir, "segment.onnx"), []byte("damaged"))
	if _, err := OpenIn(archive, cache); err != nil {
		t.Errorf("with a damaged unpacked form: %v", err)
	}
}

// archiveOf makes an archive with the given headers; the content is zeros.
func archiveOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	z, err := zstd.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.CopyN(w, zeros{}, min(h.Size, 1<<20)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(z.Close()); err != nil { // a tar without its end, if a header promised too much
		t.Fatal(err)
	}
	return buf.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestArchiveFaults(t *testing.T) {
	good := readFile(t, packTiny(t))
	many := make([]tar.Header, maxArchiveFiles+1)
	for i := range many {
		many[i] = tar.Header{Name: strings.Repeat("x", i%90+1) + string(rune('a'+i/90))}
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"truncated":         {good[:len(good)/2], "unexpected EOF"},
		"empty":             {nil, "neither a bundle directory nor"},
		"foreign":           {[]byte("\x89PNG\r\n\x1a\n and so on"), "neither a bundle directory nor"},
		"zstd of something": {archiveOf(t)[:9], "cannot be unpacked"},
		"parent folder":     {archiveOf(t, tar.Header{Name: "../evil"}), "leads out"},
		"hidden parent":     {archiveOf(t, tar.Header{Name: "a/../../evil"}), "leads out"},
		"absolute":          {archiveOf(t, tar.Header{Name: "/etc/evil"}), "leads out"},
		"link": {
			archiveOf(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}), "not a regular",
		},
		"hard link": {
			archiveOf(t, tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "/etc/hosts"}), "not a regular",
		},
		"device":             {archiveOf(t, tar.Header{Name: "d", Typeflag: tar.TypeBlock}), "not a regular"},
		"name twice":         {archiveOf(t, tar.Header{Name: "a"}, tar.Header{Name: "a"}), "occurs twice"},
		"file below a file":  {archiveOf(t, tar.Header{Name: "a"}, tar.Header{Name: "a/b"}), "a/b"},
		"one huge file":      {archiveOf(t, tar.Header{Name: "a", Size: maxFile + 1}), "larger than allowed"},
		"many files":         {archiveOf(t, many...), "more than 256 files"},
		"archive, no bundle": {archiveOf(t, tar.Header{Name: "a", Size: 5}), ManifestName},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "b.tar.zst")
			writeFile(t, file, c.data)
			cache := t.TempDir()
			_, err := OpenIn(file, cache)
			if err == nil {
				t.Fatal("the archive was opened")
			}
			t.Log(err)
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
			left, err := filepath.Glob(filepath.Join(cache, "bundles", "*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(readFile(f, packTiny(f)))
	f.Add(archiveOf(f, tar.Header{Name: "../evil"}))
	f.Add(archiveOf(f, tar.Header{Name: "a/b", Size: 3}, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		top := t.TempDir()
		dir := filepath.Join(top, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		err := unpack(bytes.NewReader(data), dir)
		if err == nil && len(data) == 0 {
			t.Error("nothing was unpacked without an error")
		}
		names, err := os.ReadDir(top)
		if err != nil || len(names) != 1 {
			t.Fatalf("files outside the folder: %v, %v", names, err)
		}
		err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !d.Type().IsRegular() {
				t.Errorf("%s is no regular file", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
