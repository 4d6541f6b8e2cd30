package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"nightseg/edge/decide"
	"nightseg/edge/frame"
	"nightseg/edge/settings"
)

// decideTimes are those of the decision alone, on one core, in ms.
type decideTimes struct {
	mean, p99 float64 // on what the networks made of the pictures
	eighth    float64 // the 99th percentile with these logits at 1/8 of the picture
	noise     float64 // the most on random logits: borders in each cell, the worst that can come
}

// decide times the decision alone.
func (bn *bench) decide(_ context.Context, r *benchRound) error {
	s, bad := stagesOf(bn.f.live(), bn.bundle)
	if len(bad) > 0 {
		return settings.Errors(bad)
	}
	d, err := decide.New(s.decide)
	if err != nil {
		return err
	}
	n := max(bn.perRound, 200)
	found, err := timeDecisions(d, n, bn.logits)
	if err != nil {
		return err
	}
	r.decide.mean, r.decide.p99 = mean(found), found[len(found)*99/100]
	if found, err = timeDecisions(d, n, bn.eighths); err != nil {
		return err
	}
	r.decide.eighth = found[len(found)*99/100]
	noise := bn.logits[0]
	noise.Data = make([]float32, len(noise.Data))
	random := rand.New(rand.NewPCG(1, 1))
	for i := range noise.Data {
		noise.Data[i] = float32(random.NormFloat64())
	}
	if found, err = timeDecisions(d, 10, []frame.Logits{noise}); err != nil {
		return err
	}
	r.decide.noise = found[len(found)-1]
	return nil
}

// timeDecisions decides n times, and returns the times in ms, in rising order.
func timeDecisions(d *decide.Decider, n int, logits []frame.Logits) (ms []float64, err error) {
	var m frame.Mask
	for i := range n + 1 {
		start := time.Now()
		if err := d.Decide(&m, &logits[i%len(logits)]); err != nil {
			return nil, err
		}
		if i > 0 { // the first makes the buffers
			ms = append(ms, float64(time.Since(start))/1e6)
		}
	}
	slices.Sort(ms)
	return ms, nil
}

// eighth returns logits at 1/8 of the picture's size, where they lie denser: the
// means of what falls together. It is what the limit of the decision is about.
func eighth(l *frame.Logits) frame.Logits {
	by := l.OutW / 8
	if by == 0 || l.W <= by || l.W%by != 0 || l.H%(l.W/by) != 0 {
		return *l
	}
	f := l.W / by
	out := frame.Logits{Meta: l.Meta, C: l.C, H: l.H / f, W: l.W / f, OutH: l.OutH, OutW: l.OutW}
	out.Data = make([]float32, out.C*out.H*out.W)
	for i := range l.Data {
		k, y, x := i/(l.H*l.W), i/l.W%l.H, i%l.W
		out.Data[(k*out.H+y/f)*out.W+x/f] += l.Data[i] / float32(f*f)
	}
	return out
}
