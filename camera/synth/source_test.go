package synth_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/camera/synth"
	"nightseg/edge/frame"
)

// live is a short loop of a small drive; its first frames are the whole loop.
func live() synth.SourceOptions {
	return synth.SourceOptions{
		Params:   synth.Params{Seed: 5, W: 64, H: 48, Time: synth.Night, Layout: synth.LayoutDemo, FPS: 10},
		Realtime: true, KeepLabels: 3, LoopFrames: 4,
	}
}

func open(t testing.TB, o synth.SourceOptions) *synth.Source {
	t.Helper()
	s, err := synth.NewSource(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func next(t testing.TB, s *synth.Source, f *frame.Frame) {
	t.Helper()
	if err := s.Next(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func TestLoopIsPlayedToAndFro(t *testing.T) {
	o := live()
	r := newRenderer(t, o.Params)
	var pix [4][]byte
	var labels [4][]uint8
	for n := range pix {
		pix[n], labels[n] = draw(t, r, n)
	}
	synctest.Test(t, func(t *testing.T) {
		s := open(t, o)
		start := time.Now()
		var f frame.Frame
		got := make([]uint8, 64*48)
		for i, n := range []int{0, 1, 2, 3, 2, 1, 0, 1, 2} {
			next(t, s, &f)
			if at := time.Since(start); at != time.Duration(i)*100*time.Millisecond {
				t.Errorf("frame %d came at %v, want every 100 ms", i, at)
			}
			if !bytes.Equal(f.Pix, pix[n]) {
				t.Errorf("frame %d is not frame %d of the drive", i, n)
			}
			if f.Seq != uint64(i) || f.DroppedBefore != 0 || f.Mono == 0 || f.Valid.X1 != 64 || f.SourceH != 48 {
				t.Errorf("frame %d: meta %+v", i, f.Meta)
			}
			if d := float64(f.Luma) - mean(f.Pix); d < -20 || d > 20 {
				t.Errorf("frame %d: luma %v, mean of the picture %v", i, f.Luma, mean(f.Pix))
			}
			if err := s.LabelsFor(f.Seq, got); err != nil || !bytes.Equal(got, labels[n]) {
				t.Errorf("frame %d: labels are not those of frame %d of the drive (%v)", i, n, err)
			}
		}
		if err := s.LabelsFor(5, got); !errors.Is(err, synth.ErrNoLabels) {
			t.Errorf("labels of a frame long gone: %v, want ErrNoLabels", err)
		}
		if err := s.LabelsFor(9, got); !errors.Is(err, synth.ErrNoLabels) {
			t.Errorf("labels of a frame to come: %v, want ErrNoLabels", err)
		}
	})
}

func TestLateFramesAreLost(t *testing.T) {
	o := live()
	o.Frames = 5
	want, _ := draw(t, newRenderer(t, o.Params), 3)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, o)
		var f frame.Frame
		next(t, s, &f)
		start := time.Now()
		<-time.After(350 * time.Millisecond)
		next(t, s, &f) // of 300 ms
		if f.Seq != 1 || f.DroppedBefore != 2 || !bytes.Equal(f.Pix, want) {
			t.Errorf("after 3.5 periods: seq %d, lost %d, want 1 and 2, and frame 3", f.Seq, f.DroppedBefore)
		}
		next(t, s, &f)
		if at := time.Since(start); at != 400*time.Millisecond || f.DroppedBefore != 0 {
			t.Errorf("the next frame came at %v, lost %d, want 400 ms and 0", at, f.DroppedBefore)
		}
		if err := s.Next(t.Context(), &f); !errors.Is(err, io.EOF) {
			t.Errorf("after 5 frames, lost ones counted: %v, want io.EOF", err)
		}
	})
}

func TestEndOfWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, live())
		var f frame.Frame
		next(t, s, &f)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		if err := s.Next(ctx, &f); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Next with a context that ends before the frame: %v", err)
		}
		next(t, s, &f)
		if f.Seq != 1 || f.DroppedBefore != 0 {
			t.Errorf("after a wait that was given up: seq %d, lost %d, want 1 and 0", f.Seq, f.DroppedBefore)
		}
	})
}

func TestClose(t *testing.T) {
	for _, realtime := range []bool{false, true} {
		o := live()
		o.Realtime = realtime
		o.LoopFrames = 1000 // still being drawn when closed
		s := open(t, o)
		var f frame.Frame
		next(t, s, &f)
		for range 2 {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := s.Next(t.Context(), &f); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("Next after Close: %v, want an error that is not io.EOF", err)
		}
		if err := s.LabelsFor(0, make([]uint8, 64*48)); realtime && !errors.Is(err, synth.ErrNoLabels) {
			t.Errorf("labels after Close: %v, want ErrNoLabels", err)
		}
	}
}

