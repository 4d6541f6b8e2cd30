package frame_test

import (
	"testing"
	"time"

	"nightseg/edge/frame"
)

func TestResetKeepsBuffer(t *testing.T) {
	var f frame.Frame
	f.Reset(640, 480)
	p := &f.Pix[0]
	f.Reset(320, 240)
	if len(f.Pix) != 3*320*240 {
		t.Fatalf("len(Pix) = %d, want %d", len(f.Pix), 3*320*240)
	}
	f.Reset(640, 480)
	if p != &f.Pix[0] {
		t.Error("growing back to a size it had before gave the frame a new buffer")
	}
}

func TestCopyIsDeep(t *testing.T) {
	var a, b frame.Frame
	a.Reset(2, 1)
	copy(a.Pix, []byte{1, 2, 3, 4, 5, 6})
	a.Seq = 7
	b.CopyFrom(&a)
	a.Pix[0] = 99
	if b.Pix[0] != 1 || b.Seq != 7 || b.W != 2 || b.H != 1 {
		t.Errorf("copy = %+v", b)
	}
}

func TestRelightNames(t *testing.T) {
	for m := frame.RelightNone; m <= frame.RelightNetwork; m++ {
		if got, ok := frame.ParseRelight(m.String()); !ok || got != m {
			t.Errorf("ParseRelight(%q) = %v, %v", m.String(), got, ok)
		}
	}
	if _, ok := frame.ParseRelight("bright"); ok {
		t.Error("ParseRelight took a word that is no mode")
	}
	if s := frame.Relight(77).String(); s != "invalid" {
		t.Errorf("String of a mode that does not exist = %q", s)
	}
}

func TestAffine(t *testing.T) {
	a := frame.Affine{A: 2, C: 10, E: 3, F: -1}
	if x, y := a.Apply(4, 5); x != 18 || y != 14 {
		t.Errorf("Apply = %v, %v", x, y)
	}
}

func TestClock(t *testing.T) {
	a := frame.Mono()
	b := frame.Mono()
	if b < a {
		t.Errorf("monotonic clock went back: %v then %v", a, b)
	}
	var m frame.Meta
	m.Stamp()
	if d := time.Since(m.Wall()); d < -time.Second || d > time.Minute {
		t.Errorf("wall clock of a fresh stamp is off by %v", d)
	}
}

func TestNoAllocations(t *testing.T) {
	var f frame.Frame
	f.Reset(64, 48)
	n := testing.AllocsPerRun(100, func() {
		f.Reset(64, 48)
		f.Stamp()
	})
	if n != 0 {
		t.Errorf("%v allocations per frame, want 0", n)
	}
}
