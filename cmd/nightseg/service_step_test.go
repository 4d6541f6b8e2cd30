package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nightseg/edge/mqtt"
	"nightseg/edge/settings"
)

// notedStep is the pipeline's part of a step.
type notedStep struct {
	calls []string
	undo  error
}

func (s *notedStep) Apply(context.Context) error {
	s.calls = append(s.calls, "apply")
	return nil
}

func (s *notedStep) Probation(context.Context) (any, error) { return nil, nil }

func (s *notedStep) Undo(ctx context.Context) error {
	s.calls = append(s.calls, "undo")
	return errors.Join(s.undo, ctx.Err())
}

func (s *notedStep) Close() error { return nil }

// TestStepWhoseBrokerCannotChange: after an error of Apply nothing has changed, or the
// error says what has.
func TestStepWhoseBrokerCannotChange(t *testing.T) {
	from := settings.Default()
	from.Broker.URL = "mqtt://127.0.0.1:1883"
	to := from
	to.Broker.URL, to.Broker.CAFile = "mqtts://127.0.0.1:8883", filepath.Join(t.TempDir(), "gone.pem")
	to.Relight.Dark++
	to.Log.Level, to.Stats.Interval = "debug", settings.Duration(123*time.Millisecond)
	o := mqtt.Options{Topics: mqtt.Topics{Fleet: "f", Device: "d"}}
	endpointOf(from.Broker).Apply(&o)
	client, err := mqtt.New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, undo := range []error{nil, errors.New("stuck")} {
		s := &service{link: &link{client: client}, stats: make(chan time.Duration, 1)}
		s.adopt(from)
		step := &notedStep{undo: undo}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // the way back is gone all the same
		err := (&serviceStep{Step: step, s: s, from: from, to: to, moves: true}).Apply(ctx)
		if err == nil || !strings.Contains(err.Error(), "ca_file") || errors.Is(err, context.Canceled) {
			t.Errorf("undo %v: %v", undo, err)
		}
		if undo != nil && !errors.Is(err, undo) {
			t.Errorf("%v does not say that it could not go back", err)
		}
		if !slices.Equal(step.calls, []string{"apply", "undo"}) {
			t.Errorf("calls %v", step.calls)
		}
		if got := <-s.stats; got != time.Duration(from.Stats.Interval) || s.level.Level() != logLevel(from.Log.Level) {
			t.Errorf("interval %v, level %v are in force", got, s.level.Level())
		}
		if use := s.around.dark.Load(); use == nil || *use != from.Relight {
			t.Errorf("relighting %+v is in force", use)
		}
	}
}
