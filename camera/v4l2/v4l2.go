// Package v4l2 holds exposure and gain of a V4L2 camera, which are set by a file of their
// own beside the process that takes the pictures: the kernel lets any number of programs
// set a camera's controls.
package v4l2

import (
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNothing is the error of a camera that has neither control.
var ErrNothing = errors.New("the camera lets neither exposure nor gain be set (see v4l2-ctl --list-ctrls)")

// Unit is that of an exposure.
const Unit = 100 * time.Microsecond

// Range is what a control takes.
type Range struct{ Min, Max, Step int32 }

// value is one control with its value.
type value struct {
	id uint32
	v  int32
}

// Camera is one whose controls are set. It is used by one goroutine.
type Camera struct {
	dev      device
	exposure Range
	gain     Range
	gainID   uint32  // 0: it has no gain
	hasTime  bool    // its exposure can be set
	manual   []value // that take exposure and gain out of the camera's hands
	before   []value // what those were
	buf      []byte
}

// Open opens a camera by its device file, such as /dev/video0.
func Open(path string) (*Camera, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	c, err := newCamera(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return c, nil
}

// newCamera asks what there is.
func newCamera(d device) (*Camera, error) {
	c := &Camera{dev: d}
	var err error
	if c.exposure, c.hasTime, err = c.query(idExposure, typeInteger); err != nil {
		return nil, err
	}
	c.hasTime = c.hasTime && c.exposure.Max > 0
	for _, id := range []uint32{idGain, idAnalogueGain} {
		r, ok, err := c.query(id, typeInteger)
		if err != nil {
			return nil, err
		}
		if ok && r.Max > r.Min {
			c.gain, c.gainID = r, id
			break
		}
	}
	if !c.hasTime && c.gainID == 0 {
		return nil, ErrNothing
	}
	for _, m := range []struct {
		value
		kind   uint32
		needed bool
	}{
		{value{idAutoExposure, exposureManual}, typeMenu, c.hasTime},
		{value{idAutoPriority, 0}, typeBoolean, c.hasTime},
		{value{idAutoGain, 0}, typeBoolean, c.gainID != 0},
	} {
		if _, ok, err := c.query(m.id, m.kind); err != nil {
			return nil, err
		} else if !ok || !m.needed {
			continue
		}
		was := []value{{m.id, 0}}
		if err := c.control(reqGet, was); err != nil {
			return nil, err
		}
		c.manual, c.before = append(c.manual, m.value), append(was, c.before...)
	}
	return c, nil
}

// query asks for a control; ok is false where the camera has none that can be set.
func (c *Camera) query(id, kind uint32) (r Range, ok bool, err error) {
	b := make([]byte, sizeQuery)
	native.PutUint32(b[atQueryID:], id)
	switch err := c.dev.Query(b); {
	case errors.Is(err, unix.EINVAL):
		return r, false, nil
	case errors.Is(err, unix.ENOTTY):
		return r, false, errors.New("no V4L2 device")
	case err != nil:
		return r, false, fmt.Errorf("control %#x: %w", id, err)
	}
	flags := native.Uint32(b[atQueryFlags:])
	r = Range{
		int32(native.Uint32(b[atQueryMin:])), int32(native.Uint32(b[atQueryMax:])),
		max(1, int32(native.Uint32(b[atQueryStep:]))),
	}
	ok = native.Uint32(b[atQueryType:]) == kind && flags&(flagDisabled|flagReadOnly) == 0 && r.Min <= r.Max
	return r, ok, nil
}

// control gets or sets values, all of them in one call.
func (c *Camera) control(request uint32, values []value) error {
	if len(values) == 0 {
		return nil
	}
	c.buf = append(c.buf[:0], make([]byte, sizeControl*len(values))...)
	for i, v := range values {
		native.PutUint32(c.buf[i*sizeControl+atControlID:], v.id)
		native.PutUint32(c.buf[i*sizeControl+atControlValue:], uint32(v.v))
	}
	if err := c.dev.Controls(request, c.buf); err != nil {
		return fmt.Errorf("controls %#x: %w", values, err)
	}
	for i := range values {
		values[i].v = int32(native.Uint32(c.buf[i*sizeControl+atControlValue:]))
	}
	return nil
}

// Exposure returns the shortest and the longest exposure, both 0 where it cannot be set.
func (c *Camera) Exposure() (shortest, longest time.Duration) {
	if !c.hasTime {
		return 0, 0
	}
	return time.Duration(max(1, c.exposure.Min)) * Unit, time.Duration(c.exposure.Max) * Unit
}

// HasGain reports whether there is a gain that can be set.
func (c *Camera) HasGain() bool { return c.gainID != 0 }

// Now reads exposure, and gain in percent of its range. What the camera does not have is 0.
func (c *Camera) Now() (exposure time.Duration, gain float64, err error) {
	values := c.values(0, 0)
	if err := c.control(reqGet, values); err != nil {
		return 0, 0, err
	}
	for _, v := range values {
		if v.id == idExposure {
			exposure = time.Duration(v.v) * Unit
		} else {
			gain = 100 * float64(v.v-c.gain.Min) / float64(c.gain.Max-c.gain.Min)
		}
	}
	return exposure, gain, nil
}

// Set takes exposure and gain out of the camera's hands, and sets them: an exposure that is
// not above the one given, and a gain in percent of the range.
func (c *Camera) Set(exposure time.Duration, gain float64) error {
	for _, v := range c.manual { // one by one: a camera may refuse one and take the other
		if err := c.control(reqSet, []value{v}); err != nil {
			return err
		}
	}
	return c.control(reqSet, c.values(exposure, gain))
}

// values are those of the controls that there are, as the camera counts.
func (c *Camera) values(exposure time.Duration, gain float64) (list []value) {
	if c.hasTime {
		n := min(int64(exposure/Unit), int64(c.exposure.Max))
		list = append(list, value{idExposure, c.exposure.floor(max(1, float64(n)))})
	}
	if c.gainID != 0 {
		share := min(max(gain, 0), 100) / 100
		at := float64(c.gain.Min) + share*(float64(c.gain.Max)-float64(c.gain.Min))
		list = append(list, value{c.gainID, c.gain.floor(at)})
	}
	return list
}

// floor is the highest value that the control takes and that is not above v.
func (r Range) floor(v float64) int32 {
	steps := math.Floor((min(v, float64(r.Max)) - float64(r.Min)) / float64(r.Step))
	return int32(min(max(float64(r.Min)+steps*float64(r.Step), float64(r.Min)), float64(r.Max)))
}

// Close gives exposure and gain back to the camera, as they were, and closes it.
func (c *Camera) Close() error {
	var errs []error
	for _, v := range c.before {
		errs = append(errs, c.control(reqSet, []value{v}))
	}
	return errors.Join(append(errs, c.dev.Close())...)
}
