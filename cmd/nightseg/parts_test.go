package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"image/color"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"nightseg/camera"
	"nightseg/edge"
	"nightseg/edge/frame"
	"nightseg/edge/settings"
	"nightseg/model"
)

func TestMaskHash(t *testing.T) {
	h := newMaskHash()
	var plain []byte
	for seq, class := range [][]uint8{{0, 1, 2, 255}, {3, 3, 3, 3}} {
		m := frame.Mask{Meta: frame.Meta{Seq: uint64(seq) + 7}, W: 2, H: 2, Class: class}
		h.Write(&m)
		plain = binary.LittleEndian.AppendUint64(plain, m.Seq)
		plain = binary.LittleEndian.AppendUint32(plain, 2)
		plain = binary.LittleEndian.AppendUint32(plain, 2)
		plain = append(plain, class...)
	}
	want := sha256.Sum256(plain)
	if got := h.Sum(); got != hex.EncodeToString(want[:]) {
		t.Errorf("%s, want %x", got, want)
	}
	turned := newMaskHash()
	turned.Write(&frame.Mask{W: 4, H: 1, Class: []uint8{0, 1, 2, 3}})
	other := newMaskHash()
	other.Write(&frame.Mask{W: 1, H: 4, Class: []uint8{0, 1, 2, 3}})
	if turned.Sum() == other.Sum() {
		t.Error("the size does not count")
	}
}

func TestSamples(t *testing.T) {
	var s samples
	if s.quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
	for i := range mostSamples + 100 {
		s.add(float64(i))
	}
	if len(s.values) != mostSamples || s.quantile(0) != 100 || s.quantile(1) != mostSamples+99 {
		t.Errorf("%d values from %v to %v", len(s.values), s.quantile(0), s.quantile(1))
	}
	s.reset()
	s.add(3)
	if s.quantile(0.5) != 3 {
		t.Error("old values after a reset")
	}
}

func TestReadHealth(t *testing.T) {
	root := fstest.MapFS{
		"proc/meminfo":                                   {Data: []byte("MemTotal: 9 kB\nMemAvailable:    2048 kB\n")},
		"proc/self/statm":                                {Data: []byte("100 0 0 0 0 0 0\n")},
		"sys/class/thermal/thermal_zone0/temp":           {Data: []byte("45500\n")},
		"sys/class/thermal/thermal_zone0/type":           {Data: []byte("cpu\n")},
		"sys/class/thermal/thermal_zone1/temp":           {Data: []byte("broken\n")},
		"sys/class/thermal/cooling_device0/type":         {Data: []byte("pwm-fan\n")},
		"sys/class/thermal/cooling_device0/cur_state":    {Data: []byte("3\n")},
		"sys/class/thermal/cooling_device1/type":         {Data: []byte("Processor\n")},
		"sys/class/thermal/cooling_device1/cur_state":    {Data: []byte("0\n")},
		"sys/class/thermal/cooling_device2/without/type": {},
	}
	h := readHealth(root, t.TempDir())
	if len(h.Temperatures) != 1 || h.Temperatures["cpu"] != 45.5 || h.Throttled || h.FreeMemoryMB != 2 ||
		h.FreeDiskMB <= 0 || h.UptimeS <= 0 || h.Goroutines < 2 {
		t.Errorf("%+v", h)
	}
	root["sys/class/thermal/cooling_device1/cur_state"].Data = []byte("1\n")
	if !readHealth(root, "").Throttled {
		t.Error("a processor that is slowed down is not told")
	}
	if h := readHealth(fstest.MapFS{}, "nowhere"); h.FreeDiskMB != 0 || h.FreeMemoryMB != 0 || h.MemoryMB != 0 {
		t.Errorf("of a machine that tells nothing: %+v", h)
	}
}

func TestStartTicks(t *testing.T) {
	stat := "42 (a ) b) S 1 1 1 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 7 0 12345 1 1\n"
	if got := startTicks([]byte(stat)); got != 123450*time.Millisecond {
		t.Errorf("%v", got)
	}
	for _, broken := range []string{"", "42 (a) S 1", strings.Replace(stat, "12345", "x", 1)} {
		if got := startTicks([]byte(broken)); got < frame.Mono()-time.Minute {
			t.Errorf("%q: %v", broken, got)
		}
	}
}

// offers counts what a live outlet hands over.
type offers struct{ n int }

func (o *offers) Offer(*frame.Meta, []byte) bool { o.n++; return true }

