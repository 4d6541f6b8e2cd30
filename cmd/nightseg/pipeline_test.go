package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nightseg/edge"
	"nightseg/edge/frame"
	"nightseg/edge/message"
	"nightseg/edge/settings"
	"nightseg/model"
)

// collector is an outlet that keeps what it got, and checks it.
type collector struct {
	t  *testing.T
	mu sync.Mutex

	masks   []message.Header
	unknown float64 // share in the last mask
}

// Publish implements edge.Publisher.
func (c *collector) Publish(_ context.Context, _ *frame.Mask, payload []byte) error {
	var m frame.Mask
	h, err := message.Parse(&m, payload)
	if err != nil {
		c.t.Error(err)
		return nil
	}
	unknown := 0
	for _, k := range m.Class {
		if k == frame.Unknown {
			unknown++
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.masks = append(c.masks, h)
	c.unknown = float64(unknown) / float64(len(m.Class))
	return nil
}

// of returns the masks of a camera so far.
func (c *collector) of(camera string) []message.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.masks), func(h message.Header) bool { return h.Camera != camera })
}

// more waits for n masks of a camera from now on, and returns the last.
func (c *collector) more(camera string, n int) (last message.Header) {
	c.t.Helper()
	had := len(c.of(camera))
	eventually(c.t, "masks of "+camera, func() bool {
		all := c.of(camera)
		if len(all) < had+n {
			return false
		}
		last = all[len(all)-1]
		return true
	})
	return last
}

// networksBy opens tiny, or what stands in for it by a name.
type networksBy map[string]func(*loaded)

