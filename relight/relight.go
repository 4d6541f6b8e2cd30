// Package relight holds when and how a night frame is brightened before it is
// segmented: the gate (a threshold with hysteresis on the ambient light, or where no
// sensor tells it on mean luma), the hand-made modes gamma and CLAHE, and the request for the relight network,
// which the engine runs.
package relight

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"nightseg/edge/frame"
)

// Gate says for which frames relighting is on.
type Gate string

// The gates.
const (
	Always Gate = "always"
	Dark   Gate = "dark" // on below Settings.Dark, off above Settings.Bright, between them as before
	Never  Gate = "never"
)

// Settings of a Planner. Lumas are mean Rec.709 lumas of a frame, 0 to 255.
type Settings struct {
	Mode   frame.Relight
	Gate   Gate
	Dark   float64 // gate "dark": a frame below this turns relighting on
	Bright float64 // and one above this turns it off

	// The same in lux, which go before the lumas for frames whose Lux is known; with a
	// DarkLux of 0 they do not.
	DarkLux, BrightLux float64
	// Doubt is for how long light and picture may contradict each other; 0: for ever.
	Doubt time.Duration

	Target float64 // mode gamma: the mean luma to reach
	Clip   float64 // mode clahe: contrast limit, 1 (none) to 40
	Tiles  int     // mode clahe: tiles across and down
}

// Default returns the settings of a service that nobody has tuned: the relight
// network, for dark frames only.
func Default() Settings {
	return Settings{
		Mode: frame.RelightNetwork, Gate: Dark, Dark: 70, Bright: 85,
		DarkLux: 50, BrightLux: 200, Doubt: time.Minute,
		Target: 90, Clip: 3, Tiles: 8,
	}
}

// Validate names every setting that is out of range, all at once.
func (s Settings) Validate() error {
	var errs []error
	bad := func(field string, value, low, high any) {
		errs = append(errs, fmt.Errorf("relight: %s is %v, must be from %v to %v", field, value, low, high))
	}
	if s.Mode > frame.RelightNetwork {
		errs = append(errs, errors.New("relight: mode must be none, gamma, clahe or network"))
	}
	if s.Gate != Always && s.Gate != Dark && s.Gate != Never {
		errs = append(errs, fmt.Errorf("relight: gate is %q, must be always, dark or never", s.Gate))
	}
	within := func(field string, v, low, high float64) {
		if !(v >= low && v <= high) { // also catches NaN
			bad(field, v, low, high)
		}
	}
	within("dark", s.Dark, 0, 255)
	within("bright", s.Bright, 0, 255)
	within("dark_lux", s.DarkLux, 0, maxLux)
	within("bright_lux", s.BrightLux, 0, maxLux)
	within("target", s.Target, 1, 254)
	within("clip", s.Clip, 1, 40)
	if s.Tiles < 1 || s.Tiles > 32 {
		bad("tiles", s.Tiles, 1, 32)
	}
	if s.Bright < s.Dark {
		errs = append(errs, fmt.Errorf("relight: bright (%v) must not be below dark (%v)", s.Bright, s.Dark))
	}
	if s.BrightLux < s.DarkLux {
		errs = append(errs, fmt.Errorf("relight: bright_lux (%v) must not be below dark_lux (%v)", s.BrightLux, s.DarkLux))
	}
	return errors.Join(errs...)
}

// maxLux is more than the sun gives.
const maxLux = 200e3

// Planner relights the frames of one camera. It is not safe for use by two
// goroutines at once.
type Planner struct {
	s     Settings
	on    bool    // state of the gate
	gamma float64 // smoothed exponent, 0 before the first frame
	table [256]byte
	made  float64 // exponent that the table was made for
	clahe clahe
	doubt doubt
	spare *atomic.Bool // see Spare
}

// Spare has gamma do the work of the relight network while the flag is set.
func (p *Planner) Spare(flag *atomic.Bool) { p.spare = flag }

// Doubt says how light and picture contradict each other, "" while they do not. It may
// be called from any goroutine.
func (p *Planner) Doubt() string { return p.doubt.reason() }

// New returns a Planner with checked settings.
func New(s Settings) (*Planner, error) {
	p := &Planner{}
	if err := p.Apply(s); err != nil {
		return nil, err
	}
	return p, nil
}

// Apply changes the settings between two frames. Wrong ones change nothing.
func (p *Planner) Apply(s Settings) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if s.Mode != p.s.Mode || s.Target != p.s.Target {
		p.gamma = 0
	}
	p.s = s
	return nil
}

