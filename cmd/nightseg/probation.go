package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"nightseg/edge"
	"nightseg/edge/settings"
)

// What is asked of a camera on probation, beside what it did before.
const (
	leastRate    = 0.5  // times the masks per second
	mostLatency  = 3.0  // times the 95th percentile from capture to broker
	moreLatency  = 0.2  // ... and seconds, which a fast pipeline may be slower in any case
	mostOneClass = 0.98 // share of the pixels with a class that are of one, where it was below 0.9
	mostUnknown  = 0.95 // share of the pixels without a class, where it was below 0.5
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

// prove waits until every camera has shown, for as long as the settings say, that
// it does as well as before, and returns what it saw. before tells that, and
// whether there is something to compare with.
func (p *pipeline) prove(
	ctx context.Context, want settings.Probation, before func(id string) (edge.Window, bool),
) (map[string]edge.Window, error) {
	start := map[string]*edge.Snapshot{}
	for _, st := range p.all() {
		start[st.id] = new(edge.Snapshot)
		st.lane.loop.Stats().Snapshot(start[st.id])
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	begin := time.Now()
	for {
		seen, waits := p.since(start, want)
		if len(waits) == 0 || time.Since(begin) >= time.Duration(want.Most) {
			return seen, judge(seen, before)
		}
		for id, w := range seen {
			if w.Refused > 2 {
				return seen, fmt.Errorf("camera %s: %d frames refused", id, w.Refused)
			}
		}
		select {
		case <-ctx.Done():
			return seen, ctx.Err()
		case <-tick.C:
		}
	}
}

// since returns what each camera did since its snapshot, and those that are not
// seen for long enough.
func (p *pipeline) since(start map[string]*edge.Snapshot, want settings.Probation) (seen map[string]edge.Window, waits []string) {
	seen = map[string]edge.Window{}
	for _, st := range p.all() {
		var now edge.Snapshot
		st.lane.loop.Stats().Snapshot(&now)
		w := now.Since(start[st.id])
		seen[st.id] = w
		if w.Seconds < want.Seconds || w.Masks < uint64(want.Frames) {
			waits = append(waits, st.id)
		}
	}
	return seen, waits
}

// judge says which cameras do not do as well as before, and in what.
func judge(seen map[string]edge.Window, before func(id string) (edge.Window, bool)) error {
	var errs []error
	for id, w := range seen {
		was, had := before(id)
		for _, why := range worse(w, was, had) {
			errs = append(errs, fmt.Errorf("camera %s: %s", id, why))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// worse says in what a camera is worse than before. One that gave nothing before
// is not compared, but must not refuse frames.
func worse(w, was edge.Window, had bool) (why []string) {
	if w.Refused > 0 && w.Refused > was.Refused {
		why = append(why, fmt.Sprintf("%d frames refused", w.Refused))
	}
	if w.Masks == 0 {
		if had {
			why = append(why, "no masks any more")
		}
		return why
	}
	if !had {
		return why
	}
	if w.FPS < leastRate*was.FPS {
		why = append(why, fmt.Sprintf("%.1f masks per second, were %.1f", w.FPS, was.FPS))
	}
	if w.P95 > mostLatency*was.P95 && w.P95 > was.P95+1000*moreLatency {
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
