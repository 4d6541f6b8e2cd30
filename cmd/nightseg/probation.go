package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"nightseg/edge"
	"nightseg/edge/settings"
)

// What is asked of a camera on probation, beside what it did before.
const (
	leastRate    = 0.5  // times the masks per second
	mostLatency  = 3.0  // times the 95th percentile from capture to broker
	moreLatency  = 200  // ... and milliseconds, which a fast pipeline may be slower in any case
	mostOneClass = 0.98 // share of the pixels with a class that are of one, where it was below 0.9
	mostUnknown  = 0.95 // share of the pixels without a class, where it was below 0.5
	mostRefused  = 2    // frames that a stage did not take, before the end is not waited for
)

// recent is how long before a change is looked at.
const recent = 10 * time.Second

// watchPast keeps snapshots of all cameras of the last seconds until ctx is done.
func (p *pipeline) watchPast(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, st := range p.all() {
			st.remember()
			st.doubt(p.health)
		}
	}
}

// remember takes a snapshot, and forgets those that are too old.
func (st *station) remember() {
	s := new(edge.Snapshot)
	st.lane.loop.Stats().Snapshot(s)
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.past) > int(recent/time.Second) {
		st.past = slices.Delete(st.past, 0, 1)
	}
	st.past = append(st.past, s)
}

// doubt tells where the light and the picture contradict each other.
func (st *station) doubt(h *edge.Health) {
	part := "camera " + st.id + " light"
	h.Note(part, st.lane.relight.Doubt())
}

// lately is what the station did in the last seconds.
func (st *station) lately() edge.Window {
	var now, then edge.Snapshot
	st.lane.loop.Stats().Snapshot(&now)
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.past) > 0 {
		then = *st.past[0]
	}
	return now.Since(&then)
}

func (p *pipeline) lately() map[string]edge.Window {
	all := map[string]edge.Window{}
	for _, st := range p.all() {
		all[st.id] = st.lately()
	}
	return all
}

// expectation is what is asked of a camera on probation.
type expectation struct {
	was    edge.Window // before, where it had masks
	needed bool        // it must give masks
}

// prove waits until every camera that must give masks has done so for as long as
// the settings say, and returns what it saw of all. Where ctx ends before, it is an
// error.
func (p *pipeline) prove(
	ctx context.Context, want settings.Probation, of map[string]expectation,
) (map[string]edge.Window, error) {
	start := map[string]*edge.Snapshot{}
	for _, st := range p.all() {
		start[st.id] = new(edge.Snapshot)
		st.lane.loop.Stats().Snapshot(start[st.id])
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		seen, waits := p.since(start, want, of)
		if len(waits) == 0 {
			return seen, judge(seen, of)
		}
		for _, w := range seen {
			if w.Refused > mostRefused {
				return seen, judge(seen, of)
			}
		}
		select {
		case <-ctx.Done():
			if err := judge(seen, of); err != nil {
				return seen, err
			}
			return seen, p.missing(waits, seen, want)
		case <-tick.C:
		}
	}
}

// since returns what each camera did since its snapshot, and those that are not
// seen for long enough.
func (p *pipeline) since(
	start map[string]*edge.Snapshot, want settings.Probation, of map[string]expectation,
) (seen map[string]edge.Window, waits []string) {
	seen = map[string]edge.Window{}
	for _, st := range p.all() {
		var now edge.Snapshot
		st.lane.loop.Stats().Snapshot(&now)
		w := now.Since(start[st.id])
		seen[st.id] = w
		if w.Seconds < float64(want.Seconds) || of[st.id].needed && w.Masks < uint64(want.Frames) {
			waits = append(waits, st.id)
		}
	}
	return seen, waits
}

// missing says which cameras have not given enough masks, and what is known of why.
func (p *pipeline) missing(ids []string, seen map[string]edge.Window, want settings.Probation) error {
	var all []string
	for _, id := range ids {
		text := fmt.Sprintf("camera %s: %d of %d masks", id, seen[id].Masks, want.Frames)
		if why := p.health.Of(id); why != "" {
			text += " (" + why + ")"
		}
		all = append(all, text)
	}
	return errors.New(strings.Join(all, "; "))
}

// judge says which cameras do not do as well as before, and in what.
func judge(seen map[string]edge.Window, of map[string]expectation) error {
	var all []string
	for _, id := range slices.Sorted(maps.Keys(seen)) {
		for _, why := range worse(seen[id], of[id].was) {
			all = append(all, "camera "+id+": "+why)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return errors.New(strings.Join(all, "; "))
}

// worse says in what a camera is worse than before. One that gave nothing before
// is not compared, but must not refuse frames.
func worse(w, was edge.Window) (why []string) {
	if w.Refused > 0 && w.Refused > was.Refused {
		why = append(why, fmt.Sprintf("%d frames refused", w.Refused))
	}
	if was.Masks == 0 {
		return why
	}
	if w.Masks == 0 {
		return append(why, "no masks any more")
	}
	if w.FPS < leastRate*was.FPS {
		why = append(why, fmt.Sprintf("%.1f masks per second, were %.1f", w.FPS, was.FPS))
	}
	if w.P95 > mostLatency*was.P95 && w.P95 > was.P95+moreLatency {
		why = append(why, fmt.Sprintf("%.0f ms from capture to broker, were %.0f", w.P95, was.P95))
	}
	if w.Largest > mostOneClass && was.Largest < 0.9 {
		why = append(why, fmt.Sprintf("one class in %.1f %% of the pixels, were %.1f", 100*w.Largest, 100*was.Largest))
	}
	if w.Unknown > mostUnknown && was.Unknown < 0.5 {
		why = append(why, fmt.Sprintf("no class in %.1f %% of the pixels, were %.1f", 100*w.Unknown, 100*was.Unknown))
	}
	return why
}
