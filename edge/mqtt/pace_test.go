package mqtt

import (
	"testing"
	"time"
)

// road is a link of a rate and a round trip, and a broker at its end: what is
// written is carried in turn, and answered half a round trip after it has come.
type road struct {
	rate  float64 // bytes per second
	trip  time.Duration
	free  time.Time // when all that was written has left
	sent  int64
	queue []crossing
}

type crossing struct {
	mark    int64 // bytes up to its end
	arrives time.Time
	ping    bool
}

func (r *road) write(n int, ping bool, now time.Time) {
	if r.free.Before(now) {
		r.free = now
	}
	r.free = r.free.Add(time.Duration(float64(n) / r.rate * float64(time.Second)))
	r.sent += int64(n)
	r.queue = append(r.queue, crossing{r.sent, r.free.Add(r.trip), ping})
}

// answers returns how much is acknowledged by now, and the answers to pings.
func (r *road) answers(now time.Time) (acked int64, pings []time.Time) {
	acked = r.sent
	for i, c := range r.queue {
		if c.arrives.After(now) {
			acked = c.mark - 1
			if i > 0 {
				acked = r.queue[i-1].mark
			}
			return r.cut(i, acked, pings)
		}
		if c.ping {
			pings = append(pings, c.arrives)
		}
	}
	return r.cut(len(r.queue), acked, pings)
}

func (r *road) cut(n int, acked int64, pings []time.Time) (int64, []time.Time) {
	if n > 0 {
		r.queue = r.queue[n-1:]
		r.queue[0].ping = false
		r.queue = r.queue[1:]
	}
	return acked, pings
}

// drive offers masks of a size and rate for a while, each to be sent at once or
// never, and returns how many went, the most bytes that were under way, and the
// pings.
func drive(p *pace, r *road, size int, every, length time.Duration, now *time.Time) (sent, most, pings int) {
	end := now.Add(length)
	next := *now
	for ; now.Before(end); *now = now.Add(time.Millisecond) {
		acked, got := r.answers(*now)
		for _, at := range got {
			p.answered(at)
		}
		p.look(acked, *now)
		if !next.After(*now) {
			next = next.Add(every)
			if p.room() {
				r.write(size, false, *now)
				p.wrote(size, r.sent, *now)
				sent++
			}
		}
		if p.due(5*time.Second, *now) {
			r.write(2, true, *now)
			p.wrotePing(*now)
			pings++
		}
		most = max(most, int(r.sent-acked))
	}
	return sent, most, pings
}

func TestPace(t *testing.T) {
	const fps = time.Second / 30
	for _, tt := range []struct {
		name     string
		rate     float64
		trip     time.Duration
		size     int
		fewest   int // masks of the last 900, in 30 s
		mostTime time.Duration
		pings    int
	}{
		{"thin", 10e3, 50 * time.Millisecond, 5000, 50, 600 * time.Millisecond, 62},
		{"thin and far", 10e3, 600 * time.Millisecond, 5000, 25, 1200 * time.Millisecond, 62},
		{"thin, large masks", 10e3, 50 * time.Millisecond, 30000, 9, 3200 * time.Millisecond, 62},
		{"half of it", 75e3, 50 * time.Millisecond, 5000, 400, 800 * time.Millisecond, 300},
		{"10 Mbit/s, 100 ms, full", 1.25e6, 100 * time.Millisecond, 41000, 880, 600 * time.Millisecond, 150},
		{"10 Mbit/s, 100 ms", 1.25e6, 100 * time.Millisecond, 5000, 900, 600 * time.Millisecond, 40},
		{"satellite", 1.25e6, 600 * time.Millisecond, 20000, 890, 1200 * time.Millisecond, 60},
		{"fast", 100e6, time.Millisecond, 5000, 900, 600 * time.Millisecond, 32},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			p, r := newPace(tt.trip, now), &road{rate: tt.rate, trip: tt.trip}
			drive(p, r, tt.size, fps, 10*time.Second, &now)
			sent, most, pings := drive(p, r, tt.size, fps, 30*time.Second, &now)
			under := time.Duration(float64(most) / tt.rate * float64(time.Second))
			t.Logf("%d masks in 30 s, at most %d bytes (%v) under way, %d pings", sent, most, under, pings)
			if sent < tt.fewest || under > tt.mostTime || pings > tt.pings {
				t.Errorf("want at least %d masks, at most %v and %d pings", tt.fewest, tt.mostTime, tt.pings)
			}
		})
	}
}

// TestPaceWhenTheLinkChanges: a link that becomes thin, and one that becomes long.
func TestPaceWhenTheLinkChanges(t *testing.T) {
	now := time.Unix(1000, 0)
	p, r := newPace(50*time.Millisecond, now), &road{rate: 1e6, trip: 50 * time.Millisecond}
	drive(p, r, 5000, time.Second/30, 20*time.Second, &now)
	r.rate = 10e3
	_, most, _ := drive(p, r, 5000, time.Second/30, 5*time.Second, &now)
	t.Logf("from 1 MB/s to 10 kB/s: at most %d bytes under way", most)
	if most > 60e3 {
		t.Errorf("%d bytes were under way", most)
	}
	drive(p, r, 5000, time.Second/30, 10*time.Second, &now)
	if _, most, _ = drive(p, r, 5000, time.Second/30, 10*time.Second, &now); most > 6000 {
		t.Errorf("%d bytes under way, for good", most)
	}
	r.rate = 1e6
	drive(p, r, 5000, time.Second/30, 5*time.Second, &now)
	if sent, _, _ := drive(p, r, 5000, time.Second/30, 10*time.Second, &now); sent < 300 {
		t.Errorf("%d of 300 masks when the link is fast again", sent)
	}
	r.trip = time.Second // by way of a satellite
	drive(p, r, 5000, time.Second/30, 30*time.Second, &now)
	if sent, _, _ := drive(p, r, 5000, time.Second/30, 10*time.Second, &now); sent < 290 {
		t.Errorf("%d of 300 masks over a way that has become long", sent)
	}
}
