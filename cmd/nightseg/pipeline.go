package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"nightseg/camera"
	"nightseg/edge"
	"nightseg/edge/settings"
	"nightseg/model"
)

// pipeline is what runs between cameras and broker. It takes other settings while
// it runs: see Prepare.
type pipeline struct {
	stationParts
	ctx      context.Context                                           // of the loops
	open     func(context.Context, settings.Settings) (*loaded, error) // networks
	parallel func(settings.Settings) int                               // engines of the networks
	meta     func(cameras []cameraMeta, nets *loaded) error            // tells what is in force

	nets sync.Mutex // of who opens and closes networks: a change until it is closed, or shrink

	mu       sync.Mutex // of what follows
	in       arrangement
	stations []*station
}

// loaded are the networks of a bundle in an engine.
type loaded struct {
	bundle *model.Bundle
	engine engine
}

// arrangement is what a pipeline is made of.
type arrangement struct {
	settings settings.Settings
	version  int64 // of the settings, as masks tell it
	nets     *loaded
	small    bool // nets are not those of the settings, but smaller: see shrink
}

// begin makes the stations; start starts them.
func (p *pipeline) begin(a arrangement) error {
	p.in = a
	for _, c := range a.settings.Cameras {
		st, err := newStation(&p.stationParts, c, a.settings, a.nets, a.version)
		if err != nil {
			return usage(fmt.Errorf("camera %s: %w", c.ID, err))
		}
		p.stations = append(p.stations, st)
	}
	return p.describe()
}

func (p *pipeline) start(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ctx = ctx
	for _, st := range p.stations {
		st.start(ctx, p.health)
	}
}

// wait waits until ctx of start is done and all loops have ended.
func (p *pipeline) wait() {
	<-p.ctx.Done()
	for _, st := range p.all() {
		<-st.done
	}
}

// close closes cameras and networks; no change may be under way.
func (p *pipeline) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, st := range p.stations {
		errs = append(errs, st.end())
	}
	p.stations = nil
	if p.in.nets != nil {
		errs = append(errs, p.in.nets.engine.Close())
		p.in.nets = nil
	}
	return errors.Join(errs...)
}

// all returns the stations as they are now.
func (p *pipeline) all() []*station {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.stations)
}

func (p *pipeline) recorders() []*edge.Recorder {
	var all []*edge.Recorder
	for _, st := range p.all() {
		all = append(all, st.lane.loop.Stats())
	}
	return all
}

func (p *pipeline) reported() []reported {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]reported, len(p.stations))
	for i, st := range p.stations {
		all[i] = reported{st.lane, st.outlook, len(p.in.nets.bundle.Classes)}
	}
	return all
}

// describe sends meta.
func (p *pipeline) describe() error {
	in := p.now()
	cameras := make([]cameraMeta, len(in.settings.Cameras))
	for i, c := range in.settings.Cameras {
		cameras[i] = cameraMeta{c.ID, camera.Redact(c.Source)}
	}
	return p.meta(cameras, in.nets)
}

// now returns the arrangement in force.
func (p *pipeline) now() arrangement {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.in
}

// adopt brings an arrangement into force: of the lanes that stay between two
// frames, each. After an error it is as it was. One change comes at a time.
func (p *pipeline) adopt(ctx context.Context, a arrangement) error {
	old := p.now()
	keep, added, gone, err := p.rearrange(a)
	if err != nil {
		return err
	}
	for i, st := range keep {
		if err := p.alter(ctx, st, old, a); err != nil {
			errs := []error{fmt.Errorf("camera %s: %w", st.id, err)}
			for _, done := range keep[:i] {
				errs = append(errs, p.alter(ctx, done, a, old))
			}
			return errors.Join(errs...)
		}
	}
	for _, st := range gone {
		if err := st.end(); err != nil {
			p.health.Log(st.id, err)
		}
		p.health.Forget(st.id)
	}
	for _, st := range added {
		st.start(p.ctx, p.health)
	}
	p.mu.Lock()
	p.stations = order(a.settings.Cameras, append(keep, added...))
	p.in = a
	p.mu.Unlock()
	return p.describe()
}

// rearrange says which stations stay, makes those that are new, and says which
// are to go.
func (p *pipeline) rearrange(a arrangement) (keep, added, gone []*station, err error) {
	now := p.all()
	for _, c := range a.settings.Cameras {
		if i := slices.IndexFunc(now, func(st *station) bool { return st.id == c.ID }); i >= 0 {
			keep = append(keep, now[i])
			continue
		}
		st, err := newStation(&p.stationParts, c, a.settings, a.nets, a.version)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("camera %s: %w", c.ID, err)
		}
		added = append(added, st)
	}
	for _, st := range now {
		if !slices.Contains(keep, st) {
			gone = append(gone, st)
		}
	}
	return keep, added, gone, nil
}

// order puts stations into the order of the settings.
func order(cameras []settings.Camera, stations []*station) []*station {
	at := map[string]int{}
	for i, c := range cameras {
		at[c.ID] = i
	}
	slices.SortFunc(stations, func(a, b *station) int { return cmp.Compare(at[a.id], at[b.id]) })
	return stations
}

// alter changes one station that stays.
func (p *pipeline) alter(ctx context.Context, st *station, from, to arrangement) error {
	c, ok := cameraOf(to.settings, st.id)
	was, _ := cameraOf(from.settings, st.id)
	if !ok {
		return nil // it goes
	}
	change, err := p.changeOf(to, c)
	if err != nil {
		return err
	}
	if err := st.lane.apply(ctx, change); err != nil {
		return err
	}
	st.night.change(c)
	c.Blank, was.Blank = nil, nil
	c.Night, was.Night = settings.Night{}, settings.Night{}
	if reflect.DeepEqual(c, was) && from.nets == to.nets {
		return nil
	}
	return st.camera.change(wanted{c, to.nets.bundle})
}

func (p *pipeline) changeOf(a arrangement, c settings.Camera) (*laneChange, error) {
	s, bad := stagesOf(a.settings.Live(), a.nets.bundle)
	if len(bad) > 0 {
		return nil, settings.Errors(bad)
	}
	nets, err := newNetworks(a.nets.engine, a.nets.bundle)
	if err != nil {
		return nil, err
	}
	encoder, err := newEncoder(a.nets.bundle, p.sender)
	if err != nil {
		return nil, err
	}
	return &laneChange{
		stages: s, regions: regionsOf(c), rate: a.settings.Publish.Rate, version: a.version,
		infer: nets, encoder: encoder,
	}, nil
}

func cameraOf(s settings.Settings, id string) (settings.Camera, bool) {
	for _, c := range s.Cameras {
		if c.ID == id {
			return c, true
		}
	}
	return settings.Camera{}, false
}
