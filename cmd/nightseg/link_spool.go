package main

import (
	"context"
	"path/filepath"
	"time"

	"nightseg/edge"
	"nightseg/edge/mqtt"
	"nightseg/edge/outbox"
	"nightseg/edge/settings"
	"nightseg/edge/spool"
)

// Parts of the link that can be a reason to be degraded.
const (
	partMasks = "masks connection"
	partSpool = "kept masks"
)

// spoolOptions are what the settings say about masks that the broker cannot take.
// A broker in this process is never away.
func spoolOptions(s *settings.Settings, stateDir string) outbox.Options {
	c := s.Spool
	if !c.Enabled || s.Broker.URL == brokerEmbedded || s.Broker.URL == brokerNone {
		return outbox.Options{}
	}
	dir := c.Dir
	if dir == "" {
		dir = filepath.Join(stateDir, "spool")
	}
	return outbox.Options{
		Dir: dir, MaxBytes: int64(c.Size) * megabyte, MaxAge: time.Duration(c.Age), Rate: c.Rate * 1000,
		ReducedEvery: time.Duration(c.ReducedEvery),
	}
}

// openBox opens the outbox where there is to be one.
func (l *link) openBox(o *linkOptions) (mqtt.Outbox, error) {
	if o.spool.Dir == "" {
		return nil, nil
	}
	o.spool.Logger = o.logger
	box, err := outbox.New(o.spool)
	if err != nil {
		return nil, err
	}
	l.box = box
	ctx, end := context.WithCancel(context.Background())
	l.end = end
	l.keeper.Go(func() {
		if err := box.Run(ctx); err != nil {
			o.logger.Error("spool", "error", err)
		}
	})
	return box, nil
}

const (
	watchEvery = time.Second
	// masksGrace is how long masks may be without a connection while there is one for
	// the status: after a restart of the broker one of the two is first.
	masksGrace = 2 * time.Second
)

// watch tells the health, until the link is closed, when masks cannot be sent, or
// not be kept.
func (l *link) watch(h *edge.Health) {
	if l.client == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	stop := l.stop
	l.stop = func() { cancel(); stop() }
	l.wg.Go(func() {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		var since time.Time // when the masks' connection was first seen missing
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				since = l.look(h, now, since)
			}
		}
	})
}

func (l *link) look(h *edge.Health, now, since time.Time) time.Time {
	if l.box != nil {
		h.Note(partSpool, l.box.Degraded())
	}
	s := l.client.MasksState()
	switch {
	case s.Connected:
		h.Clear(partMasks)
		return time.Time{}
	case since.IsZero() || !l.client.State().Connected: // without a connection nobody can be told
		return now
	case now.Sub(since) >= masksGrace:
		reason := "no connection yet"
		if s.Err != nil {
			reason = s.Err.Error()
		}
		h.Set(partMasks, reason)
	}
	return since
}

// spoolDocument is the part of health that tells of kept masks, of all cameras.
type spoolDocument struct {
	Waiting   map[string]uint64 `json:"waiting"` // by class
	Bytes     int64             `json:"bytes"`   // on the disk
	OldestS   float64           `json:"oldest_s"`
	Kept      uint64            `json:"kept"`
	Delivered uint64            `json:"delivered"`
	Drops     map[string]uint64 `json:"drops"` // by reason
	Lost      uint64            `json:"lost"`  // were on the disk and are not any more
	Written   uint64            `json:"written_bytes"`
	Syncs     uint64            `json:"syncs"`
	Degraded  string            `json:"degraded,omitempty"`
}

// spool returns the figures of the outbox, nil where there is none.
func (l *link) spool() *spoolDocument {
	if l.box == nil {
		return nil
	}
	st := l.box.Stats()
	d := &spoolDocument{
		Waiting: map[string]uint64{}, Bytes: st.Bytes, OldestS: st.Oldest.Seconds(), Drops: map[string]uint64{},
		Lost: st.Lost, Written: st.Written, Syncs: st.Syncs, Degraded: st.Degraded,
	}
	for c := range spool.Classes {
		d.Waiting[c.String()] = st.Records[c]
		d.Kept += st.Appended[c]
		d.Delivered += st.Confirmed[c]
	}
	for r := range spool.Reasons {
		d.Drops[r.String()] = st.DroppedBy(r)
	}
	return d
}
