// Package control decides how a camera's exposure and gain are set by night: exposure up to
// a bound above which what moves smears, then gain, so that pictures come to a mean
// luminance. It is arithmetic alone: who sets them, and who measures, is not its business.
package control

import (
	"math"
	"time"
)

// Camera is what a camera can.
type Camera struct {
	// ShortestExposure and LongestExposure are equal where it cannot be set.
	ShortestExposure, LongestExposure time.Duration
	Unit                              time.Duration // of the exposure; 0: any can be set
	HasGain                           bool
}

// Settings say what is wanted.
type Settings struct {
	Exposure time.Duration // the longest; manual: the exposure
	Gain     float64       // the highest, percent of the camera's range; manual: the gain
	Target   float64       // mean luma
	Manual   bool
}

// Values are what a camera is set to. Gain is in percent of its range.
type Values struct {
	Exposure time.Duration
	Gain     float64
}

// The light that a picture gets is counted in stops, powers of two. What a step of gain is
// worth the camera does not tell: it begins as a guess, and is learned.
const (
	gainStops = 4.0 // of the whole range of gain, as a guess
	gamma     = 2.2 // of pictures, as a guess
	share     = 0.6 // of what is missing is made up for in a step
	largest   = 1.5 // stops in a step
	begin     = 0.2 // stops of luma off the target: something is done
	settled   = 0.07
	overshoot = 0.7 // a step that is off by more on the other side is not made
)

// Bounds of what is learned, and of lumas that tell something.
const (
	leastWorth, mostWorth = 0.3, 12.0
	leastLuma, mostLuma   = 4.0, 235.0
	tellingStep           = 0.1
)

// Controller sets one camera. It is used by one goroutine.
type Controller struct {
	cam     Camera
	s       Settings
	x       float64    // stops above the least light
	worth   [2]float64 // of a stop of exposure and of gain, of what was guessed
	acting  bool
	before  float64 // luma before the last step
	step    float64 // the last one, 0: none
	by      int     // what it was made with
	current Values
}

// New makes a controller of a camera that has values now.
func New(c Camera, s Settings, now Values) *Controller {
	k := &Controller{cam: c, s: s, worth: [2]float64{1, 4}}
	k.x = k.stopsOf(now)
	k.current = k.values()
	return k
}

// Apply changes the settings.
func (k *Controller) Apply(s Settings) {
	now := k.current
	k.s, k.step = s, 0
	k.x = k.stopsOf(now)
	k.current = k.values()
}

// Values are those in force.
func (k *Controller) Values() Values { return k.current }

// longest is the exposure that is not to be exceeded.
func (k *Controller) longest() time.Duration {
	return max(min(k.s.Exposure, k.cam.LongestExposure), k.cam.ShortestExposure)
}

func (k *Controller) exposureStops() float64 {
	if k.cam.ShortestExposure <= 0 {
		return 0
	}
	return math.Log2(float64(k.longest()) / float64(k.cam.ShortestExposure))
}

func (k *Controller) gainStops() float64 {
	if !k.cam.HasGain {
		return 0
	}
	return gainStops * k.s.Gain / 100
}

// whole is the nearest exposure that can be set, not above the longest.
func (k *Controller) whole(d time.Duration) time.Duration {
	if k.cam.Unit <= 0 {
		return d
	}
	d = d.Round(k.cam.Unit)
	if d > k.longest() {
		d -= k.cam.Unit
	}
	return max(d, k.cam.ShortestExposure)
}

// stopsOf is where values are, within the bounds.
func (k *Controller) stopsOf(v Values) float64 {
	e := k.exposureStops()
	x := 0.0
	if e > 0 && v.Exposure > k.cam.ShortestExposure {
		x = min(e, math.Log2(float64(v.Exposure)/float64(k.cam.ShortestExposure)))
	}
	if x >= e && k.cam.HasGain { // gain counts where exposure is at its bound
		x += min(k.gainStops(), gainStops*max(0, v.Gain)/100)
	}
	return x
}

// values are exposure and gain of the stops in force, or those that were given.
func (k *Controller) values() (v Values) {
	e := k.exposureStops()
	switch {
	case k.cam.LongestExposure == 0:
	case k.s.Manual || k.x >= e:
		v.Exposure = k.longest()
	default:
		v.Exposure = k.whole(time.Duration(float64(k.cam.ShortestExposure) * math.Exp2(k.x)))
	}
	switch {
	case !k.cam.HasGain:
	case k.s.Manual:
		v.Gain = k.s.Gain
	case k.x > e:
		v.Gain = min(k.s.Gain, 100*(k.x-e)/gainStops)
	}
	return v
}

// Next takes the mean luma of pictures that were taken with the values in force, and
// returns those for the next ones.
func (k *Controller) Next(luma float64) (v Values, changed bool) {
	if k.s.Manual || math.IsNaN(luma) {
		return k.current, false
	}
	luma = min(max(luma, 1), 254)
	k.learn(luma)
	k.step = 0
	off := math.Log2(k.s.Target / luma)
	if k.acting = math.Abs(off) > begin || k.acting && math.Abs(off) > settled; !k.acting {
		return k.current, false
	}
	e := k.exposureStops()
	end := e + k.gainStops()
	k.by = 0
	if k.x > e || k.x == e && off > 0 {
		k.by = 1
	}
	step := min(max(share*gamma*off/k.worth[k.by], -largest), largest)
	x := min(max(k.x+step, 0), end)
	if (k.x < e) != (x < e) && k.x != e { // the other one is worth another step
		x = e
	}
	was := k.x
	k.x = x
	v = k.values()
	if k.by == 0 && x < e {
		k.x = k.stopsOf(v) // of the exposure that can be set
	}
	did := k.x - was
	// Where the exposure's unit is coarse, the target lies between two of them.
	left := (off - did*k.worth[k.by]/gamma) / off
	if v == k.current || left < -overshoot {
		k.x = was
		return k.current, false
	}
	k.before, k.step, k.current = luma, did, v
	return v, true
}

// learn compares what the last step did with what was expected of it.
func (k *Controller) learn(luma float64) {
	over := (k.s.Target-luma)*(k.s.Target-k.before) < 0 && math.Abs(math.Log2(k.s.Target/luma)) > settled
	if over && k.step != 0 {
		w := &k.worth[k.by]
		*w = min(1.5**w, mostWorth)
		return
	}
	if math.Abs(k.step) < tellingStep || min(luma, k.before) < leastLuma || max(luma, k.before) > mostLuma {
		return
	}
	w := &k.worth[k.by]
	did := gamma * math.Log2(luma/k.before) / k.step
	if did > 0 { // else the scene has changed
		*w += (min(max(did, leastWorth), mostWorth) - *w) / 2
	}
}
