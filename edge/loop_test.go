package edge_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/edge"
	"nightseg/edge/frame"
)

func TestLosslessKeepsEveryFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{}
		l := newLoop(t, stages(&source{n: 50}, &nets{period: time.Millisecond}, out), edge.Options{Policy: edge.Lossless})
		if err := l.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, seq := range out.seqs {
			if seq != uint64(i) {
				t.Fatalf("mask %d is of frame %d", i, seq)
			}
		}
		tot := l.Stats().Totals()
		if len(out.seqs) != 50 || tot.Captured != 50 || tot.Masks != 50 || tot.Dropped() != 0 {
			t.Errorf("%d masks, totals %+v", len(out.seqs), tot)
		}
	})
}

func TestLiveKeepsTheNewestAndCountsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{}
		src := &source{n: 100, period: 10 * time.Millisecond}
		l := newLoop(t, stages(src, &nets{period: 35 * time.Millisecond}, out), edge.Options{})
		if err := l.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		tot := l.Stats().Totals()
		if tot.Captured != 100 || tot.Masks+tot.Drops["overrun"] != 100 || tot.Drops["overrun"] < 50 {
			t.Errorf("captured %d, masks %d, drops %v", tot.Captured, tot.Masks, tot.Drops)
		}
		if uint64(out.dropped) != tot.Drops["overrun"] {
			t.Errorf("masks told of %d drops, counted are %d", out.dropped, tot.Drops["overrun"])
		}
		if last := out.seqs[len(out.seqs)-1]; last != 99 {
			t.Errorf("the last mask is of frame %d, want the newest, 99", last)
		}
	})
}

func TestFaultsAreCountedAndTheLoopGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{}
		src := &source{n: 10, fail: map[int]error{2: errors.New("torn file"), 3: errors.New("torn file")}}
		n := &nets{fail: map[uint64]error{4: errors.New("logits are not finite")}}
		var states []string
		h := edge.NewHealth(func(bad bool, reason string) { states = append(states, fmt.Sprint(bad, " ", reason)) })
		l := newLoop(t, stages(src, n, out), edge.Options{Policy: edge.Lossless, Camera: "front", Health: h})
		if err := l.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		tot := l.Stats().Totals()
		if tot.Masks != 9 || tot.Drops["source"] != 2 || tot.Drops["networks"] != 1 {
			t.Errorf("masks %d, drops %v", tot.Masks, tot.Drops)
		}
		if bad, reason := h.State(); bad {
			t.Errorf("still degraded after the faults went away: %s", reason)
		}
		all := strings.Join(states, "\n")
		for _, want := range []string{"camera front source: torn file", "not finite"} {
			if !strings.Contains(all, want) {
				t.Errorf("no state told %q:\n%s", want, all)
			}
		}
	})
}

func TestSourceThatAlwaysFailsDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := map[int]error{}
		for i := range 100000 {
			fail[i] = errors.New("gone")
		}
		src := &source{n: 1, fail: fail}
		l := newLoop(t, stages(src, &nets{}, &sink{}), edge.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := l.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if src.calls > 100 {
			t.Errorf("%d calls within a minute", src.calls)
		}
	})
}

func TestChangeIsBetweenTwoFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, n := &sink{}, &nets{period: 3 * time.Millisecond}
		l := newLoop(t, stages(&source{n: 1000, period: time.Millisecond}, n, out), edge.Options{})
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := l.Run(t.Context()); err != nil {
				t.Error(err)
			}
		})
		for i := range 20 {
			<-time.After(7 * time.Millisecond)
			c := edge.Change{Networks: func() { n.setting = i }, Send: func() { out.setting = i }}
			if err := l.Apply(t.Context(), c); err != nil {
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
		if err := l.Apply(t.Context(), edge.Change{}); err == nil {
			t.Error("a change was taken after the end")
		}
	})
}

func TestChangeAppliesWithoutFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLoop(t, stages(&source{period: time.Hour, n: 1}, &nets{}, &sink{}), edge.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := l.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		done := false
		if err := l.Apply(ctx, edge.Change{Send: func() { done = true }}); err != nil || !done {
			t.Errorf("applied %v, %v", done, err)
		}
		cancel()
		wg.Wait()
	})
}

func TestEndSendsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{}
		src := &source{n: 1000, period: 10 * time.Millisecond}
		l := newLoop(t, stages(src, &nets{period: 9 * time.Millisecond}, out), edge.Options{Policy: edge.Lossless})
		ctx, cancel := context.WithTimeout(t.Context(), 205*time.Millisecond)
		defer cancel()
		if err := l.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if n := l.Stats().Totals().Captured; uint64(out.count()) != n {
			t.Errorf("%d frames captured, %d masks sent", n, out.count())
		}
	})
}

func TestEndDoesNotWaitForADeadBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{block: make(chan struct{})}
		l := newLoop(t, stages(&source{n: 1000}, &nets{}, out), edge.Options{Policy: edge.Lossless, Grace: time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := l.Run(ctx)
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("the end took %v", d)
		}
		if err != nil && !strings.Contains(err.Error(), "publish") {
			t.Errorf("err = %v", err)
		}
	})
}

func TestLosslessEndsWhenThePublisherFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{fail: errors.New("not authorised")}
		l := newLoop(t, stages(&source{n: 1000}, &nets{}, out), edge.Options{Policy: edge.Lossless})
		if err := l.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "not authorised") {
			t.Errorf("err = %v", err)
		}
	})
}

type tap struct{ seen, relit int }

func (s *tap) See(src, relit *frame.Frame, m *frame.Mask) error {
	s.seen++
	if relit != nil && relit != src && src.Seq == m.Seq {
		s.relit++
	}
	return nil
}

func TestTapSeesRelitPictures(t *testing.T) {
	for _, mode := range []frame.Relight{frame.RelightNone, frame.RelightGamma, frame.RelightNetwork} {
		s := stages(&source{n: 20}, &nets{}, &sink{})
		seen := &tap{}
		s.Relight, s.Tap = plan{mode}, seen
		if err := newLoop(t, s, edge.Options{Policy: edge.Lossless, KeepRelit: true}).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := 20
		if mode == frame.RelightNone {
			want = 0
		}
		if seen.seen != 20 || seen.relit != want {
			t.Errorf("%v: %d seen, %d relit", mode, seen.seen, seen.relit)
		}
	}
}

func TestMissingStagesAreRefused(t *testing.T) {
	if _, err := edge.New(edge.Stages{}, edge.Options{}); err == nil {
		t.Error("a loop without stages was made")
	}
	if _, err := edge.New(stages(&source{}, &nets{}, &sink{}), edge.Options{KeepRelit: true}); err == nil {
		t.Error("relit pictures without a tap were taken")
	}
}

// still is a sink that keeps nothing, for counting allocations.
type still struct{}

func (still) Append(dst []byte, m *frame.Mask) ([]byte, error) {
	return append(dst, m.Class...), nil
}
func (still) Publish(context.Context, *frame.Mask, []byte) error { return nil }

func TestNoAllocationPerFrame(t *testing.T) {
	run := func(n int) float64 {
		return testing.AllocsPerRun(3, func() {
			s := stages(&source{n: n}, &nets{}, nil)
			s.Encode, s.Publish = still{}, still{}
			l, err := edge.New(s, edge.Options{Policy: edge.Lossless, CPUClock: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Run(context.Background()); err != nil {
				t.Fatal(err)
			}
		})
	}
	few, many := run(100), run(1100)
	if perFrame := (many - few) / 1000; perFrame > 0.02 {
		t.Errorf("%.3f allocations per frame (%v for 100 frames, %v for 1100)", perFrame, few, many)
	}
}

func TestCPUClockMeasuresTheStages(t *testing.T) {
	l := newLoop(t, stages(&source{n: 200}, &nets{}, &sink{}), edge.Options{Policy: edge.Lossless, CPUClock: true})
	if err := l.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	tot := l.Stats().Totals()
	if tot.CoreMs["capture"] <= 0 || tot.Stages["total"].N != 200 {
		t.Errorf("totals %+v", tot)
	}
}
