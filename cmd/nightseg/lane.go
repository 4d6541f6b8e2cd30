package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

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
	infer   *replaceable
	relight *relight.Planner
	decide  *decide.Decider
	blank   *blanked
	env     *envelope
	limit   func(rate float64) // of masks per second; nil: there is none
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

// replaceable is the engine of a lane, which may be another one from one frame to
// the next.
type replaceable struct{ edge.Inferer }

// blanked decides, and blanks the regions of the camera in which nothing is to be
// seen.
type blanked struct {
	edge.Decider
	regions *decide.Blank
}

// Decide implements edge.Decider.
func (b *blanked) Decide(dst *frame.Mask, src *frame.Logits) error {
	if err := b.Decider.Decide(dst, src); err != nil {
		return err
	}
	b.regions.Apply(dst)
	return nil
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
	ln := &lane{
		camera: p.camera, relight: planner, decide: decider, env: env,
		infer: &replaceable{p.engine}, blank: &blanked{decider, decide.NewBlank(nil)},
	}
	if o, ok := p.publish.(*liveOutlet); ok {
		ln.limit = o.limit
	}
	p.Camera = p.camera
	stages := edge.Stages{
		Source:  &marked{Source: p.source, left: p.frames, camera: p.camera, run: p.sender.run, degraded: p.degraded},
		Relight: planner, Infer: ln.infer, Decide: ln.blank, Encode: env, Publish: p.publish, Tap: p.tap,
	}
	if p.KeepRelit {
		stages.Infer = p.engine // which then shows what it made
	}
	ln.loop, err = edge.New(stages, p.Options)
	return ln, err
}

// laneChange is what a lane is to go on with.
type laneChange struct {
	stages  stageSettings
	regions []decide.Region
	rate    float64 // most masks per second, 0: all
	version int64   // of the settings, for the masks
	infer   edge.Inferer
	encoder *message.Encoder
}

// apply brings a checked change into force between two frames.
func (l *lane) apply(ctx context.Context, c *laneChange) error {
	return l.loop.Apply(ctx, edge.Change{
		Networks: func() {
			l.infer.Inferer = c.infer
			l.told("relight", l.relight.Apply(c.stages.relight))
		},
		Send: func() {
			l.told("decide", l.decide.Apply(c.stages.decide))
			l.blank.regions = decide.NewBlank(c.regions)
			l.env.encoder = c.encoder
			l.env.apply(c.stages.codec)
			l.env.version.Store(c.version)
			if l.limit != nil {
				l.limit(c.rate)
			}
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
	mode, ok := frame.ParseRelight(relightOr(l.Relight.Mode, b))
	if !ok {
		refuse("relight.mode", "/relight/mode", l.Relight.Mode, errUnknownWord, "use bundle, none, gamma, clahe or network")
	}
	if mode == frame.RelightNetwork && b.Graphs.Relight == nil && b.Graphs.Fused == nil {
		refuse("relight.mode", "/relight/mode", l.Relight.Mode, model.ErrNoRelight, "use none, gamma or clahe")
	}
	s.relight = relight.Default()
	s.relight.Mode, s.relight.Gate = mode, relight.Gate(l.Relight.Gate)
	s.relight.Dark, s.relight.Bright = l.Relight.Dark, l.Relight.Bright
	s.relight.DarkLux, s.relight.BrightLux = l.Relight.DarkLux, l.Relight.BrightLux
	s.relight.Doubt = time.Duration(l.Relight.Doubt)
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

// relightOr is the mode that was asked for, or the one that a bundle is best with.
func relightOr(mode string, b *model.Bundle) string {
	if mode == "" || mode == modeBundle {
		return b.RelightMode()
	}
	return mode
}

// modeBundle stands for what the bundle says.
const modeBundle = "bundle"

const relightHelp = "none, gamma, clahe, network, or bundle: what the bundle is best with"

var errUnknownWord = errors.New("is not known")

// decideSettings takes from the bundle what the live settings leave to it.
func decideSettings(l settings.Live, b *model.Bundle) decide.Settings {
	d := decide.Settings{
		Mode: decide.Mode(b.Reweight.Mode), Std: b.Reweight.Std, Threshold: l.Threshold,
		Temperature: b.Temperature, Shares: b.ClassShares, AlignCorners: b.AlignCorners,
	}
	if l.Reweight.Mode != modeBundle && l.Reweight.Mode != "" {
		d.Mode = decide.Mode(l.Reweight.Mode)
	}
	if l.Reweight.Std != nil {
		d.Std = *l.Reweight.Std
	}
	return d
}
