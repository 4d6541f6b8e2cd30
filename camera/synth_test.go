package camera_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/camera"
	"nightseg/edge/frame"
)

func TestSynthHasTheSizeThatIsWanted(t *testing.T) {
	for _, c := range []struct {
		source string
		o      camera.Options
		w, h   int // of the drive
	}{
		{"synth://?frames=1", camera.Options{Width: 96, Height: 64}, 96, 64},
		{"synth://?frames=1", camera.Options{Width: 96, Height: 64, Rotate: 270}, 64, 96},
		{"synth://?frames=1&size=32x48", camera.Options{Width: 96, Height: 64}, 32, 48},
	} {
		var f frame.Frame
		s := open(t, c.source, c.o)
		next(t, s, &f)
		if f.SourceW != c.w || f.SourceH != c.h || f.W != 96 || f.H != 64 || f.Luma == 0 || f.Name == "" {
			t.Errorf("%s: %dx%d of %dx%d, luma %v, name %q", c.source, f.W, f.H, f.SourceW, f.SourceH, f.Luma, f.Name)
		}
		if err := s.Next(t.Context(), &f); s.Len() != 1 || !errors.Is(err, io.EOF) {
			t.Errorf("%s: length %d, then %v", c.source, s.Len(), err)
		}
	}
}

// Replay at its rate and replay as fast as possible show the same frames, also
// to a slow caller; only a live drive loses some.
func TestSynthReplayLosesNothing(t *testing.T) {
	const source = "synth://?seed=2&size=32x32&frames=6&fps=10"
	var want [6][]byte
	s := open(t, source, camera.Options{})
	var f frame.Frame
	for i := range want {
		next(t, s, &f)
		want[i] = bytes.Clone(f.Pix)
	}
	synctest.Test(t, func(t *testing.T) {
		s := open(t, source, camera.Options{Realtime: true})
		for i := range want {
			if i == 3 {
				<-time.After(time.Second)
			}
			next(t, s, &f)
			if !bytes.Equal(f.Pix, want[i]) || f.Seq != uint64(i) || f.DroppedBefore != 0 {
				t.Errorf("frame %d (seq %d, lost %d) is another one", i, f.Seq, f.DroppedBefore)
			}
		}
		if err := s.Next(t.Context(), &f); !errors.Is(err, io.EOF) || s.Counters()["late"] != 0 {
			t.Errorf("at the end: %v, counters %v", err, s.Counters())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := open(t, source, camera.Options{Realtime: true, Live: true})
		next(t, s, &f)
		<-time.After(350 * time.Millisecond)
		next(t, s, &f)
		if f.Seq != 1 || f.DroppedBefore != 2 || s.Counters()["late"] != 2 {
			t.Errorf("live: seq %d, lost %d, counters %v", f.Seq, f.DroppedBefore, s.Counters())
		}
	})
}

func TestSynthStartsAgain(t *testing.T) {
	s := open(t, "synth://?seed=2&size=32x32&frames=2", camera.Options{Loop: true})
	if s.Len() != -1 {
		t.Errorf("length %d, want -1: there is no end", s.Len())
	}
	var f frame.Frame
	var pix [4][]byte
	for i := range pix {
		next(t, s, &f)
		if f.Seq != uint64(i) {
			t.Errorf("frame %d has seq %d", i, f.Seq)
		}
		pix[i] = bytes.Clone(f.Pix)
	}
	if !bytes.Equal(pix[0], pix[2]) || !bytes.Equal(pix[1], pix[3]) || bytes.Equal(pix[0], pix[1]) {
		t.Error("the drive of two frames does not start again")
	}
}
