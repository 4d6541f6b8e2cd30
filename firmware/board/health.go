package board

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"nightseg/firmware/bus"
	"nightseg/firmware/governor"
	"nightseg/firmware/light"
	"nightseg/firmware/power"
	"nightseg/firmware/thermal"
)

// Health is what is known of a board at a time.
type Health struct {
	At       time.Time                `json:"at"`
	Board    string                   `json:"board"`
	Celsius  map[string]float64       `json:"celsius"`
	Cooling  map[string]int           `json:"cooling,omitempty"`
	Clocks   map[string]thermal.Pace  `json:"clocks,omitempty"`
	Counters map[string]uint64        `json:"counters,omitempty"`
	Rails    map[string]power.Reading `json:"rails,omitempty"`
	Light    map[string]light.Reading `json:"light,omitempty"`
	Governor *governor.State          `json:"governor,omitempty"`
	Battery  string                   `json:"battery,omitempty"` // why the program is to stop
	Buses    map[string]bus.Counters  `json:"buses,omitempty"`
	Problems map[string]string        `json:"problems,omitempty"`
}

// Health gathers the newest readings. It waits for no bus.
func (b *Board) Health() Health {
	now := time.Now()
	h := Health{At: now, Board: b.d.Name, Governor: b.step.Load(), Light: map[string]light.Reading{}}
	h.Problems, h.Buses = b.known()
	if r, ok := b.heat.Newest(); ok {
		h.Celsius, h.Cooling, h.Clocks, h.Counters = r.Celsius, r.Cooling, r.Clocks, r.Counters
		maps.Copy(h.Problems, r.Problems)
		h.late("heat", now, r.at)
	}
	if r, ok := b.rails.Newest(); ok {
		h.Rails = r.readings
		maps.Copy(h.Problems, r.problems)
		h.late("rails", now, r.at)
	}
	for name, m := range b.lights {
		r, ok := m.Newest()
		if !ok {
			continue
		}
		h.Light[name] = r
		if r.Problem != "" {
			h.Problems["light "+name] = r.Problem
		} else {
			h.late("light "+name, now, r.At)
		}
	}
	if b.led != nil {
		if err := b.led.Err(); err != nil {
			h.Problems["status"] = err.Error()
		}
	}
	if s := b.battery.Load(); s != nil {
		h.Battery = *s
	}
	return h
}

// late notes a reading that has not come for long: its goroutine waits for a device.
func (h *Health) late(what string, now, at time.Time) {
	if age := now.Sub(at); age > max(stale, longestInterval) {
		h.Problems[what] = fmt.Sprintf("nothing was read for %v: a device does not answer", age.Round(time.Second))
	}
}

// longestInterval is that of a light sensor.
const longestInterval = time.Minute

// Metrics writes the figures in the text format that Prometheus reads.
func (h Health) Metrics(w io.Writer) {
	write(w, "celsius", "zone", h.Celsius, func(v float64) float64 { return v })
	write(w, "cooling_state", "device", h.Cooling, func(v int) float64 { return float64(v) })
	write(w, "clock_mhz", "clock", h.Clocks, func(p thermal.Pace) float64 { return p.MHz })
	loads := map[string]float64{}
	for name, p := range h.Clocks {
		if p.Percent != nil {
			loads[name] = *p.Percent
		}
	}
	write(w, "load_percent", "clock", loads, func(v float64) float64 { return v })
	write(w, "events_total", "counter", h.Counters, func(n uint64) float64 { return float64(n) })
	write(w, "rail_volts", "rail", h.Rails, func(r power.Reading) float64 { return r.Volts })
	write(w, "rail_amps", "rail", h.Rails, func(r power.Reading) float64 { return r.Amps })
	write(w, "light_lux", "sensor", h.Light, func(r light.Reading) float64 { return r.Lux })
	write(w, "light_valid", "sensor", h.Light, func(r light.Reading) float64 { return number(r.Valid) })
	write(w, "light_saturated", "sensor", h.Light, func(r light.Reading) float64 { return number(r.Saturated) })
	write(w, "bus_errors_total", "bus", h.Buses, func(c bus.Counters) float64 { return float64(c.Errors) })
	write(w, "bus_stuck_total", "bus", h.Buses, func(c bus.Counters) float64 { return float64(c.Stuck) })
	if g := h.Governor; g != nil {
		fmt.Fprintf(w, "nightseg_board_governor_level %d\nnightseg_board_governor_band %d\n", g.Level, int(g.Band))
	}
	fmt.Fprintf(w, "nightseg_board_problems %d\n", len(h.Problems))
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func write[V any](w io.Writer, name, label string, m map[string]V, value func(V) float64) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(w, "nightseg_board_%s{%s=%q} %v\n", name, label, key, value(m[key]))
	}
}
