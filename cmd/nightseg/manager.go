package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"nightseg/edge"
	"nightseg/edge/alive"
	"nightseg/edge/frame"
)

// mostStart bounds how long networks may be loaded before the service manager tries
// again: TensorRT takes many minutes to compile them on a small board.
const mostStart = 30 * time.Minute

// findManager looks for the service manager that started this program.
func (s *service) findManager() {
	m, err := alive.FromEnvironment()
	if err != nil {
		slog.Error("there is no watchdog", "error", err)
	}
	if s.manager = m; m != nil {
		s.alive = new(alive.Group)
	}
}

// keepAlive tells the service manager that the service is ready, and from then on
// how it is, until ctx is done or the returned function is called.
func (s *service) keepAlive(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	p := newPulse(s.health, s.link, s.pipeline.recorders)
	wg.Go(func() { s.manager.Run(ctx, s.alive, p.text) })
	return func() {
		cancel()
		wg.Wait()
	}
}

// pulse says in a line how a service is.
type pulse struct {
	health  *edge.Health
	link    *link
	cameras func() []*edge.Recorder // now
	masks   uint64                  // at the last line
	at      time.Duration
}

func newPulse(h *edge.Health, l *link, cameras func() []*edge.Recorder) *pulse {
	p := &pulse{health: h, link: l, cameras: cameras, at: frame.Mono()}
	p.masks, _ = p.count()
	return p
}

func (p *pulse) count() (masks uint64, cameras int) {
	all := p.cameras()
	for _, r := range all {
		masks += r.Masks()
	}
	return masks, len(all)
}

// text returns the line: masks a second since the last one, and what is wrong.
func (p *pulse) text() string {
	n, cameras := p.count()
	now, rate := frame.Mono(), 0.0
	if now > p.at && n > p.masks { // a camera that was taken away takes its masks along
		rate = float64(n-p.masks) / (now - p.at).Seconds()
	}
	p.masks, p.at = n, now
	text := fmt.Sprintf("%.1f masks/s", rate)
	if cameras > 1 {
		text += fmt.Sprintf(" of %d cameras", cameras)
	}
	_, reason := p.health.State()
	if away := p.link.away(); away != "" { // which no status message can tell
		reason = strings.TrimSuffix(away+"; "+reason, "; ")
	}
	if reason != "" {
		return "degraded: " + reason + " (" + text + ")"
	}
	return "running: " + text
}
