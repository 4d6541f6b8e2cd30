package main

import (
	"context"
	"time"

	"nightseg/edge/control"
	"nightseg/edge/settings"
)

// Prepare implements control.Pipeline: what the pipeline does not know of, the
// service changes itself.
func (s *service) Prepare(ctx context.Context, d settings.Desired) (control.Step, []settings.FieldError) {
	from := s.pipeline.now().settings
	s.updates.tried(d)
	step, bad := s.pipeline.Prepare(ctx, d)
	if len(bad) > 0 {
		return nil, bad
	}
	return &serviceStep{Step: step, s: s, from: from, to: d.Settings}, nil
}

// serviceStep is a step of the pipeline with what else changes.
type serviceStep struct {
	control.Step
	s        *service
	from, to settings.Settings
}

// Apply implements control.Step.
func (t *serviceStep) Apply(ctx context.Context) error {
	if err := t.Step.Apply(ctx); err != nil {
		return err
	}
	t.s.adopt(t.to)
	return nil
}

// Undo implements control.Step.
func (t *serviceStep) Undo(ctx context.Context) error {
	t.s.adopt(t.from)
	return t.Step.Undo(ctx)
}

// adopt brings what is not of the pipeline into force.
func (s *service) adopt(c settings.Settings) {
	s.level.Set(logLevel(c.Log.Level))
	select {
	case <-s.stats: // nobody has taken the one before
	default:
	}
	s.stats <- time.Duration(c.Stats.Interval)
}
