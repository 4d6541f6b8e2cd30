package camera

import (
	"hash/maphash"
	"time"

	"nightseg/edge/frame"
)

// The patience of a Watcher.
const (
	// frozenRepeats is how often a picture must have come again. One or two happen
	// where a driver catches up.
	frozenRepeats = 5
	// frozenAfter is for how long, where only the bytes speak: a video codec may
	// repeat a standing scene for a while, a raw sensor never does.
	frozenAfter = 2 * time.Second
	// flatShare is the part of the picture, as 1 of so many, that may differ from
	// the rest of a flat one: hot pixels of a sensor under a cap.
	flatShare = 1000
)

// Watcher tells a camera that repeats its last picture from one that looks at a
// scene where nothing moves. It is for one camera and one goroutine.
//
// The bytes speak first. The noise of a sensor differs from picture to picture,
// in the dark more than by day, so a picture with any new byte is alive, whatever
// the driver says of its time. Equal pictures are judged by the driver's time:
//
//   - It stands still: the picture is the old one, frozen after 5 repeats.
//   - It goes on, or is not known: frozen after 5 repeats and 2 seconds, unless the
//     picture is flat. A flat picture (one value but for a thousandth of the
//     bytes: a cap on the lens, a night clipped to black) has no noise that could
//     differ, and is not called frozen.
type Watcher struct {
	seed    maphash.Seed
	started bool
	sum     uint64
	w, h    int
	sensor  time.Duration // of the last picture
	since   time.Duration // Mono of the first picture with these bytes
	repeats int           // how often they came again
	stood   int           // how often with the driver's time standing still, in a row
	flat    bool          // the picture is flat
}

// NewWatcher returns a Watcher that has seen nothing yet.
func NewWatcher() *Watcher { return &Watcher{seed: maphash.MakeSeed()} }

// Frozen looks at the next delivered frame and reports whether the camera
// repeats an old picture. It does not allocate.
func (w *Watcher) Frozen(f *frame.Frame) bool {
	sum := maphash.Bytes(w.seed, f.Pix)
	stands := f.Sensor != 0 && f.Sensor == w.sensor
	w.sensor = f.Sensor
	if !w.started || sum != w.sum || f.W != w.w || f.H != w.h {
		w.started, w.sum, w.w, w.h = true, sum, f.W, f.H
		w.since, w.repeats, w.stood = f.Mono, 0, 0
		return false
	}
	w.repeats++
	if w.repeats == 1 {
		w.flat = isFlat(f)
	}
	if stands {
		w.stood++
		return w.stood >= frozenRepeats
	}
	w.stood = 0
	return !w.flat && w.repeats >= frozenRepeats && f.Mono-w.since >= frozenAfter
}

// isFlat reports whether all bytes of the part that shows the camera's picture
// have the value of its middle, but for 1 in flatShare.
func isFlat(f *frame.Frame) bool {
	v := f.Valid
	if v.Empty() {
		v = frame.Rect{X1: f.W, Y1: f.H}
	}
	if v.Empty() {
		return true
	}
	level := f.Pix[3*((v.Y0+v.Y1)/2*f.W+(v.X0+v.X1)/2)]
	left := 3 * (v.X1 - v.X0) * (v.Y1 - v.Y0) / flatShare
	for y := v.Y0; y < v.Y1; y++ {
		for _, b := range f.Pix[3*(y*f.W+v.X0) : 3*(y*f.W+v.X1)] {
			if b != level {
				if left--; left < 0 {
					return false
				}
			}
		}
	}
	return true
}
