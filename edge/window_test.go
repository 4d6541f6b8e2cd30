package edge_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/edge"
	"nightseg/edge/frame"
)

// moments takes a snapshot when a frame has its mask.
type moments struct {
	of    uint64
	stats func() *edge.Recorder
	taken edge.Snapshot
}

func (m *moments) See(_, _ *frame.Frame, mask *frame.Mask) error {
	if mask.Seq == m.of {
		m.stats().Snapshot(&m.taken)
		m.stats().Interval(1) // which somebody else looks at
	}
	return nil
}

// TestWindow looks at a loop between two moments: what came before does not count.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := errors.New("not finite")
		faults := map[uint64]error{5: bad, 150: bad, 151: bad}
		s := stages(&source{n: 200}, &nets{period: time.Millisecond, fail: faults}, &sink{})
		tap := &moments{of: 99}
		s.Tap = tap
		l := newLoop(t, s, edge.Options{Policy: edge.Lossless})
		tap.stats = l.Stats
		if err := l.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		var end edge.Snapshot
		l.Stats().Snapshot(&end)
		w := end.Since(&tap.taken)
		if w.Refused != 2 || w.Masks != 98 || w.FPS <= 0 || w.Seconds <= 0 || w.P95 <= 0 {
			t.Errorf("%+v", w)
		}
		if w.Largest != 1 || w.Unknown != 0 { // the decider of these tests knows one class
			t.Errorf("%+v", w)
		}
		if same := end.Since(&end); same != (edge.Window{}) {
			t.Errorf("between a moment and itself: %+v", same)
		}
	})
}
