package journal

import (
	"log/slog"
	"time"
)

// PerHour is the most that a handler writes in any hour, in bytes: what may be
// written at once, and what is added in an hour.
const PerHour = burst + refill

const (
	burst  = 512 << 10
	refill = 512 << 10
	// Lines that are no fault leave that much to faults.
	reserve = burst / 4
	// How often it is told that lines were left out.
	noteEvery = time.Minute
)

// Limits of folding: a fault is written at once, then at most once in a pause that
// grows while it lasts.
const (
	firstPause   = 10 * time.Second
	longestPause = 10 * time.Minute
	mostFaults   = 256 // that are remembered
)

// fault is a line that was written and may come again.
type fault struct {
	until  time.Time // when it is written again
	pause  time.Duration
	hidden int // how often it came meanwhile
}

// fold says whether a fault whose line was just made is to be written, and how
// often it came since it was the last time. Faults whose lines differ in numbers
// only, such as that of a frame, are the same.
func (o *output) fold(now time.Time) (again int, write bool) {
	key := string(withoutNumbers(o.line.Bytes()))
	f := o.faults[key]
	switch {
	case f == nil:
		o.forget()
		o.faults[key] = &fault{until: now.Add(firstPause), pause: firstPause}
		return 0, true
	case now.Before(f.until):
		f.hidden++
		return 0, false
	case now.Sub(f.until) < f.pause: // it lasts
		f.pause = min(2*f.pause, longestPause)
	default:
		f.pause = firstPause
	}
	again, f.hidden = f.hidden, 0
	f.until = now.Add(f.pause)
	return again, true
}

// forget makes room for a fault.
func (o *output) forget() {
	if len(o.faults) < mostFaults {
		return
	}
	var oldest string
	for key, f := range o.faults {
		if oldest == "" || f.until.Before(o.faults[oldest].until) {
			oldest = key
		}
	}
	delete(o.faults, oldest)
}

func withoutNumbers(line []byte) []byte {
	out := make([]byte, 0, len(line))
	for _, c := range line {
		if c >= '0' && c <= '9' {
			if n := len(out); n > 0 && out[n-1] == '#' {
				continue
			}
			c = '#'
		}
		out = append(out, c)
	}
	return out
}

// afford takes n bytes from what may be written.
func (o *output) afford(l slog.Level, now time.Time, n int) bool {
	if !o.last.IsZero() {
		o.left = min(o.left+now.Sub(o.last).Hours()*refill, burst)
	}
	o.last = now
	left := o.left - float64(n)
	if left < 0 || l < slog.LevelWarn && left < reserve {
		return false
	}
	o.left = left
	return true
}