func TestLiveOutletThins(t *testing.T) {
	for name, c := range map[string]struct {
		rate, fps float64
		want      int
	}{
		"all":           {0, 30, 90},
		"half":          {15, 30, 45},
		"more than has": {60, 30, 90},
		"a third, odd":  {10, 29.97, 30},
	} {
		var thinned atomic.Uint64
		to := &offers{}
		o := &liveOutlet{client: to, thinnedOf: func(string) *atomic.Uint64 { return &thinned }}
		if c.rate > 0 {
			o.period = time.Duration(float64(time.Second) / c.rate)
		}
		for i := range 90 {
			m := frame.Mask{Meta: frame.Meta{Mono: time.Hour + time.Duration(float64(i)*float64(time.Second)/c.fps)}}
			if err := o.Publish(t.Context(), &m, nil); err != nil {
				t.Fatal(err)
			}
		}
		if to.n < c.want-1 || to.n > c.want+1 || to.n+int(thinned.Load()) != 90 {
			t.Errorf("%s: %d sent, %d left out; want %d sent", name, to.n, thinned.Load(), c.want)
		}
	}
}

// numbered is a source that fails after some frames.
type numbered struct {
	n, fail int
	closed  bool
}

func (s *numbered) Next(_ context.Context, dst *frame.Frame) error {
	if s.n == s.fail {
		return io.EOF
	}
	s.n++
	dst.Reset(1, 1)
	return nil
}

func (s *numbered) Counters() map[string]uint64 { return map[string]uint64{"lost": 2} }
func (s *numbered) Close() error                { s.closed = true; return nil }
func (s *numbered) Refit(camera.Options) error  { return nil }
func (s *numbered) Trouble() error              { return nil }
func (s *numbered) Period() time.Duration       { return 0 }

func TestLiveCameraCounts(t *testing.T) {
	opens := 0
	var last *numbered
	c := newLiveCamera(wanted{}, func(context.Context, wanted) (opened, error) {
		opens++
		if opens == 2 {
			return nil, errors.New("not there")
		}
		last = &numbered{fail: 2}
		return last, nil
	}, nil, edge.NewHealth(nil))
	if len(c.Counters()) != 0 {
		t.Errorf("before it is open: %v", c.Counters())
	}
	var f frame.Frame
	var seqs []uint64
	for faults := 0; faults < 2; {
		if err := c.Next(t.Context(), &f); err != nil {
			faults++
			continue
		}
		seqs = append(seqs, f.Seq)
	}
	if err := c.Next(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	if opens != 3 || f.Seq != 2 || c.Counters()["lost"] != 4 {
		t.Errorf("%d openings, frames %v then %d, counts %v", opens, seqs, f.Seq, c.Counters())
	}
	if err := c.Close(); err != nil || !last.closed {
		t.Errorf("close: %v, %v", err, last.closed)
	}
}

func TestMarkedFrames(t *testing.T) {
	var degraded atomic.Bool
	s := &marked{Source: &numbered{fail: 9}, left: 2, camera: "rear", run: "r7", degraded: &degraded}
	var f frame.Frame
	if err := s.Next(t.Context(), &f); err != nil || f.Camera != "rear" || f.Run != "r7" || f.Flags != 0 {
		t.Errorf("%v, %+v", err, f.Meta)
	}
	degraded.Store(true)
	if err := s.Next(t.Context(), &f); err != nil || f.Flags&frame.FlagDegraded == 0 {
		t.Errorf("%v, %+v", err, f.Meta)
	}
	if err := s.Next(t.Context(), &f); !errors.Is(err, io.EOF) {
		t.Errorf("after the last: %v", err)
	}
}

func TestStagesOf(t *testing.T) {
	b, err := model.Open(tinyBundle(t))
	if err != nil {
		t.Fatal(err)
	}
	l := settings.Default().Live()
	s, bad := stagesOf(l, b)
	if len(bad) > 0 || s.relight.Mode != frame.RelightNetwork || s.decide.Std != b.Reweight.Std || s.codec != "png" {
		t.Errorf("factory settings: %+v, %v", s, bad)
	}
	std := 0.0
	l.Reweight.Std, l.Reweight.Mode, l.Threshold, l.Relight.Gate = &std, "logit", 0.5, "never"
	if s, bad = stagesOf(l, b); len(bad) > 0 || s.decide.Std != 0 || s.decide.Mode != "logit" ||
		s.decide.Threshold != 0.5 || s.relight.Gate != "never" {
		t.Errorf("%+v, %v", s, bad)
	}
	b.Graphs.Relight, b.Graphs.Fused = nil, nil
	if s, bad = stagesOf(l, b); len(bad) > 0 || s.relight.Mode != frame.RelightNone {
		t.Errorf("a bundle without relight network: %v, %v", s.relight.Mode, bad)
	}
	std, l.Relight.Mode = 0.999, "network"
	_, bad = stagesOf(l, b)
	if len(bad) != 2 || bad[0].Pointer != "/relight/mode" || bad[1].Pointer != "/reweight/std" || bad[1].Remedy == "" {
		t.Errorf("a bundle without relight network, and too large a std: %v", bad)
	}
}

func TestSheet(t *testing.T) {
	b, err := model.Open(tinyBundle(t))
	if err != nil {
		t.Fatal(err)
	}
	var f frame.Frame
	f.Reset(tinyW, tinyH)
	for i := range f.Pix {
		f.Pix[i] = 10
	}
	m := frame.Mask{}
	m.Reset(tinyW, tinyH)
	for i := range m.Class {
		m.Class[i] = 2
	}
	m.Class[0] = frame.Unknown
	v := newViews(&f, &f, &m, paletteOf(b))
	if got := v.overlay.RGBAAt(0, 0); got != (color.RGBA{10, 10, 10, 255}) {
		t.Errorf("overlay of an unknown pixel: %v", got)
	}
	if got := v.overlay.RGBAAt(1, 0); got != (color.RGBA{37, 5, 69, 255}) {
		t.Errorf("overlay of a car: %v", got)
	}
	s := sheet{title: "t", subtitle: "s", rows: []views{v, v}, captions: []string{"a", "b"}, classes: b.Classes}
	img, err := s.draw()
	if err != nil {
		t.Fatal(err)
	}
	car := color.RGBA{64, 0, 128, 255}
	tileH := tileW * tinyH / tinyW
	at := 3*lineH + sheetGap + lineH + tileH/2
	if got := img.RGBAAt(sheetGap+2*(tileW+sheetGap)+tileW/2, at); got != car {
		t.Errorf("the mask's tile is %v", got)
	}
	found := 0
	for x := range img.Rect.Dx() {
		if img.RGBAAt(x, img.Rect.Dy()-sheetGap-lineH/2) == car {
			found++
		}
	}
	if found < swatch {
		t.Errorf("%d pixels of the legend have the car's colour", found)
	}
}

func TestFarApart(t *testing.T) {
	var frames []keptFrame
	for i, v := range []byte{0, 100, 0, 200, 100, 201} {
		k := keptFrame{mask: frame.Mask{Meta: frame.Meta{Seq: uint64(i)}}}
		k.frame.Pix = []byte{v, v, v}
		frames = append(frames, k)
	}
	var seqs []uint64
	for _, k := range farApart(frames, 3) {
		seqs = append(seqs, k.mask.Seq)
	}
	if len(seqs) != 3 || seqs[0] != 0 || seqs[1] != 1 || seqs[2] != 5 {
		t.Errorf("chosen %v", seqs)
	}
	if farApart(nil, 3) != nil || len(farApart(frames[:2], 3)) != 2 {
		t.Error("fewer frames than asked for")
	}
}

func TestAtLeast(t *testing.T) {
	var b strings.Builder
	l := atLeast(slog.LevelWarn, slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})))
	l.Info("quiet")
	l.With("a", 1).WithGroup("g").Info("quiet")
	l.With("a", 1).Warn("loud", "b", 2)
	if got := b.String(); strings.Contains(got, "quiet") || !strings.Contains(got, "msg=loud a=1 b=2") {
		t.Errorf("%q", got)
	}
}

