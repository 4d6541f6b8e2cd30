// Package frame holds the values that travel through the camera loop: Frame
// (a picture), Logits (what the network says) and Mask (what was decided), and
// the Meta that stays with a picture from the camera to the broker.
//
// Every value is a reusable buffer: the Reset methods grow the slices once and
// keep them, so that a loop that recycles its values does not allocate.
package frame

import "time"

// Unknown is the class of a mask pixel that has no class: padding, or a pixel
// whose best probability is below the confidence threshold.
const Unknown = 255

// Relight says how a frame was (or is to be) brightened.
type Relight uint8

// The relight modes. RelightNetwork is done inside the engine, the others
// before it.
const (
	RelightNone Relight = iota
	RelightGamma
	RelightCLAHE
	RelightNetwork
)

var relightNames = [...]string{"none", "gamma", "clahe", "network"}

// String returns the name used in settings and on the wire.
func (r Relight) String() string {
	if int(r) < len(relightNames) {
		return relightNames[r]
	}
	return "invalid"
}

// ParseRelight is the inverse of String; ok is false for any other word.
func ParseRelight(s string) (mode Relight, ok bool) {
	for i, n := range relightNames {
		if n == s {
			return Relight(i), true
		}
	}
	return RelightNone, false
}

// Flags mark what a consumer of a mask should know about its frame.
type Flags uint8

// The flags of a frame.
const (
	FlagDegraded Flags = 1 << iota // the service was degraded when the frame was taken
	FlagFrozen                     // the camera repeats its last picture
	FlagClock                      // the wall clock was synchronised
)

// Affine maps a mask pixel to a camera pixel, both counted from the top left
// corner of the top left pixel: X = A*x + B*y + C, Y = D*x + E*y + F.
type Affine struct{ A, B, C, D, E, F float64 }

// Apply returns the camera position of the mask position (x, y).
func (a Affine) Apply(x, y float64) (cx, cy float64) {
	return a.A*x + a.B*y + a.C, a.D*x + a.E*y + a.F
}

// Rect is a half-open rectangle of pixels: X0 <= x < X1, Y0 <= y < Y1.
type Rect struct{ X0, Y0, X1, Y1 int }

// Empty reports whether the rectangle holds no pixel.
func (r Rect) Empty() bool { return r.X0 >= r.X1 || r.Y0 >= r.Y1 }

// Meta describes a frame and travels unchanged from the camera to the mask
// message. (Camera, Run, Seq) together with the device name is unique.
type Meta struct {
	Camera string // id from the settings, [A-Za-z0-9_-]{1,64}
	Run    string // id of this start of the service
	Seq    uint64 // rises by one for each frame delivered by the source

	Mono       time.Duration // capture time on the monotonic clock, since boot
	WallOffset time.Duration // wall clock minus Mono, in Unix nanoseconds
	Flags      Flags
	Sensor     time.Duration // the driver's own time of the picture; 0: not known. Only differences mean something

	SourceW, SourceH int    // pixels of the camera's own picture
	ToSource         Affine // mask pixel -> camera pixel
	Valid            Rect   // the part of the mask that shows the camera's picture; the rest is padding

	Name    string  // file or sequence name of a recorded frame, "" for a live one
	Luma    float32 // mean Rec.709 luma of the valid part, 0..255
	Relight Relight // what was done to it
	Gain    float32 // mean luma after relighting / before; 1 when nothing was done, 0 when not known

	DroppedBefore uint32 // frames of this camera lost since the one before

	Lux        float32       // ambient light, at least what the sensor can tell; 0: not known
	Exposure   time.Duration // that the camera was set to; 0: not known
	CameraGain float32       // percent of the range of its gain; 0: the least, or not known
}

// Wall returns the capture time on the wall clock.
func (m *Meta) Wall() time.Time { return time.Unix(0, int64(m.Mono+m.WallOffset)) }

// Frame is a packed RGB picture: len(Pix) = 3*W*H, rows from the top, no padding.
type Frame struct {
	Meta
	W, H int
	Pix  []byte
}

// Reset makes the frame W x H, reusing its buffer. Pixels are not cleared.
func (f *Frame) Reset(w, h int) {
	f.W, f.H = w, h
	f.Pix = grow(f.Pix, 3*w*h)
}

// CopyFrom makes f a deep copy of src, reusing its buffer.
func (f *Frame) CopyFrom(src *Frame) {
	f.Reset(src.W, src.H)
	f.Meta = src.Meta
	copy(f.Pix, src.Pix)
}

// Logits are unnormalised log-probabilities, class-major: the value of class k
// at row y and column x is Data[(k*H+y)*W+x]. H and W are the network's output
// grid; OutH and OutW the size of its input, which the mask will have.
type Logits struct {
	Meta
	C, H, W    int
	OutH, OutW int
	Data       []float32
}

// Reset makes the logits C x H x W, reusing the buffer. Values are not cleared.
func (l *Logits) Reset(c, h, w int) {
	l.C, l.H, l.W = c, h, w
	l.Data = grow(l.Data, c*h*w)
}

// Mask holds one class (a train id) or Unknown per pixel, rows from the top.
type Mask struct {
	Meta
	W, H  int
	Class []uint8
}

// Reset makes the mask W x H, reusing its buffer. Pixels are not cleared.
func (m *Mask) Reset(w, h int) {
	m.W, m.H = w, h
	m.Class = grow(m.Class, w*h)
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
