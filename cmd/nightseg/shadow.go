package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"nightseg/edge/decide"
	"nightseg/edge/frame"
	"nightseg/model"
	"nightseg/relight"
)

// The shadow run of networks that are to take the place of others.
const (
	shadowFrames   = 8
	shadowPause    = 150 * time.Millisecond // between frames: the ones in force go on
	shadowLimit    = 10 * time.Second
	shadowAgree    = 0.3 // of the pixels, where the classes are the same
	shadowSlower   = 8.0 // times the time of the networks in force, beside which they run
	shadowSlowMs   = 500 // ... and slower than this
	shadowOneClass = 0.99
)

// shadowReport is what came of a shadow run.
type shadowReport struct {
	Frames    int     `json:"frames"`
	Ms        float64 `json:"ms"`                  // median of networks and decision, beside the ones in force
	Now       float64 `json:"now_ms"`              // median of the networks in force
	Agreement float64 `json:"agreement,omitempty"` // share of the pixels with the same class; 0: other classes
	Why       string  `json:"why,omitempty"`       // there was no run
}

// shadow runs networks beside those in force, on frames that the cameras give now,
// and returns why they should not take their place.
func shadow(
	ctx context.Context, witnesses []*witness, next *loaded, s stageSettings, comparable bool, now float64,
) (shadowReport, error) {
	r := shadowReport{Now: now}
	nets, err := newNetworks(next.engine, next.bundle)
	if err != nil {
		return r, err
	}
	planner, err := relight.New(s.relight)
	if err != nil {
		return r, err
	}
	decider, err := decide.New(s.decide)
	if err != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeout(ctx, shadowLimit)
	defer cancel()
	run := &shadowRun{nets: nets, planner: planner, decider: decider, comparable: comparable, seen: newSight()}
	for i := range shadowFrames {
		if len(witnesses) == 0 || !witnesses[i%len(witnesses)].next(ctx, run.seen) {
			break
		}
		if err := run.frame(); err != nil {
			return r, err
		}
		select {
		case <-time.After(shadowPause):
		case <-ctx.Done():
		}
	}
	return run.report(r)
}

// shadowRun holds the stages of a shadow run and what they found.
type shadowRun struct {
	nets       *networks
	planner    *relight.Planner
	decider    *decide.Decider
	comparable bool // the classes are those of the networks in force

	seen   *sight
	lit    frame.Frame
	logits frame.Logits
	mask   frame.Mask
	ms     []float64
	same   float64
	single int // frames with one class all over, which have more in the networks in force
}

// frame takes the frame that was seen through the stages.
func (r *shadowRun) frame() error {
	shown, err := r.planner.Plan(&r.lit, &r.seen.frame)
	if err != nil {
		return fmt.Errorf("shadow run: relight: %w", err)
	}
	start := frame.Mono()
	if err := r.nets.Infer(&r.logits, shown); err != nil {
		return fmt.Errorf("shadow run: networks: %w", err)
	}
	if err := r.decider.Decide(&r.mask, &r.logits); err != nil {
		return fmt.Errorf("shadow run: decide: %w", err)
	}
	r.ms = append(r.ms, float64(frame.Mono()-start)/1e6)
	if r.comparable {
		r.same += agreement(&r.seen.mask, &r.mask)
	}
	if largest(&r.mask) > shadowOneClass && largest(&r.seen.mask) < shadowOneClass {
		r.single++
	}
	return nil
}

func (r *shadowRun) report(out shadowReport) (shadowReport, error) {
	out.Frames = len(r.ms)
	if out.Frames == 0 {
		out.Why = "no camera gives frames"
		return out, nil
	}
	slices.Sort(r.ms)
	out.Ms = r.ms[len(r.ms)/2]
	out.Agreement = r.same / float64(out.Frames)
	switch {
	case r.single > out.Frames/2:
		return out, fmt.Errorf("shadow run: one class all over in %d of %d frames", r.single, out.Frames)
	case r.comparable && out.Agreement < shadowAgree:
		return out, fmt.Errorf("shadow run: the same class as the networks in force in %.0f %% of the pixels, at least %.0f "+
			"are wanted", 100*out.Agreement, 100*shadowAgree)
	case out.Ms > shadowSlowMs && out.Ms > shadowSlower*out.Now:
		return out, fmt.Errorf("shadow run: %.0f ms a frame, the networks in force take %.0f", out.Ms, out.Now)
	}
	return out, nil
}

// agreement is the share of the pixels with the same class in two masks of one
// picture, which may differ in size.
func agreement(a, b *frame.Mask) float64 {
	same := 0
	for y := range a.H {
		row := b.Class[y*b.H/a.H*b.W:]
		for x := range a.W {
			if a.Class[y*a.W+x] == row[x*b.W/a.W] {
				same++
			}
		}
	}
	return float64(same) / float64(max(1, a.W*a.H))
}

// largest is the share of the most frequent class.
func largest(m *frame.Mask) float64 {
	var n [256]int
	for _, k := range m.Class {
		n[k]++
	}
	return float64(slices.Max(n[:])) / float64(max(1, len(m.Class)))
}

// sameClasses reports whether two bundles mean the same by a class.
func sameClasses(a, b *model.Bundle) bool {
	return slices.EqualFunc(a.Classes, b.Classes, func(x, y model.Class) bool { return x.ID == y.ID && x.Name == y.Name })
}
