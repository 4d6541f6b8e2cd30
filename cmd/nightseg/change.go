package main

import (
	"context"
	"fmt"
	"log/slog"

	"nightseg/camera"
	"nightseg/edge"
	"nightseg/edge/control"
	"nightseg/edge/settings"
)

// change is a change of a pipeline that is ready to be made.
type change struct {
	p        *pipeline
	from, to arrangement
	what     settings.Changed
	before   map[string]edge.Window // of each camera, in the time before the change
	made     bool
	shadow   *shadowReport
}

// Prepare implements control.Pipeline: it opens the networks that the settings ask
// for beside those in force, and lets them see what the cameras see now.
func (p *pipeline) Prepare(ctx context.Context, d settings.Desired) (control.Step, []settings.FieldError) {
	p.nets.Lock()
	ready := false
	defer func() {
		if !ready { // refused, or a panic
			p.nets.Unlock()
		}
	}()
	c := &change{p: p, from: p.now()}
	c.to = arrangement{settings: d.Settings, version: d.Version, nets: c.from.nets, small: c.from.small}
	c.what = settings.Changes(c.from.settings, d.Settings)
	bad := checkCameras(d.Settings)
	if c.what.Networks || p.parallel(c.from.settings) != p.parallel(d.Settings) {
		nets, err := p.open(ctx, d.Settings)
		if err != nil {
			return nil, append(bad, networkError(d.Settings, err))
		}
		c.to.nets, c.to.small = nets, false
	}
	stages, stageErrors := stagesOf(d.Settings.Live(), c.to.nets.bundle)
	bad = append(bad, stageErrors...)
	if len(bad) == 0 && c.to.nets != c.from.nets {
		if err := c.run(ctx, stages); err != nil {
			bad = append(bad, networkError(d.Settings, err))
		}
	}
	if len(bad) > 0 {
		return nil, append(bad, c.abandon()...)
	}
	ready = true
	return c, nil
}

// run is the shadow run.
func (c *change) run(ctx context.Context, s stageSettings) error {
	var witnesses []*witness
	now := 0.0
	for _, st := range c.p.all() {
		witnesses = append(witnesses, st.witness)
		now = max(now, st.lane.loop.Stats().Totals().Stages[edge.StageInfer.String()].P50)
	}
	r, err := shadow(ctx, witnesses, c.to.nets, s, sameClasses(c.from.nets.bundle, c.to.nets.bundle), now)
	c.shadow = &r
	slog.Info("shadow run", "bundle", c.to.nets.bundle.Name, "frames", r.Frames, "ms", r.Ms, "now_ms", r.Now,
		"agreement", r.Agreement, "error", err)
	return err
}

// abandon closes what was opened for a change that is not made.
func (c *change) abandon() []settings.FieldError {
	if err := c.closeNets(); err != nil {
		return []settings.FieldError{{Path: "bundle", Pointer: "/bundle", Problem: err.Error()}}
	}
	return nil
}

// networkError is why networks cannot be used, as an error of the field that names
// them.
func networkError(s settings.Settings, err error) settings.FieldError {
	return settings.FieldError{
		Path: "bundle", Pointer: "/bundle", Value: s.Bundle, Problem: err.Error(),
		Remedy: "nightseg bundle verify shows on the device what is wrong; what ran before goes on",
	}
}

// checkCameras looks at what the settings themselves cannot know: whether a source
// can be one.
func checkCameras(s settings.Settings) (bad []settings.FieldError) {
	for i, c := range s.Cameras {
		if err := camera.Check(c.Source); err != nil {
			bad = append(bad, settings.FieldError{
				Path: fmt.Sprintf("cameras[%d].source", i), Pointer: fmt.Sprintf("/cameras/%d/source", i),
				Value: camera.Redact(c.Source), Problem: err.Error(),
			})
			continue
		}
		if _, ok := camera.Device(c.Source); !ok && c.Night.Mode != settings.NightOff && c.Night.Mode != "" {
			bad = append(bad, settings.FieldError{
				Path: fmt.Sprintf("cameras[%d].night.mode", i), Pointer: fmt.Sprintf("/cameras/%d/night/mode", i),
				Value: c.Night.Mode, Problem: "is for V4L2 cameras alone", Allowed: settings.NightOff,
			})
		}
	}
	return bad
}

// Apply implements control.Step.
func (c *change) Apply(ctx context.Context) error {
	c.before = c.p.lately()
	if err := c.p.adopt(ctx, c.to); err != nil {
		return err
	}
	c.made = true
	return nil
}

// Undo implements control.Step.
func (c *change) Undo(ctx context.Context) error {
	if err := c.p.adopt(ctx, c.from); err != nil {
		return err
	}
	c.made = false
	return nil
}

// Close implements control.Step: it closes the networks that are not in force.
func (c *change) Close() error {
	defer c.p.nets.Unlock()
	return c.closeNets()
}

func (c *change) closeNets() error {
	if c.from.nets == c.to.nets {
		return nil
	}
	if c.made {
		return c.from.nets.engine.Close()
	}
	return c.to.nets.engine.Close()
}

// Probation implements control.Step.
func (c *change) Probation(ctx context.Context) (any, error) {
	of := map[string]expectation{}
	for _, cam := range c.to.settings.Cameras {
		of[cam.ID] = expectation{was: c.before[cam.ID], needed: c.before[cam.ID].Masks > 0}
	}
	for _, cam := range c.what.Cameras {
		e := of[cam.ID]
		switch {
		case cam.Added, cam.Reopen:
			e = expectation{needed: true} // another picture, at another rate
		case cam.Blank:
			e.was.Unknown = 1
		}
		of[cam.ID] = e
	}
	if c.to.settings.Threshold > c.from.settings.Threshold {
		for id, e := range of {
			e.was.Unknown = 1
			of[id] = e
		}
	}
	r := trialReport{Shadow: c.shadow, Before: c.before}
	var err error
	r.Since, err = c.p.prove(ctx, c.to.settings.Probation, of)
	return r, err
}

// trialReport is what was seen of settings on trial.
type trialReport struct {
	Shadow *shadowReport          `json:"shadow,omitempty"`
	Before map[string]edge.Window `json:"before"`
	Since  map[string]edge.Window `json:"since"`
}
