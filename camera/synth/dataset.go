package synth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"nightseg/edge/frame"
)

// DatasetOptions say what WriteDataset writes. Zero values of W, H, Layout,
// Speed, FPS, Times, Split, Sequences and Workers mean 640, 480, "auto",
// 8 m/s, 1 frame per second (frames 8 m apart), all three times, "train", 1
// and the number of processors.
type DatasetOptions struct {
	Seed      uint64   `json:"seed"` // of the first drive; the next ones count up
	Sequences int      `json:"sequences"`
	Frames    int      `json:"frames"` // of each drive, at each time of day
	Times     []string `json:"times"`
	Split     string   `json:"split"` // name of the folder, such as train or val
	Layout    string   `json:"layout"`
	W         int      `json:"width"`
	H         int      `json:"height"`
	Speed     float64  `json:"speed"`
	FPS       float64  `json:"fps"`
	Workers   int      `json:"-"`
}

// MaxFrames bounds the frames of a drive in a data set: frame numbers have
// six digits.
const MaxFrames = 999999

func (o DatasetOptions) withDefaults() DatasetOptions {
	if o.Sequences == 0 {
		o.Sequences = 1
	}
	if len(o.Times) == 0 {
		o.Times = slices.Clone(times)
	}
	if o.Split == "" {
		o.Split = "train"
	}
	if o.FPS == 0 {
		o.FPS = 1
	}
	if o.Workers <= 0 {
		o.Workers = runtime.NumCPU()
	}
	p := Params{W: o.W, H: o.H, Layout: o.Layout, Speed: o.Speed, FPS: o.FPS}.withDefaults()
	o.W, o.H, o.Layout, o.Speed = p.W, p.H, p.Layout, p.Speed
	return o
}

