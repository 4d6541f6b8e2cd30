package camera_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"nightseg/camera"
	"nightseg/camera/synth"
	"nightseg/edge/frame"
)

// period is that of the cameras here.
const period = time.Second / 30

// scene is a camera under test: its pictures come every period.
type scene struct {
	f      frame.Frame
	w      *camera.Watcher
	frozen int // frames that were called frozen
	first  int // the first of them, -1: none
	n      int
}

func newScene() *scene {
	s := &scene{w: camera.NewWatcher(), first: -1}
	s.f.Reset(64, 48)
	s.f.Valid = frame.Rect{X1: 64, Y1: 48}
	s.f.Mono = time.Hour
	return s
}

// show shows n pictures that paint makes, with the driver's time going on by
// step.
func (s *scene) show(n int, step time.Duration, paint func(pix []byte)) {
	for range n {
		paint(s.f.Pix)
		if s.w.Frozen(&s.f) {
			s.frozen++
			if s.first < 0 {
				s.first = s.n
			}
		}
		s.n++
		s.f.Mono += period
		s.f.Sensor += step
	}
}

// street is a still scene: dark, with a lamp in it.
func street(pix []byte) {
	for i := range pix {
		pix[i] = byte(i / 192 % 7)
		if i > 4000 && i < 4090 {
			pix[i] = 240
		}
	}
}

// noisy is the same with a sensor's noise of one level in few pixels.
func noisy() func([]byte) {
	rng := rand.New(rand.NewPCG(7, 7))
	return func(pix []byte) {
		street(pix)
		for range 20 {
			pix[rng.IntN(len(pix))] ^= 1
		}
	}
}

func level(v byte) func([]byte) {
	return func(pix []byte) {
		for i := range pix {
			pix[i] = v
		}
	}
}

// hotPixels is what a covered sensor shows: black, and some pixels that never are.
func hotPixels(pix []byte) {
	clear(pix)
	pix[100], pix[3333], pix[7000] = 255, 90, 31
}

func TestFrozen(t *testing.T) {
	const second = 30 // pictures
	for name, c := range map[string]struct {
		start time.Duration // of the driver's time; 0: it says nothing
		step  time.Duration
		paint func([]byte)
		first int // picture that is called frozen first, -1: none
	}{
		"still night, driver's time goes on":        {1, period, noisy(), -1},
		"still night, no driver's time":             {0, 0, noisy(), -1},
		"still night, driver's time stands still":   {1, 0, noisy(), -1},
		"black, driver's time goes on":              {1, period, level(0), -1},
		"black, no driver's time":                   {0, 0, level(0), -1},
		"black, driver's time stands still":         {1, 0, level(0), 5},
		"white, driver's time goes on":              {1, period, level(255), -1},
		"cap on the lens, driver's time goes on":    {1, period, hotPixels, -1},
		"repeated picture, driver's time goes on":   {1, period, street, 2 * second},
		"repeated picture, no driver's time":        {0, 0, street, 2 * second},
		"repeated picture, driver's time the same":  {1, 0, street, 5},
		"repeated picture, driver's time goes back": {1 << 40, -period, street, 2 * second},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			s.f.Sensor = c.start
			s.show(10*second, c.step, c.paint)
			if s.first != c.first && s.first != c.first+1 || c.first < 0 && s.frozen > 0 { // a period is no whole number of ns
				t.Errorf("first called frozen: picture %d, want %d", s.first, c.first)
			}
			if c.first >= 0 && s.frozen != s.n-s.first {
				t.Errorf("%d of %d pictures were called frozen, the first was %d", s.frozen, s.n, s.first)
			}
		})
	}
}

// A camera that comes back is believed at the first new picture.
func TestThawed(t *testing.T) {
	s := newScene()
	s.f.Sensor = time.Minute
	s.show(30, period, noisy())
	s.show(100, 0, street)
	if s.frozen == 0 {
		t.Fatal("a repeated picture is not seen")
	}
	s.frozen = 0
	s.show(50, period, noisy())
	if s.frozen != 0 {
		t.Errorf("%d pictures of a living camera were called frozen", s.frozen)
	}
}

// Slow cameras and jitter: a few repeats are no frozen camera, and neither is a
// pause.
func TestShortRepeats(t *testing.T) {
	s := newScene()
	paint := noisy()
	for range 50 {
		s.f.Sensor += period
		s.show(1, 0, paint)
		s.show(4, 0, func([]byte) {}) // the same picture and time, four times more
	}
	if s.frozen != 0 {
		t.Errorf("%d pictures were called frozen after four repeats", s.frozen)
	}
	s.show(1, period, street)
	s.f.Mono += time.Hour
	s.show(4, period, street)
	if s.frozen != 0 {
		t.Error("a pause was called frozen")
	}
}

// Another size, or a flat padding around a picture, must not confuse it.
func TestFrozenLooksAtTheValidPart(t *testing.T) {
	s := newScene()
	s.f.Valid = frame.Rect{X0: 30, Y0: 20, X1: 34, Y1: 24}
	s.show(200, period, func(pix []byte) {
		clear(pix)
		for i := range 12 {
			pix[3*(22*64+30)+i] = byte(20 * i)
		}
	})
	if s.frozen == 0 {
		t.Error("a small repeated picture in a black frame was taken for a flat one")
	}
	s.frozen = 0
	s.f.Reset(48, 64)
	s.f.Valid = frame.Rect{X1: 48, Y1: 64}
	s.show(5, 0, street)
	if s.frozen != 0 {
		t.Error("a picture of another size was called frozen")
	}
}

// The loop of a made-up drive turns back at its ends; it is not frozen there.
func TestLoopIsNotFrozen(t *testing.T) {
	r, err := synth.New(synth.Params{Seed: 3, W: 64, H: 48, Time: synth.Night, FPS: 30})
	if err != nil {
		t.Fatal(err)
	}
	var drawn [3]frame.Frame
	for i := range drawn {
		if err := r.Render(&drawn[i], nil, i); err != nil {
			t.Fatal(err)
		}
	}
	s := newScene()
	s.f.Sensor = 0
	n := 0
	s.show(300, 0, func(pix []byte) {
		copy(pix, drawn[[]int{0, 1, 2, 1}[n%4]].Pix)
		n++
	})
	if s.frozen != 0 {
		t.Errorf("%d pictures of a loop were called frozen", s.frozen)
	}
}

func TestFrozenDoesNotAllocate(t *testing.T) {
	s := newScene()
	street(s.f.Pix)
	if n := testing.AllocsPerRun(100, func() { s.w.Frozen(&s.f) }); n != 0 {
		t.Errorf("%v allocations per frame, want 0", n)
	}
}

func BenchmarkFrozen(b *testing.B) {
	w := camera.NewWatcher()
	var f frame.Frame
	f.Reset(640, 480)
	f.Valid = frame.Rect{X1: 640, Y1: 480}
	i := 0
	for b.Loop() {
		f.Pix[i%len(f.Pix)]++
		i++
		w.Frozen(&f)
	}
}