// TestDemoOfTheBundle runs what a newcomer runs first, but shorter.
func TestDemoOfTheBundle(t *testing.T) {
	needEngine(t)
	needBundle(t)
	var r demoReport
	commandJSON(t, exitDone, &r, "demo", "--seconds", "1", "--fps", "10", "--out", t.TempDir())
	if r.Received == 0 || r.MIoU == nil || *r.MIoU <= 0 || *r.MIoU > 100 {
		t.Errorf("%+v", r)
	}
}

func TestDemo(t *testing.T) {
	needEngine(t)
	out := t.TempDir()
	code, text, errOut := command(t, "demo", "--bundle", tinyBundle(t), "--seconds", "1", "--fps", "60", "--out", out)
	if code != exitDone {
		t.Fatalf("exit code %d: %s%s", code, text, errOut)
	}
	for _, want := range []string{"frames/s", "capture to subscriber", "lost", "no mIoU", "contact-sheet.png"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	var r demoReport
	commandJSON(t, exitDone, &r, "demo", "--bundle", tinyBundle(t), "--seconds", "1", "--fps", "60", "--out", out)
	if r.Received == 0 || r.Received+r.Lost < r.Frames || r.P50 <= 0 || r.MIoU != nil {
		t.Errorf("%+v", r)
	}
	if b := readPicture(t, r.Sheet).Bounds(); b.Dx() < 4*tileW {
		t.Errorf("contact sheet of %v", b)
	}
}

func FuzzStartTicks(f *testing.F) {
	f.Add([]byte("42 (a ) b) S 1 1 1 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 7 0 12345 1 1\n"))
	f.Add([]byte(""))
	f.Add([]byte("1 (x) " + strings.Repeat("9223372036854775807 ", 30)))
	f.Fuzz(func(t *testing.T, stat []byte) {
		if got := startTicks(stat); got < 0 {
			t.Errorf("started %v before boot", -got)
		}
	})
}
