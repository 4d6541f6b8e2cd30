package relight

import (
	"fmt"
	"sync/atomic"
	"time"

	"nightseg/edge/frame"
)

// A sensor and a picture contradict each other only where both are sure: a camera lifts a
// lit street by night above Bright, and a tunnel or a garage is dark by day.
const (
	sureLux  = 4  // times BrightLux is day, a part so large of DarkLux night
	sureLuma = 25 // above Bright is day; below half of Dark is night
)

// doubt watches whether ambient light and picture say the same: a covered lens and a dead
// sensor show by that. Observe is for the goroutine that plans.
type doubt struct {
	kind  contradiction
	since time.Duration // on the clock of Meta.Mono
	told  bool
	now   atomic.Pointer[string]
}

type contradiction uint8

const (
	agreed contradiction = iota
	darkPicture
	darkSensor
)

func (d *doubt) observe(s *Settings, m *frame.Meta) {
	kind := agreed
	lux, luma := float64(m.Lux), float64(m.Luma)
	if lux > 0 && s.DarkLux > 0 && s.Doubt > 0 {
		switch {
		case lux > sureLux*s.BrightLux && luma < s.Dark/2:
			kind = darkPicture
		case lux < s.DarkLux/sureLux && luma > s.Bright+sureLuma:
			kind = darkSensor
		}
	}
	if kind != d.kind {
		d.kind, d.since = kind, m.Mono
		if d.told {
			d.told = false
			d.now.Store(nil)
		}
	}
	if kind == agreed || d.told || m.Mono-d.since < s.Doubt {
		return
	}
	d.told = true
	text := fmt.Sprintf("the light sensor says day (%.0f lx), the picture night (mean luma %.0f): "+
		"is the lens covered, or the camera's exposure stuck?", lux, luma)
	if kind == darkSensor {
		text = fmt.Sprintf("the light sensor says night (%.1f lx), the picture day (mean luma %.0f): "+
			"is the sensor covered or dead?", lux, luma)
	}
	d.now.Store(&text)
}

func (d *doubt) reason() string {
	if s := d.now.Load(); s != nil {
		return *s
	}
	return ""
}
