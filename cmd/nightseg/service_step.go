package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"nightseg/edge/control"
	"nightseg/edge/settings"
)

// Prepare implements control.Pipeline: what the pipeline does not know of, the
// service changes itself.
func (s *service) Prepare(ctx context.Context, d settings.Desired) (control.Step, []settings.FieldError) {
	t := &serviceStep{s: s, from: s.pipeline.now().settings, to: d.Settings}
	t.moves = settings.Changes(t.from, t.to).Broker
	if t.moves {
		if bad := checkMove(t.from.Broker, t.to.Broker); len(bad) > 0 {
			return nil, bad
		}
	}
	s.updates.tried(d)
	step, bad := s.pipeline.Prepare(ctx, d)
	t.Step = step
	if len(bad) > 0 {
		return nil, bad
	}
	return t, nil
}

// checkMove says why a service cannot change from one broker to another while it
// runs.
func checkMove(from, to settings.Broker) []settings.FieldError {
	for _, url := range []string{from.URL, to.URL} {
		if url == brokerEmbedded || url == brokerNone {
			return []settings.FieldError{{
				Path: "broker.url", Pointer: "/broker/url", Value: to.URL,
				Problem: "from " + from.URL + " is no way to go while running",
				Remedy:  "embedded and none are for the settings file; then restart",
			}}
		}
	}
	return nil
}

// serviceStep is a step of the pipeline with what else changes.
type serviceStep struct {
	control.Step
	s        *service
	from, to settings.Settings
	moves    bool // to another broker
}

// Apply implements control.Step. Where the way to the broker cannot change, because a
// file is gone since it was checked, the rest goes back.
func (t *serviceStep) Apply(ctx context.Context) error {
	if err := t.Step.Apply(ctx); err != nil {
		return err
	}
	t.s.adopt(t.to)
	if !t.moves {
		return nil
	}
	err := t.s.link.client.Redirect(endpointOf(t.to.Broker))
	if err == nil {
		return nil
	}
	t.s.adopt(t.from)
	if undoErr := t.Step.Undo(context.WithoutCancel(ctx)); undoErr != nil {
		return errors.Join(err, fmt.Errorf("what was changed already: %w", undoErr))
	}
	return err
}

// Probation implements control.Step: a new broker must answer before the rest is
// looked at.
func (t *serviceStep) Probation(ctx context.Context) (any, error) {
	if t.moves {
		trial, cancel := context.WithTimeout(ctx, time.Duration(t.to.Broker.Trial))
		defer cancel()
		if err := t.s.link.client.WaitMoved(trial); err != nil {
			return nil, fmt.Errorf("no connection within %v: %w",
				time.Duration(t.to.Broker.Trial), cmp.Or(t.s.link.client.State().Err, t.s.link.client.MasksState().Err, err))
		}
	}
	return t.Step.Probation(ctx)
}

// Undo implements control.Step.
func (t *serviceStep) Undo(ctx context.Context) error {
	t.s.adopt(t.from)
	err := t.Step.Undo(ctx)
	if t.moves {
		return errors.Join(err, t.s.link.client.Redirect(endpointOf(t.from.Broker)))
	}
	return err
}

// adopt brings what is not of the pipeline into force.
func (s *service) adopt(c settings.Settings) {
	s.level.Set(logLevel(c.Log.Level))
	s.settle(c)
	select {
	case <-s.stats: // nobody has taken the one before
	default:
	}
	s.stats <- time.Duration(c.Stats.Interval)
}
