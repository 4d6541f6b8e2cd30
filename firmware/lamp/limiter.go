package lamp

import (
	"fmt"
	"math"
	"time"
)

const (
	cooled  = 0.8              // of its heat: a lamp that knows only on and off comes on again
	coolK   = 5                // K below Hot: the same
	lostFor = 10 * time.Second // without a temperature of a zone that is to be watched: off
	horizon = 100 * time.Millisecond
)

// limiter decides how bright a lamp may be. It is used by one goroutine.
type limiter struct {
	l      Limits
	dims   bool // else it is on or off
	begun  bool
	last   time.Duration
	level  float64 // since last
	heat   float64
	hot    bool          // by its zone
	spent  bool          // a lamp that does not dim waits until it has cooled
	on     time.Duration // since when
	rest   time.Duration // until when
	zoneAt time.Duration // when the zone told something
}

// newLimiter makes one for a lamp of which nothing is known: it may be as hot as it may
// become, as its program may have been killed and started again.
func newLimiter(l Limits, dims bool) *limiter { return &limiter{l: l, dims: dims, heat: 1} }

// allow returns what a lamp may have of what is wanted, and why it is less. Celsius is of
// the zone, NaN where it tells nothing.
func (l *limiter) allow(now time.Duration, wanted, celsius float64) (level float64, why string) {
	if !l.begun {
		l.begun, l.last, l.zoneAt = true, now, now
	}
	l.heat = l.after(l.level, now-l.last)
	l.last = now
	level, why = l.limit(now, wanted, celsius)
	if level > 0 && l.level == 0 {
		l.on = now
	}
	l.level = level
	return level, why
}

// after is the heat after a time with a level.
func (l *limiter) after(level float64, d time.Duration) float64 {
	end := level / l.l.Steady
	return end + (l.heat-end)*math.Exp(-d.Seconds()/l.l.Tau.Seconds())
}

func (l *limiter) limit(now time.Duration, wanted, celsius float64) (level float64, why string) {
	if why = l.zone(now, celsius); why != "" {
		return 0, why
	}
	if l.l.Longest > 0 && l.level > 0 && now-l.on >= l.l.Longest {
		l.rest = now + l.l.Rest
	}
	if now < l.rest {
		return 0, fmt.Sprintf("it was on for %v and rests", l.l.Longest)
	}
	left := math.Exp(-horizon.Seconds() / l.l.Tau.Seconds())
	most := max(0, l.l.Steady*(1-l.heat*left)/(1-left)) // with which the heat comes to 1 within the horizon
	level = min(wanted, most)
	if !l.dims {
		l.spent = level < wanted || l.spent && l.heat > cooled
		if l.spent {
			level = 0
		}
	}
	if level < wanted {
		why = fmt.Sprintf("its heat is at %.0f %% of what it bears", 100*l.heat)
	}
	return level, why
}

func (l *limiter) zone(now time.Duration, celsius float64) (why string) {
	switch {
	case l.l.Zone == "":
		return ""
	case math.IsNaN(celsius):
		if now-l.zoneAt < lostFor {
			return ""
		}
		return fmt.Sprintf("no temperature of zone %s for %v", l.l.Zone, (now - l.zoneAt).Round(time.Second))
	}
	l.zoneAt = now
	if celsius >= l.l.Hot {
		l.hot = true
	} else if celsius < l.l.Hot-coolK {
		l.hot = false
	}
	if l.hot {
		return fmt.Sprintf("zone %s has %.1f °C, it may have %.1f", l.l.Zone, celsius, l.l.Hot)
	}
	return ""
}