// Plan sets Relight and Gain of src as the gate and the mode say. For gamma
// and CLAHE it writes the relit picture to dst, with src's Meta, and returns
// dst; otherwise it returns src.
func (p *Planner) Plan(dst, src *frame.Frame) (*frame.Frame, error) {
	if len(src.Pix) != 3*src.W*src.H || src.W <= 0 || src.H <= 0 {
		return nil, fmt.Errorf("relight: a frame of %dx%d has %d bytes, want %d", src.W, src.H, len(src.Pix), 3*src.W*src.H)
	}
	src.Relight, src.Gain = frame.RelightNone, 1
	p.doubt.observe(&p.s, &src.Meta)
	if !p.open(float64(src.Luma), float64(src.Lux)) {
		return src, nil
	}
	src.Relight = p.s.Mode
	if src.Relight == frame.RelightNetwork && p.spare != nil && p.spare.Load() {
		src.Relight = frame.RelightGamma
	}
	switch src.Relight {
	case frame.RelightGamma:
		p.expose(dst, src)
	case frame.RelightCLAHE:
		p.clahe.apply(dst, src, p.s.Clip, p.s.Tiles)
	case frame.RelightNetwork:
		src.Gain = 0 // known only after the network
		return src, nil
	default:
		return src, nil
	}
	before, after := sampleLuma(src), sampleLuma(dst)
	src.Gain = float32(after / max(before, 1))
	dst.Meta = src.Meta
	return dst, nil
}

// open moves the gate by the light of a frame, or where that is not known by its luma,
// and says whether relighting is on.
func (p *Planner) open(luma, lux float64) bool {
	switch p.s.Gate {
	case Always:
		return true
	case Never:
		return false
	}
	level, dark, bright := luma, p.s.Dark, p.s.Bright
	if lux > 0 && p.s.DarkLux > 0 {
		level, dark, bright = lux, p.s.DarkLux, p.s.BrightLux
	}
	switch {
	case level < dark:
		p.on = true
	case level > bright:
		p.on = false
	}
	return p.on
}

// Bounds of the exponent, and how much of a new frame's exponent is taken: the
// exposure follows a change of light within about a second of 30 fps and does
// not flicker with single lamps.
const (
	gammaMin   = 0.25
	gammaMax   = 1.0
	gammaShare = 0.1
	gammaStep  = 1.0 / 256 // exponents are rounded to this so that tables are reused
)

// expose applies v -> 255*(v/255)^g with g such that the mean luma gets near
// the target.
func (p *Planner) expose(dst, src *frame.Frame) {
	mean := min(max(sampleLuma(src), 1), 254)
	g := min(max(math.Log(p.s.Target/255)/math.Log(mean/255), gammaMin), gammaMax)
	if p.gamma == 0 {
		p.gamma = g
	}
	p.gamma += gammaShare * (g - p.gamma)
	if g = math.Round(p.gamma/gammaStep) * gammaStep; g != p.made {
		for v := range p.table {
			p.table[v] = byte(255*math.Pow(float64(v)/255, g) + 0.5)
		}
		p.made = g
	}
	dst.Reset(src.W, src.H)
	t := &p.table
	out := dst.Pix[:len(src.Pix)]
	for i, v := range src.Pix {
		out[i] = t[v]
	}
}

// sampleLuma is the mean Rec.709 luma over each fourth pixel of each fourth row
// of the part that shows the camera's picture.
func sampleLuma(f *frame.Frame) float64 {
	r := f.Valid
	if r.Empty() || r.X0 < 0 || r.Y0 < 0 || r.X1 > f.W || r.Y1 > f.H {
		r = frame.Rect{X1: f.W, Y1: f.H}
	}
	var sum, n uint64
	for y := r.Y0; y < r.Y1; y += 4 {
		for i := 3 * (y*f.W + r.X0); i < 3*(y*f.W+r.X1); i += 12 {
			sum += luma(f.Pix[i], f.Pix[i+1], f.Pix[i+2])
			n++
		}
	}
	return float64(sum) / float64(n) / (1 << lumaBits)
}

// Rec.709 weights in fixed point; they sum to 1<<lumaBits.
const (
	lumaBits = 16
	lumaR    = 13933
	lumaG    = 46871
	lumaB    = 4732
)

func luma(r, g, b byte) uint64 { return lumaR*uint64(r) + lumaG*uint64(g) + lumaB*uint64(b) }