func TestCloseEndsNext(t *testing.T) {
	o := live()
	o.W, o.H = 640, 480
	s := open(t, o)
	ended := make(chan error)
	go func() {
		var f frame.Frame
		for {
			if err := s.Next(context.Background(), &f); err != nil {
				ended <- err
				return
			}
		}
	}()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; errors.Is(err, context.Canceled) || errors.Is(err, io.EOF) {
		t.Errorf("Next while the source is closed: %v, want that it is closed", err)
	}
}

func TestDrawnFrames(t *testing.T) {
	o := live()
	o.Realtime, o.Frames = false, 3
	r := newRenderer(t, o.Params)
	s := open(t, o)
	var f frame.Frame
	got := make([]uint8, 64*48)
	for n := range 3 {
		next(t, s, &f)
		pix, labels := draw(t, r, n)
		if !bytes.Equal(f.Pix, pix) || f.Seq != uint64(n) {
			t.Errorf("frame %d (seq %d) is not that of the drive", n, f.Seq)
		}
		if err := s.LabelsFor(f.Seq, got); err != nil || !bytes.Equal(got, labels) {
			t.Errorf("frame %d: labels are not those of the drive (%v)", n, err)
		}
	}
	if err := s.Next(t.Context(), &f); !errors.Is(err, io.EOF) {
		t.Errorf("after the last frame: %v, want io.EOF", err)
	}
}

func TestPlayingDoesNotAllocate(t *testing.T) {
	o := live()
	o.FPS = synth.MaxFPS
	s := open(t, o)
	var f frame.Frame
	ctx := t.Context()
	next(t, s, &f)
	labels := make([]uint8, 64*48)
	if n := testing.AllocsPerRun(50, func() {
		if err := errors.Join(s.Next(ctx, &f), s.LabelsFor(f.Seq, labels)); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per frame, want 0", n)
	}
}

func TestLargeLoopsAreCut(t *testing.T) {
	o := live()
	o.W, o.H, o.LoopFrames, o.KeepLabels = 2048, 1536, 0, 0
	s := open(t, o)
	if n := s.Options().LoopFrames; n < 2 || n*3*2048*1536 > synth.MaxLoopBytes {
		t.Errorf("a loop of 2048x1536 has %d frames: not 2 or more in %d bytes", n, synth.MaxLoopBytes)
	}
}

func TestNewSourceRefuses(t *testing.T) {
	for name, change := range map[string]func(*synth.SourceOptions){
		"frames":  func(o *synth.SourceOptions) { o.Frames = -1 },
		"labels":  func(o *synth.SourceOptions) { o.KeepLabels = -1 },
		"loop":    func(o *synth.SourceOptions) { o.LoopFrames = 1 },
		"longest": func(o *synth.SourceOptions) { o.LoopFrames = synth.MaxLoop + 1 },
		"time":    func(o *synth.SourceOptions) { o.Time = "noon" },
	} {
		o := live()
		change(&o)
		if s, err := synth.NewSource(o); err == nil {
			s.Close()
			t.Errorf("%s: NewSource took %+v", name, o)
		}
	}
	s := open(t, live())
	if err := s.LabelsFor(0, make([]uint8, 5)); err == nil || errors.Is(err, synth.ErrNoLabels) {
		t.Errorf("LabelsFor with room for five: %v, want an error about the room", err)
	}
}

func BenchmarkPlay(b *testing.B) {
	o := live()
	o.W, o.H, o.FPS = 640, 480, synth.MaxFPS
	s := open(b, o)
	var f frame.Frame
	for b.Loop() {
		next(b, s, &f)
	}
}

func TestDrawnWaitsForTheWholeLoop(t *testing.T) {
	o := live()
	o.LoopFrames = 9
	r := newRenderer(t, o.Params)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, o)
		if err := s.Drawn(t.Context()); err != nil {
			t.Fatal(err)
		}
		var f frame.Frame
		for n := range o.LoopFrames {
			next(t, s, &f)
			if pix, _ := draw(t, r, n); !bytes.Equal(f.Pix, pix) {
				t.Fatalf("frame %d is another one: the loop was shown to and fro before it was whole", n)
			}
		}
		stopped, stop := context.WithCancel(t.Context())
		stop()
		if err := open(t, live()).Drawn(stopped); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want none or that of the context", err)
		}
	})
}
