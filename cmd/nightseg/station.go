package main

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"nightseg/camera"
	"nightseg/edge"
	"nightseg/edge/alive"
	"nightseg/edge/decide"
	"nightseg/edge/settings"
)

// station is a camera of the running service with its lane.
type station struct {
	id      string
	camera  *liveCamera
	lane    *lane
	witness *witness
	outlook *outlook
	night   *nightControl
	stop    context.CancelFunc
	done    chan struct{} // closed when the loop has ended

	mu   sync.Mutex
	past []*edge.Snapshot // of the last seconds
}

// stationParts are what all stations of a service have in common.
type stationParts struct {
	sender   sender
	outlet   func(rate float64) edge.Publisher
	health   *edge.Health
	alive    *alive.Group
	degraded *atomic.Bool
	around   *surroundings
}

// newStation makes the station of a camera; start starts it.
func newStation(
	p *stationParts, c settings.Camera, s settings.Settings, nets *loaded, version int64,
) (*station, error) {
	open := func(ctx context.Context, w wanted) (opened, error) {
		return openCamera(ctx, w.Camera, w.bundle, playLive)
	}
	st := &station{
		id: c.ID, witness: newWitness(), done: make(chan struct{}),
		camera: newLiveCamera(wanted{c, nets.bundle}, open, camera.NewWatcher(), p.health),
	}
	st.night = newNightControl(c, p.health)
	st.outlook = &outlook{Source: st.camera, inner: st.camera, around: p.around, night: st.night}
	infer, err := newNetworks(nets.engine, nets.bundle)
	if err != nil {
		return nil, err
	}
	st.lane, err = newLane(laneParts{
		camera: c.ID, source: st.outlook, degraded: p.degraded, engine: infer, tap: st.witness,
		publish: p.outlet(s.Publish.Rate), sender: p.sender,
		Options: edge.Options{Policy: edge.Live, Health: p.health, Alive: p.alive},
	}, s.Live(), nets.bundle)
	if err != nil {
		return nil, err
	}
	st.lane.relight.Spare(&p.around.gamma)
	st.lane.blank.regions = decide.NewBlank(regionsOf(c))
	st.lane.env.version.Store(version)
	return st, nil
}

// start runs the loop until ctx is done, or end is called.
func (st *station) start(ctx context.Context, h *edge.Health) {
	ctx, st.stop = context.WithCancel(ctx)
	go func() {
		defer close(st.done)
		var night sync.WaitGroup
		night.Go(func() { st.night.run(ctx) })
		defer night.Wait()
		if err := st.lane.loop.Run(ctx); err != nil {
			h.Set(st.id, err.Error())
			slog.Error("loop ended", "camera", st.id, "error", err)
		}
	}()
}

// end stops the loop, waits for its last mask, and closes the camera.
func (st *station) end() error {
	if st.stop != nil {
		st.stop()
		<-st.done
	}
	return st.camera.Close()
}

// regionsOf are the regions of a camera that are to be blank.
func regionsOf(c settings.Camera) []decide.Region {
	regions := make([]decide.Region, len(c.Blank))
	for i, r := range c.Blank {
		regions[i] = decide.Region{X0: r.X0, Y0: r.Y0, X1: r.X1, Y1: r.Y1}
	}
	return regions
}
