package governor

import (
	"math"
	"math/rand/v2"
	"time"
)

// plant is a board that is heated by its work: a chip on a heat sink in the air, two
// masses and two resistances, with leakage that grows with the temperature.
type plant struct {
	idle, work   float64 // W
	live         float64 // W more for the live view
	chip, sink   float64 // J/K
	inner, outer float64 // K/W from chip to sink, from sink to air
	air          float64
	leak         float64 // share of idle for each K above 50 °C
	noise, grain float64 // of the sensor, K

	tChip, tSink float64
	rng          *rand.Rand
}

// The networks' shares of the work of a frame.
const (
	gammaShare = 0.7
	smallShare = 0.5
)

func (p *plant) power(s Step, t float64) float64 {
	work := p.work * s.Rate
	if !s.Relight {
		work *= gammaShare
	}
	if s.Small {
		work *= smallShare
	}
	if s.LiveView {
		work += p.live
	}
	return p.idle*(1+p.leak*max(0, t-50)) + work
}

// run lets a second pass.
func (p *plant) run(s Step) {
	const dt = 0.25
	for range 4 {
		flow := (p.tChip - p.tSink) / p.inner
		p.tChip += dt * (p.power(s, p.tChip) - flow) / p.chip
		p.tSink += dt * (flow - (p.tSink-p.air)/p.outer) / p.sink
	}
}

// told is what the sensor says.
func (p *plant) told() float64 {
	t := p.tChip + p.noise*p.rng.NormFloat64()
	if p.grain > 0 {
		t = math.Round(t/p.grain) * p.grain
	}
	return t
}

// settled is the temperature of the chip after hours at one step.
func (p plant) settled(s Step) float64 {
	t := p.air
	for range 200 {
		next := p.air + (p.inner+p.outer)*p.power(s, t)
		if next > 300 { // it runs away
			return next
		}
		t = next
	}
	return t
}

// outcome is what a drive came to.
type outcome struct {
	hottest   float64
	work      float64 // mean rate
	late      float64 // of the second half
	changes   int
	lateTurns int // up and down again, in the second half
	last      Step
}

// drive runs a governor on a plant; air, if given, changes the surroundings.
func drive(g *Governor, p *plant, length time.Duration, air func(p *plant, at time.Duration)) outcome {
	var o outcome
	seconds := int(length / time.Second)
	up := false
	for i := range seconds {
		now := time.Duration(i+1) * time.Second
		if air != nil {
			air(p, now)
		}
		late := i > seconds/2
		if c, ok := g.Observe(Input{Now: now, Celsius: map[string]float64{"soc": p.told()}}); ok {
			o.changes++
			rising := c.Level < level(g.steps, c.From)
			if late && rising != up {
				o.lateTurns++
			}
			up = rising
		}
		s := g.State().Step
		p.run(s)
		o.hottest = max(o.hottest, p.tChip)
		o.work += s.Rate / float64(seconds)
		if late {
			o.late += s.Rate / float64(seconds-seconds/2-1)
		}
		o.last = s
	}
	return o
}

func level(steps []Step, name string) int {
	for i, s := range steps {
		if s.Name == name {
			return i
		}
	}
	return -1
}
