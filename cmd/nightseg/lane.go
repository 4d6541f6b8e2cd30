package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"nightseg/edge"
	"nightseg/edge/decide"
	"nightseg/edge/frame"
	"nightseg/edge/message"
	"nightseg/edge/settings"
	"nightseg/model"
	"nightseg/relight"
)

// lane is one camera's way from its source to the broker.
type lane struct {
	camera  string
	loop    *edge.Loop
	relight *relight.Planner
	decide  *decide.Decider
	env     *envelope
}

// laneParts are what a lane is made of besides its settings.
type laneParts struct {
	camera   string
	source   edge.Source
	frames   int          // after which the source ends; 0: at its own end
	degraded *atomic.Bool // the state of the service, for its masks; may be nil
	engine   edge.Inferer
	publish  edge.Publisher
	tap      edge.Tap
	sender   sender
	edge.Options
}

// newLane joins the parts to a loop that runs with the live settings.
func newLane(p laneParts, l settings.Live, b *model.Bundle) (*lane, error) {
	s, bad := stagesOf(l, b)
	if len(bad) > 0 {
		return nil, usage(settings.Errors(bad))
	}
	planner, err := relight.New(s.relight)
	if err != nil {
		return nil, err
	}
	decider, err := decide.New(s.decide)
	if err != nil {
		return nil, fmt.Errorf("decide: %w", err)
	}
	env, err := newEnvelope(b, p.sender, s.codec)
	if err != nil {
		return nil, err
	}
	p.Camera = p.camera
	source := &marked{Source: p.source, left: p.frames, camera: p.camera, run: p.sender.run, degraded: p.degraded}
	loop, err := edge.New(edge.Stages{
		Source: source, Relight: planner, Infer: p.engine, Decide: decider,
		Encode: env, Publish: p.publish, Tap: p.tap,
	}, p.Options)
	if err != nil {
		return nil, err
	}
	return &lane{camera: p.camera, loop: loop, relight: planner, decide: decider, env: env}, nil
}

// apply brings checked live settings into force between two frames; the masks
// tell their version from then on.
func (l *lane) apply(ctx context.Context, s stageSettings, version int64) error {
	return l.loop.Apply(ctx, edge.Change{
		Networks: func() { l.told("relight", l.relight.Apply(s.relight)) },
		Send: func() {
			l.told("decide", l.decide.Apply(s.decide))
			l.env.apply(s.codec)
			l.env.version.Store(version)
		},
	})
}

// told logs a fault of settings that were checked before.
func (l *lane) told(part string, err error) {
	if err != nil {
		slog.Error("settings not in force", "camera", l.camera, "part", part, "error", err)
	}
}

// stageSettings are live settings in the words of the stages.
type stageSettings struct {
	relight relight.Settings
	decide  decide.Settings
	codec   message.Codec
}

// stagesOf translates live settings for a bundle; what a bundle does not allow
// comes back as errors of the fields.
func stagesOf(l settings.Live, b *model.Bundle) (s stageSettings, bad []settings.FieldError) {
	refuse := func(path, pointer string, value any, err error, remedy string) {
		bad = append(bad, settings.FieldError{
			Path: path, Pointer: pointer, Value: fmt.Sprint(value), Problem: err.Error(), Remedy: remedy,
		})
	}
	word := l.Relight.Mode
	if word == "bundle" {
		word = "network"
		if b.Graphs.Relight == nil && b.Graphs.Fused == nil {
			word = "gamma"
		}
	}
	mode, ok := frame.ParseRelight(word)
	if !ok {
		refuse("relight.mode", "/relight/mode", l.Relight.Mode, errUnknownWord, "use none, gamma, clahe or network")
	}
	if mode == frame.RelightNetwork && b.Graphs.Relight == nil && b.Graphs.Fused == nil {
		refuse("relight.mode", "/relight/mode", l.Relight.Mode, model.ErrNoRelight, "use none, gamma or clahe")
	}
	s.relight = relight.Default()
	s.relight.Mode, s.relight.Gate = mode, relight.Gate(l.Relight.Gate)
	s.relight.Dark, s.relight.Bright = l.Relight.Dark, l.Relight.Bright
	if err := s.relight.Validate(); err != nil {
		refuse("relight", "/relight", l.Relight.Gate, err, "")
	}
	s.decide = decideSettings(l, b)
	if _, err := decide.New(s.decide); err != nil {
		remedy := ""
		if most, err := decide.MaxStd(b.ClassShares); err == nil {
			remedy = fmt.Sprintf("this bundle takes a std below %.3g", most)
		}
		refuse("reweight.std", "/reweight/std", s.decide.Std, err, remedy)
	}
	s.codec = message.Codec(l.Codec)
	return s, bad
}

var errUnknownWord = errors.New("is not known")

// decideSettings takes from the bundle what the live settings leave to it.
func decideSettings(l settings.Live, b *model.Bundle) decide.Settings {
	d := decide.Settings{
		Mode: decide.Mode(b.Reweight.Mode), Std: b.Reweight.Std, Threshold: l.Threshold,
		Temperature: b.Temperature, Shares: b.ClassShares, AlignCorners: b.AlignCorners,
	}
	if l.Reweight.Mode != "bundle" && l.Reweight.Mode != "" {
		d.Mode = decide.Mode(l.Reweight.Mode)
	}
	if l.Reweight.Std != nil {
		d.Std = *l.Reweight.Std
	}
	return d
}
