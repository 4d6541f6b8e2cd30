package lamp

import "time"

// Dark is where darkness begins and ends, of lux or of mean luma.
type Dark struct{ Below, Above float64 }

// Times that it must be dark, or bright again, before the lamp follows.
const (
	darkFor   = 3 * time.Second
	brightFor = 10 * time.Second
	settled   = 2 * time.Second // after turning the lamp: its light is in the picture
)

// Follower says when a lamp is to be on. It is used by one goroutine.
type Follower struct {
	on       bool
	since    time.Duration // when it turned
	waiting  bool          // the light asks for the other state
	from     time.Duration // since when
	before   float64       // luma when it came on
	measured bool          // own is
	own      float64       // luma that the lamp itself makes
}

// Lux follows a light sensor.
func (f *Follower) Lux(now time.Duration, lux float64, d Dark) bool {
	f.follow(now, lux, d)
	f.measured, f.own = true, 0
	return f.on
}

// Luma follows pictures, which the lamp itself makes brighter: what it adds is measured
// when it has come on, and must be there beside daylight before it goes out.
func (f *Follower) Luma(now time.Duration, luma float64, d Dark) bool {
	if f.on && !f.measured {
		if now-f.since < settled {
			return true
		}
		f.measured, f.own = true, max(0, luma-f.before)
	}
	if f.on {
		d.Below, d.Above = d.Below+f.own, d.Above+f.own
	}
	if f.follow(now, luma, d) && f.on {
		f.before = luma
	}
	return f.on
}

// follow reports whether the lamp turned.
func (f *Follower) follow(now time.Duration, level float64, d Dark) bool {
	if !(!f.on && level < d.Below || f.on && level > d.Above) {
		f.waiting = false
		return false
	}
	if !f.waiting {
		f.waiting, f.from = true, now
	}
	need := darkFor
	if f.on {
		need = brightFor
	}
	if now-f.from < need {
		return false
	}
	f.on, f.since, f.waiting, f.measured, f.own = !f.on, now, false, false, 0
	return true
}
