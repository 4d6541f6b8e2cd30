package edge_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/edge"
	"nightseg/edge/frame"
)

// uneven is networks whose time differs from frame to frame; it counts how many
// frames it has at a time.
type uneven struct {
	nets
	now, most atomic.Int32
	frames    sync.Map // addresses of the logits in use
}

func (u *uneven) Infer(dst *frame.Logits, src *frame.Frame) error {
	n := u.now.Add(1)
	defer u.now.Add(-1)
	for most := u.most.Load(); n > most && !u.most.CompareAndSwap(most, n); most = u.most.Load() {
	}
	if _, taken := u.frames.LoadOrStore(dst, true); taken {
		return errors.New("two frames share their logits")
	}
	defer u.frames.Delete(dst)
	<-time.After(time.Duration(src.Seq*7%11+1) * time.Millisecond)
	return u.nets.Infer(dst, src)
}

func parallel(src edge.Source, u *uneven, out *sink) edge.Stages {
	s := stages(src, nil, out)
	s.Infer = u
	return s
}

func TestFramesSideBySideKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, n := range []int{1, 2, 3, 8} {
			out, u := &sink{}, &uneven{}
			bad := errors.New("not finite")
			u.fail = map[uint64]error{10: bad, 11: bad, 59: bad}
			start := time.Now()
			l := newLoop(t, parallel(&source{n: 60}, u, out), edge.Options{Policy: edge.Lossless, Parallel: n})
			if err := l.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := uint64(0)
			for _, seq := range out.seqs {
				if want == 10 {
					want = 12
				}
				if seq != want {
					t.Fatalf("%d at a time: a mask of frame %d where %d is due", n, seq, want)
				}
				want++
			}
			if tot := l.Stats().Totals(); tot.Masks != 57 || tot.Drops["networks"] != 3 {
				t.Errorf("%d at a time: %d masks, drops %v", n, tot.Masks, tot.Drops)
			}
			if most := int(u.most.Load()); most != n {
				t.Errorf("%d frames at a time, want %d", most, n)
			}
			work := time.Duration(0)
			for i := range 60 {
				work += time.Duration(i*7%11+1) * time.Millisecond
			}
			// Frames wait for a longer one before them: a quarter more is allowed.
			if took := time.Since(start); took > work*5/time.Duration(4*n)+12*time.Millisecond {
				t.Errorf("%d at a time: %v for %v of work", n, took, work)
			}
		}
	})
}

func TestChangeComesWhileNoFrameIsInTheNetworks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, u := &sink{}, &uneven{}
		src := &source{n: 500, period: time.Millisecond}
		l := newLoop(t, parallel(src, u, out), edge.Options{Parallel: 3})
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := l.Run(t.Context()); err != nil {
				t.Error(err)
			}
		})
		for i := range 20 {
			<-time.After(7 * time.Millisecond)
			err := l.Apply(t.Context(), edge.Change{
				Networks: func() {
					if n := u.now.Load(); n != 0 {
						t.Errorf("a change with %d frames in the networks", n)
					}
					u.setting = i
				},
				Send: func() { out.setting = i },
			})
			if err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
		for _, p := range out.got {
			var a, b int
			if _, err := fmt.Sscanf(p, "[%d %d]", &a, &b); err != nil || a != b {
				t.Fatalf("a mask saw half a change: %s", p)
			}
		}
	})
}

func TestLiveSideBySideKeepsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, u := &sink{}, &uneven{}
		l := newLoop(t, parallel(&source{n: 200, period: time.Millisecond}, u, out), edge.Options{Parallel: 2})
		if err := l.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		tot := l.Stats().Totals()
		if tot.Masks+tot.Drops["overrun"] != 200 || tot.Drops["overrun"] == 0 || uint64(out.dropped) != tot.Drops["overrun"] {
			t.Errorf("masks %d, drops %v, told %d", tot.Masks, tot.Drops, out.dropped)
		}
		for i := 1; i < len(out.seqs); i++ {
			if out.seqs[i] <= out.seqs[i-1] {
				t.Fatalf("frame %d after %d", out.seqs[i], out.seqs[i-1])
			}
		}
		if last := out.seqs[len(out.seqs)-1]; last != 199 {
			t.Errorf("the last mask is of frame %d, want the newest, 199", last)
		}
	})
}

func TestPublisherThatFailsEndsFramesSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, u := &sink{fail: errors.New("not authorised")}, &uneven{}
		l := newLoop(t, parallel(&source{n: 1000}, u, out), edge.Options{Policy: edge.Lossless, Parallel: 4})
		if err := l.Run(t.Context()); err == nil {
			t.Error("no error")
		}
		if n := u.now.Load(); n != 0 {
			t.Errorf("%d frames still in the networks", n)
		}
	})
}

func TestRelitPicturesAreKeptOfOneFrameAtATime(t *testing.T) {
	s := stages(&source{}, &nets{}, &sink{})
	s.Tap = &tap{}
	if _, err := edge.New(s, edge.Options{KeepRelit: true, Parallel: 2}); err == nil {
		t.Error("taken")
	}
}
