package pick

import (
	"math/rand/v2"
	"slices"
	"testing"

	"nightseg/edge/frame"
)

const testW, testH = 64, 48

// street is a frame at a level of light with a bright square that moves with
// at, and noise of a camera.
func street(level byte, at int, noise *rand.Rand) *frame.Frame {
	f := &frame.Frame{}
	f.Reset(testW, testH)
	for y := range testH {
		for x := range testW {
			v := int(level) + y/4
			if dx := x - at%testW; dx >= 0 && dx < 12 && y > 16 && y < 32 {
				v += 80
			}
			if noise != nil {
				v += noise.IntN(5) - 2
			}
			for c := range 3 {
				f.Pix[3*(y*testW+x)+c] = byte(min(max(v, 0), 255))
			}
		}
	}
	return f
}

func feed(p *Picker, frames ...*frame.Frame) {
	for _, f := range frames {
		p.Look(f)
	}
}

// A drive that stands still for 90 % of its frames: the still part gives one.
func TestStillPartGivesOneFrame(t *testing.T) {
	noise := rand.New(rand.NewPCG(1, 1))
	p := New(0)
	for i := range 50 {
		p.Look(street(40, i, noise))
	}
	for range 900 {
		p.Look(street(40, 50, noise))
	}
	for i := 51; i < 101; i++ {
		p.Look(street(40, i, noise))
	}
	got := p.Choose(20)
	if len(got) != 20 || p.Seen() != 1000 {
		t.Fatalf("%d of %d frames, want 20", len(got), p.Seen())
	}
	still := 0
	for _, i := range got {
		if i >= 50 && i < 950 {
			still++
		}
	}
	if still > 1 {
		t.Errorf("%d frames of the part that stands still: %v", still, got)
	}
}

// Frozen and repeated frames are never taken twice, even if more are asked for.
func TestNothingTwice(t *testing.T) {
	p := New(0)
	a, b := street(30, 5, nil), street(30, 40, nil)
	frozen := street(200, 0, nil)
	frozen.Flags |= frame.FlagFrozen
	feed(p, a, a, b, a, b, frozen, b)
	if got := p.Choose(10); !slices.Equal(got, []int{0, 2}) {
		t.Errorf("chosen %v, want the two that differ", got)
	}
	if p.Choose(0) != nil || New(0).Choose(5) != nil {
		t.Error("something out of nothing")
	}
}

// A short tunnel (bright, 2 % of the drive) and a few black frames are covered.
func TestTunnelIsCovered(t *testing.T) {
	noise := rand.New(rand.NewPCG(2, 2))
	p := New(0)
	for i := range 1000 {
		level := byte(30 + i%7)
		switch {
		case i >= 500 && i < 520:
			level = 170
		case i >= 700 && i < 705:
			level = 2
		}
		p.Look(street(level, 3*i, noise))
	}
	got := p.Choose(12)
	within := func(lo, hi int) bool {
		return slices.ContainsFunc(got, func(i int) bool { return i >= lo && i < hi })
	}
	if len(got) != 12 || !within(500, 520) || !within(700, 705) {
		t.Errorf("chosen %v: the tunnel (500 to 519) or the dark (700 to 704) is missing", got)
	}
	if !slices.IsSorted(got) {
		t.Errorf("not in the order of the drive: %v", got)
	}
}

// A drive that grows lighter frame by frame is covered end to end.
func TestRangeIsCovered(t *testing.T) {
	p := New(0)
	const n = 240
	for i := range n {
		p.Look(street(byte(i/2), 7*i, nil))
	}
	got := p.Choose(strata)
	for s := range strata {
		lo, hi := s*n/strata, (s+1)*n/strata
		if i := slices.IndexFunc(got, func(i int) bool { return i >= lo-n/16 && i < hi+n/16 }); i < 0 {
			t.Errorf("no frame near part %d of the light: %v", s, got)
		}
	}
}

// Memory stays bounded, the choice stays good, and is the same each time.
func TestBoundedAndReproducible(t *testing.T) {
	run := func() (*Picker, []int) {
		noise := rand.New(rand.NewPCG(3, 3))
		p := New(64)
		for i := range 3000 {
			level := byte(20 + i%120)
			if i == 2500 {
				level = 240
			}
			p.Look(street(level, 5*i, noise))
			if p.Kept() > 64 {
				t.Fatalf("%d frames remembered after %d", p.Kept(), i)
			}
		}
		return p, p.Choose(10)
	}
	p, a := run()
	if len(a) != 10 || !slices.Contains(a, 2500) {
		t.Errorf("the one glaring frame is forgotten: %v of %d remembered, radius %g", a, p.Kept(), p.radius)
	}
	if _, b := run(); !slices.Equal(a, b) {
		t.Errorf("%v, then %v", a, b)
	}
	if again := p.Choose(10); !slices.Equal(a, again) {
		t.Errorf("asked twice: %v, then %v", a, again)
	}
}

// All remembered frames lie further apart than the radius, and every frame of
// the drive is within a bound of one of them.
func TestRememberedFramesCoverTheDrive(t *testing.T) {
	p := New(32)
	var all []descriptor
	for i := range 400 {
		f := street(byte(10+(i*37)%150), i*11, nil)
		all = append(all, describe(f))
		p.Look(f)
	}
	for i := range p.kept {
		for j := range i {
			if d := p.kept[i].distance(&p.kept[j]); d <= p.radius {
				t.Errorf("frames %d and %d lie %g apart, radius %g", p.kept[i].index, p.kept[j].index, d, p.radius)
			}
		}
	}
	for i := range all {
		nearest := float64(maxDistance)
		for j := range p.kept {
			nearest = min(nearest, all[i].distance(&p.kept[j]))
		}
		if nearest > 2*p.radius { // radii before the last doubling add up to less than the last
			t.Errorf("frame %d lies %g from all that is remembered, radius %g", i, nearest, p.radius)
		}
	}
}

func TestPaddingDoesNotCount(t *testing.T) {
	a := street(60, 10, nil)
	a.Valid = frame.Rect{X0: 0, Y0: 8, X1: testW, Y1: 40}
	b := street(60, 10, nil)
	b.Valid = a.Valid
	for i := range 3 * testW * 8 {
		b.Pix[i] = 255
	}
	da, db := describe(a), describe(b)
	if d := da.distance(&db); d != 0 {
		t.Errorf("padding makes a distance of %g", d)
	}
	p := New(0)
	p.Look(&frame.Frame{})
	if p.Kept() != 0 {
		t.Error("an empty frame is remembered")
	}
}

// Distances of plain frames: the step between two levels counts in the cells,
// and once more in the histogram.
func TestDistance(t *testing.T) {
	plain := func(v byte) descriptor {
		f := &frame.Frame{}
		f.Reset(testW, testH)
		for i := range f.Pix {
			f.Pix[i] = v
		}
		return describe(f)
	}
	black, white := plain(0), plain(255)
	if d := black.distance(&white); d != 255+248 { // 31 of 32 bins, each 8 wide
		t.Errorf("black to white is %g", d)
	}
	if black.luma != 0 || white.luma != 255 {
		t.Errorf("luma %g and %g", black.luma, white.luma)
	}
}

func BenchmarkAdd(b *testing.B) {
	f := &frame.Frame{}
	f.Reset(640, 480)
	p := New(0)
	for i := 0; b.Loop(); i++ {
		for k := range 3 * 640 {
			f.Pix[(i*97+k*479)%len(f.Pix)] += byte(i)
		}
		p.Look(f)
	}
}