// pipelineOf starts a pipeline with the tiny bundle and cameras of these sources.
func pipelineOf(t *testing.T, by networksBy, sources ...string) (*pipeline, *collector, settings.Settings) {
	t.Helper()
	needEngine(t)
	s := settings.Default()
	s.Bundle, s.Relight.Gate = tinyBundle(t), "always"
	s.Probation = settings.Probation{Seconds: 1, Frames: 5}
	s.Cameras = nil
	for i, source := range sources {
		s.Cameras = append(s.Cameras, settings.Camera{ID: string(rune('a' + i)), Source: source, Fit: "bundle"})
	}
	out := &collector{t: t}
	svc := &service{flags: &runFlags{}}
	health := edge.NewHealth(nil)
	p := &pipeline{
		stationParts: stationParts{
			around: new(surroundings),
			sender: sender{"test", "car1", "r"}, outlet: func(float64) edge.Publisher { return out },
			health: health, degraded: new(atomic.Bool),
		},
		open: func(ctx context.Context, c settings.Settings) (*loaded, error) {
			change := by[filepath.Base(c.Bundle)]
			if change != nil {
				c.Bundle = tinyBundle(t)
			}
			l, err := svc.open(ctx, c)
			if err == nil && change != nil {
				change(l)
			}
			return l, err
		},
		parallel: svc.parallel,
		meta:     func([]cameraMeta, *loaded) error { return nil },
	}
	nets, err := p.open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.begin(arrangement{settings: s, nets: nets}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.start(ctx)
	t.Cleanup(func() {
		cancel()
		p.wait()
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	return p, out, s
}

const camera60 = "synth://?seed=7&size=48x32&fps=60&loop=8"

// change brings settings into force, and returns what came of the probation.
func (p *pipeline) change(t *testing.T, s settings.Settings, version int64) error {
	t.Helper()
	c, bad := p.Prepare(t.Context(), settings.Desired{Version: version, Settings: s})
	if len(bad) > 0 {
		t.Fatal(settings.Errors(bad))
	}
	if err := c.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	_, err := c.Probation(ctx)
	if err != nil {
		err = errors.Join(err, c.Undo(t.Context()))
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	return err
}

// TestSwapOfBundles replaces networks by ones of another name and of another size
// while frames come. None is lost but those that a live loop leaves out and counts,
// and each mask is of the bundle that it names.
func TestSwapOfBundles(t *testing.T) {
	needBundle(t)
	p, out, s := pipelineOf(t, nil, camera60)
	other := filepath.Join(t.TempDir(), "other")
	copyBundle(t, other, "tiny-3", "tiny-4")
	sizes := map[string][2]int{}
	out.more("a", 10)
	for i, to := range []struct{ bundle, shape string }{
		{other, ""}, {"street-11", "320x240"}, {s.Bundle, ""}, {other, ""},
	} {
		s.Bundle, s.Engine.Shape = to.bundle, to.shape
		if err := p.change(t, s, int64(i+1)); err != nil {
			t.Fatal(err)
		}
		now := p.now().nets.bundle
		sizes[now.SHA256] = [2]int{now.Shapes[0][1], now.Shapes[0][0]}
		if m := out.more("a", 10); m.Bundle != now.SHA256 || m.Settings != int64(i+1) {
			t.Errorf("a mask of bundle %s and settings %d after change %d to %s", m.Bundle, m.Settings, i+1, now.Name)
		}
	}
	if len(sizes) != 3 {
		t.Fatalf("%d bundles", len(sizes))
	}
	masks := out.of("a")
	first := masks[0].Bundle
	sizes[first] = [2]int{masks[0].W, masks[0].H}
	next, changes := masks[0].Seq, 0
	for i, m := range masks {
		// What the made-up camera itself lost, because nobody fetched it in time, has no number.
		if m.Seq < next || m.Seq > next+uint64(m.DroppedBefore) {
			t.Fatalf("frame %d after %d, with %d left out", m.Seq, next-1, m.DroppedBefore)
		}
		next = m.Seq + 1
		if size := sizes[m.Bundle]; size != [2]int{m.W, m.H} {
			t.Fatalf("frame %d: a mask of %dx%d of a bundle of %v", m.Seq, m.W, m.H, size)
		}
		if x, y := m.ToSource.Apply(float64(m.W), float64(m.H)); x != float64(m.SourceW) || y != float64(m.SourceH) {
			t.Fatalf("frame %d: the corner of the mask is at %v, %v of %dx%d", m.Seq, x, y, m.SourceW, m.SourceH)
		}
		if i > 0 && m.Bundle != masks[i-1].Bundle {
			changes++
		}
	}
	if changes != 4 {
		t.Errorf("%d changes of the bundle: masks are mixed", changes)
	}
}

// copyBundle copies the tiny bundle under another name.
func copyBundle(t *testing.T, to, from, name string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(tinyBundle(t))); err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(to, model.ManifestName)
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	saveText(t, manifest, strings.Replace(string(text), from, name, 1))
}

// broken is an engine that does not do what is expected of it.
type broken struct {
	engine
	good    int // frames that it takes as it should
	slow    time.Duration
	fault   error
	flatten bool
	closed  *int
}

func (b *broken) Close() error {
	*b.closed++
	return b.engine.Close()
}

func (b *broken) Infer(dst *frame.Logits, src *frame.Frame) error {
	if err := b.engine.Infer(dst, src); err != nil {
		return err
	}
	if b.good--; b.good >= 0 {
		return nil
	}
	<-time.After(b.slow)
	if b.flatten { // all is of one class
		clear(dst.Data)
		for i := range dst.H * dst.W {
			dst.Data[i] = 1
		}
	}
	return b.fault
}

// TestBadNetworksAreNotKept tries networks that pass as files, and are no good.
func TestBadNetworksAreNotKept(t *testing.T) {
	closed := 0
	bad := func(b broken) func(*loaded) {
		return func(l *loaded) {
			b := b
			b.engine, b.closed = l.engine, &closed
			l.engine = &b
		}
	}
	fault := errors.New("logits are not finite")
	by := networksBy{
		"faulty at once": bad(broken{fault: fault}),
		"flat at once":   bad(broken{flatten: true}),
		"slow at once":   bad(broken{slow: 600 * time.Millisecond}),
		"faulty later":   bad(broken{good: shadowFrames, fault: fault}),
		"flat later":     bad(broken{good: shadowFrames, flatten: true}),
		"slow later":     bad(broken{good: shadowFrames, slow: 400 * time.Millisecond}),
	}
	p, out, s := pipelineOf(t, by, camera60)
	for range 3 { // so that there is something to compare with
		out.more("a", 20)
		p.all()[0].remember()
	}
	first := p.now().nets.bundle.SHA256
	names := slices.Sorted(maps.Keys(by))
	for i, name := range names {
		next := s
		next.Bundle = name
		c, refused := p.Prepare(t.Context(), settings.Desired{Version: int64(i + 1), Settings: next})
		if strings.HasSuffix(name, "at once") {
			if len(refused) != 1 || refused[0].Pointer != "/bundle" || !strings.Contains(refused[0].Problem, "shadow run") {
				t.Errorf("%s: %v", name, refused)
			}
		} else {
			if len(refused) > 0 {
				t.Fatalf("%s: %v", name, refused)
			}
			if err := c.Apply(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
			report, err := c.Probation(ctx)
			cancel()
			if err == nil {
				t.Errorf("%s: passed with %+v", name, report)
			}
			t.Log(name, err)
			if err := errors.Join(c.Undo(t.Context()), c.Close()); err != nil {
				t.Error(err)
			}
		}
		if closed != i+1 {
			t.Errorf("%s: %d engines closed of %d", name, closed, i+1)
		}
		if m := out.more("a", 5); m.Bundle != first || m.Settings != 0 {
			t.Errorf("%s: bundle %s, settings %d", name, m.Bundle, m.Settings)
		}
		p.all()[0].past = nil
		out.more("a", 20)
		p.all()[0].remember()
		out.more("a", 20)
	}
}

func TestWorse(t *testing.T) {
	good := edge.Window{Seconds: 10, Masks: 300, FPS: 30, P95: 40, Largest: 0.5, Unknown: 0.01}
	for name, c := range map[string]struct {
		now, was edge.Window
		want     string
	}{
		"as before":       {good, good, ""},
		"half the rate":   {edge.Window{Masks: 150, FPS: 15, P95: 40, Largest: 0.5}, good, ""},
		"less":            {edge.Window{Masks: 140, FPS: 14, P95: 40, Largest: 0.5}, good, "14.0 masks per second, were 30"},
		"late":            {edge.Window{Masks: 300, FPS: 30, P95: 300, Largest: 0.5}, good, "300 ms"},
		"a little late":   {edge.Window{Masks: 300, FPS: 30, P95: 200, Largest: 0.5}, good, ""},
		"all road":        {edge.Window{Masks: 300, FPS: 30, P95: 40, Largest: 0.99}, good, "one class"},
		"nothing known":   {edge.Window{Masks: 300, FPS: 30, P95: 40, Unknown: 0.97}, good, "no class"},
		"nothing":         {edge.Window{}, good, "no masks"},
		"refused":         {edge.Window{Masks: 300, FPS: 30, Refused: 1}, good, "1 frames refused"},
		"dead, as before": {edge.Window{}, edge.Window{}, ""},
		"new":             {edge.Window{Masks: 1, FPS: 1, P95: 4000, Largest: 1}, edge.Window{}, ""},
		"new and refused": {edge.Window{Masks: 1, Refused: 3}, edge.Window{}, "3 frames refused"},
	} {
		got := strings.Join(worse(c.now, c.was), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