func (o *DatasetOptions) check() error {
	if o.Frames < 1 || o.Frames > MaxFrames {
		return fmt.Errorf("frames: %d is not in 1..%d", o.Frames, MaxFrames)
	}
	if o.Sequences < 1 || o.Sequences > 100000 {
		return fmt.Errorf("sequences: %d is not in 1..100000", o.Sequences)
	}
	if o.Split == "." || o.Split == ".." || strings.ContainsAny(o.Split, `/\`) {
		return fmt.Errorf("split: %q is not a folder name", o.Split)
	}
	for i, t := range o.Times {
		if slices.Contains(o.Times[:i], t) {
			return fmt.Errorf("times: %s is given twice", t)
		}
		if err := o.params(0, t).check(); err != nil {
			return err
		}
	}
	return nil
}

func (o *DatasetOptions) params(seq int, time string) Params {
	return Params{
		Seed: o.Seed + uint64(seq), W: o.W, H: o.H, Time: time, Layout: o.Layout, Speed: o.Speed, FPS: o.FPS,
	}
}

// WriteDataset writes drives as a data set in the folder layout of Dark
// Zurich:
//
//	rgb_anon/SPLIT/TIME/SEQ/SEQ_frame_000001_rgb_anon.png
//	gt/SPLIT/TIME/SEQ/SEQ_frame_000001_gt_labelTrainIds.png
//	gt/SPLIT/TIME/SEQ/SEQ_frame_000001_gt_labelColor.png
//
// Frames of the same name at different times show the same things. Frames
// that are there already are kept, so that a run that was cut off goes on;
// synth-SPLIT.json in dir says what they were made with, and a run with other
// options is refused, as is a folder that holds other things. progress, if not nil, is told of each frame, never by
// two goroutines at once. It returns when all frames are written, or with the
// first error.
func WriteDataset(ctx context.Context, dir string, o DatasetOptions, progress func(done, total int)) error {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return fmt.Errorf("synth: %w", err)
	}
	if err := claim(dir, &o); err != nil {
		return fmt.Errorf("synth: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &datasetWriter{dir: dir, o: &o, progress: progress, total: o.Sequences * len(o.Times) * o.Frames}
	jobs := make(chan drive)
	var wg sync.WaitGroup
	for range min(o.Workers, o.Sequences*len(o.Times)) {
		wg.Go(func() {
			for d := range jobs {
				if err := w.write(ctx, d); err != nil {
					cancel(err)
				}
			}
		})
	}
	for seq := range o.Sequences {
		for _, t := range o.Times {
			jobs <- drive{seq, t}
		}
	}
	close(jobs)
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("synth: writing %s: %w", dir, err)
	}
	return nil
}

// claim records the options in dir, or compares them with those recorded.
func claim(dir string, o *DatasetOptions) error {
	want, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return err
	}
	want = append(want, '\n')
	name := filepath.Join(dir, "synth-"+o.Split+".json")
	have, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := refuseForeign(dir); err != nil {
			return err
		}
		return writeFile(name, want)
	}
	if err == nil && !bytes.Equal(have, want) {
		err = fmt.Errorf("%s was made with other options: choose another folder, or remove it", name)
	}
	return err
}

// refuseForeign is an error where dir holds things, but no split of ours.
func refuseForeign(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return err
	}
	for _, e := range entries {
		if ok, _ := filepath.Match("synth-*.json*", e.Name()); ok {
			return nil
		}
	}
	return fmt.Errorf("%s is not empty and holds no drives (no synth-*.json): choose another folder", dir)
}

// drive is one sequence at one time of day.
type drive struct {
	seq  int
	time string
}

type datasetWriter struct {
	dir      string
	o        *DatasetOptions
	progress func(done, total int)
	total    int

	mu   sync.Mutex
	done int
}

func (w *datasetWriter) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done++
	if w.progress != nil {
		w.progress(w.done, w.total)
	}
}

// write writes one drive.
func (w *datasetWriter) write(ctx context.Context, d drive) error {
	o := w.o
	name := fmt.Sprintf("synth%06d", o.Seed+uint64(d.seq))
	if o.Layout == LayoutDemo {
		name = fmt.Sprintf("demo%06d", o.Seed+uint64(d.seq))
	}
	rgbDir := filepath.Join(w.dir, "rgb_anon", o.Split, d.time, name)
	gtDir := filepath.Join(w.dir, "gt", o.Split, d.time, name)
	for _, dir := range []string{rgbDir, gtDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	var r *Renderer
	var f frame.Frame
	enc := newEncoder(o.W, o.H)
	for n := range o.Frames {
		if err := ctx.Err(); err != nil {
			return err
		}
		base := fmt.Sprintf("%s_frame_%06d", name, n+1)
		ids := filepath.Join(gtDir, base+"_gt_labelTrainIds.png")
		// The ids are written last: where they are, all three are.
		if _, err := os.Stat(ids); err == nil {
			w.tick()
			continue
		}
		if r == nil {
			var err error
			if r, err = New(o.params(d.seq, d.time)); err != nil {
				return err
			}
		}
		if err := r.Render(&f, enc.grey.Pix, n); err != nil {
			return err
		}
		if err := enc.writeAll(filepath.Join(rgbDir, base+"_rgb_anon.png"),
			filepath.Join(gtDir, base+"_gt_labelColor.png"), ids, &f); err != nil {
			return err
		}
		w.tick()
	}
	return nil
}

// encoder holds the pictures of one frame.
type encoder struct {
	png  png.Encoder
	rgb  *image.NRGBA
	grey *image.Gray
	pal  *image.Paletted
	buf  bytes.Buffer
}

func newEncoder(w, h int) *encoder {
	box := image.Rect(0, 0, w, h)
	e := &encoder{
		png: png.Encoder{CompressionLevel: png.BestSpeed},
		rgb: image.NewNRGBA(box), grey: image.NewGray(box), pal: image.NewPaletted(box, Palette()),
	}
	for i := 3; i < len(e.rgb.Pix); i += 4 {
		e.rgb.Pix[i] = 255
	}
	return e
}

func (e *encoder) writeAll(rgbName, colourName, idsName string, f *frame.Frame) error {
	for i := range f.W * f.H {
		copy(e.rgb.Pix[4*i:4*i+3], f.Pix[3*i:3*i+3])
	}
	copy(e.pal.Pix, e.grey.Pix)
	for _, p := range []struct {
		name string
		img  image.Image
	}{{rgbName, e.rgb}, {colourName, e.pal}, {idsName, e.grey}} {
		e.buf.Reset()
		if err := e.png.Encode(&e.buf, p.img); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if err := writeFile(p.name, e.buf.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes a file whole or not at all.
func writeFile(name string, data []byte) error {
	tmp := name + ".part"
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

// classColours are the colours of the classes in label pictures.
var classColours = [ClassCount][3]uint8{
	{128, 128, 128},
	{128, 0, 0},
	{192, 192, 128},
	{128, 64, 128},
	{60, 40, 222},
	{128, 128, 0},
	{192, 128, 128},
	{64, 64, 128},
	{64, 0, 128},
	{64, 64, 0},
	{0, 128, 192},
}

// Palette returns 256 colours: those of the classes, black for all others.
func Palette() color.Palette {
	p := make(color.Palette, 256)
	for i := range p {
		p[i] = color.RGBA{A: 255}
		if i < ClassCount {
			c := classColours[i]
			p[i] = color.RGBA{R: c[0], G: c[1], B: c[2], A: 255}
		}
	}
	return p
}
