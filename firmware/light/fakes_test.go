package light

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"periph.io/x/conn/v3/physic"
)

// chip is a sensor by its registers.
type chip interface {
	write(w []byte) error
	read(w, r []byte)
}

// lab is a bus with one sensor under a lamp.
type lab struct {
	mu        sync.Mutex
	addr      uint16
	chip      chip
	unplugged bool
	stuck     chan struct{} // a transaction hangs until it is closed
}

var errNoAck = errors.New("remote I/O error")

func (l *lab) String() string                  { return "lab" }
func (l *lab) SetSpeed(physic.Frequency) error { return nil }

func (l *lab) Tx(addr uint16, w, r []byte) error {
	l.mu.Lock()
	stuck := l.stuck
	l.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unplugged || addr != l.addr {
		return errNoAck
	}
	if err := l.chip.write(w); err != nil {
		return err
	}
	if len(r) > 0 {
		l.chip.read(w, r)
	}
	return nil
}

func (l *lab) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// world is what the chips look at.
type world struct {
	lux   float64
	noise float64 // share, one standard deviation
	rng   *rand.Rand
}

func (w *world) counts(perLux float64, full int) int {
	v := w.lux
	if w.noise > 0 {
		v *= max(0, 1+w.noise*w.rng.NormFloat64())
	}
	return min(full, int(v*perLux))
}

// simBH1750: a measurement ends its time after the mode was set for the first time.
type simBH1750 struct {
	*world
	on   bool
	mode byte
	at   time.Time
}

func (s *simBH1750) write(w []byte) error {
	switch b := w[0]; b {
	case 0x00:
		s.on = false
	case 0x01:
		s.on = true
	case 0x07:
	case 0x10, 0x11:
		if !s.on {
			return errors.New("a measurement without power on")
		}
		if b != s.mode {
			s.mode, s.at = b, time.Now()
		}
	default:
		return errors.New("unknown instruction")
	}
	return nil
}

func (s *simBH1750) read(_, r []byte) {
	per := 1.2
	if s.mode == 0x11 {
		per = 2.4
	}
	n := s.counts(per, 65535)
	if time.Since(s.at) < 120*time.Millisecond {
		n = 0
	}
	r[0], r[1] = byte(n>>8), byte(n)
}

// simTSL2561 sees white LED light, of which a tenth of the counts is infrared.
type simTSL2561 struct {
	*world
	on     bool
	timing byte
	at     time.Time
	id     byte
}

func (s *simTSL2561) write(w []byte) error {
	if len(w) < 2 {
		return nil
	}
	switch w[0] {
	case 0x80:
		s.on = w[1] == 3
	case 0x81:
		s.timing, s.at = w[1], time.Now()
	default:
		return errors.New("unknown register")
	}
	return nil
}

func (s *simTSL2561) read(w, r []byte) {
	if w[0] == 0x8a {
		r[0] = s.id
		return
	}
	const ratio = 0.1
	perLux := 1 / (0.0304 - 0.062*math.Pow(ratio, 1.4)) // counts of diode 0 at x16, 402 ms
	full, share, took := 65535, 1.0, 402*time.Millisecond
	switch s.timing & 3 {
	case 0:
		full, share, took = 5047, 11.0/322, 13700*time.Microsecond
	case 1:
		full, share, took = 37177, 81.0/322, 101*time.Millisecond
	}
	if s.timing&0x10 == 0 {
		share /= 16
	}
	n := s.counts(perLux*share, full)
	if w[0] == 0xae {
		n = s.counts(perLux*share*ratio, full)
	}
	if !s.on || time.Since(s.at) < took {
		n = 0
	}
	r[0], r[1] = byte(n), byte(n>>8)
}

// simVEML7700 is not linear in bright light, as its correction says.
type simVEML7700 struct {
	*world
	config uint16
	at     time.Time
}

func (s *simVEML7700) write(w []byte) error {
	if len(w) == 3 && w[0] == 0 {
		s.config, s.at = uint16(w[1])|uint16(w[2])<<8, time.Now()
	}
	return nil
}

func (s *simVEML7700) read(_, r []byte) {
	gain := []float64{1, 2, 0.125, 0.25}[s.config>>11&3]
	ms := map[uint16]float64{0: 100, 1: 200, 2: 400, 3: 800, 8: 50, 12: 25}[s.config>>6&15]
	low, high := 0.0, s.lux // the inverse of the correction, which makes light more
	for range 60 {
		if m := (low + high) / 2; vemlLinear(m) < s.lux {
			low = m
		} else {
			high = m
		}
	}
	w := *s.world
	w.lux = high
	n := w.counts(1/(0.0042*2/gain*800/ms), 65535)
	if time.Since(s.at) < time.Duration(ms)*time.Millisecond {
		n = 0
	}
	r[0], r[1] = byte(n), byte(n>>8)
}
