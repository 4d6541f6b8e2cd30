package edge

import (
	"context"
	"time"

	"nightseg/edge/alive"
	"nightseg/edge/frame"
)

// Source delivers frames. Next fills dst and blocks until there is one; io.EOF
// ends the loop, any other error loses one frame and is counted.
type Source interface {
	Next(ctx context.Context, dst *frame.Frame) error
}

// Relighter decides how a frame is to be relit. It returns src with its mode
// set, or dst where it made a new picture.
type Relighter interface {
	Plan(dst, src *frame.Frame) (*frame.Frame, error)
}

// Inferer runs the networks on a frame as its Relight mode says. With
// Options.Parallel above 1 it is called from several goroutines.
type Inferer interface {
	Infer(dst *frame.Logits, src *frame.Frame) error
}

// Decider turns logits into one class per pixel.
type Decider interface {
	Decide(dst *frame.Mask, src *frame.Logits) error
}

// Encoder appends the wire form of a mask to dst.
type Encoder interface {
	Append(dst []byte, m *frame.Mask) ([]byte, error)
}

// Publisher sends an encoded mask. It must not keep payload. In a live loop it
// must not block.
type Publisher interface {
	Publish(ctx context.Context, m *frame.Mask, payload []byte) error
}

// Tap sees every mask with the frame that it came from; relit is nil unless
// the loop keeps relit pictures and the frame was relit. Nothing may be kept.
type Tap interface {
	See(src, relit *frame.Frame, m *frame.Mask) error
}

// Relit is an Inferer that can show the picture that its relighting network
// made of the last frame.
type Relit interface {
	Relit(dst *frame.Frame) error
}

// Policy says what happens to a frame that comes while the networks are busy.
type Policy uint8

// The policies.
const (
	Live     Policy = iota // keep the newest frame, count the lost one
	Lossless               // make the source wait
)

// Stages are the parts of one loop. Tap may be nil.
type Stages struct {
	Source  Source
	Relight Relighter
	Infer   Inferer
	Decide  Decider
	Encode  Encoder
	Publish Publisher
	Tap     Tap
}

// Options set how a loop runs.
type Options struct {
	Policy    Policy
	KeepRelit bool          // hand the relit picture to the tap; Infer must be a Relit
	Parallel  int           // frames in the networks at a time; 0: one
	CPUClock  bool          // measure the CPU time of the stages' own threads
	Grace     time.Duration // how long masks may still be sent after the end was asked for
	Camera    string        // id of the camera, for the health's reasons
	Health    *Health       // where faults are told; may be nil

	// Alive takes the marks of the loop's threads; may be nil. A lossless loop, which
	// waits for its publisher as long as that takes, makes none.
	Alive *alive.Group
}

// Change is a change of settings that takes effect between two frames: no
// frame sees one half of it. Its functions must not block.
type Change struct {
	Networks func() // runs where Relight and Infer are called
	Send     func() // runs where Decide, Encode and Publish are called
}
