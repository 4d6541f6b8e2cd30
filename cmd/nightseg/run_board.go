package main

import (
	"context"
	"sync"
	"time"

	"nightseg/edge/frame"
	"nightseg/edge/settings"
)

// partDescription is a description of the board that is no good.
const partDescription = "board description"

// openBoard makes the board that the settings name. Where its description is no good, the
// service goes on without it, and says so.
func (s *service) openBoard(stop func()) (err error) {
	s.settle(s.settings)
	s.board, err = newBoard(s.settings.Board, s.flags.root, boardParts{
		around: &s.around, health: s.health, run: s.run, event: s.link.event, report: s.reported.shed(s.link), stop: stop,
	})
	if err != nil && s.flags.strict {
		return err
	}
	if err != nil {
		s.health.Set(partDescription, err.Error())
	}
	return nil
}

// settle tells the board what settings say.
func (s *service) settle(c settings.Settings) {
	s.around.dark.Store(&c.Relight)
	s.board.change(c.Board)
}

// hottest bounds how long it may be too hot to start: no manager that waits is to end it.
const hottest = 24 * time.Hour

// awaitCool waits until it is cool enough to begin, and reports whether ctx lasted.
func (s *service) awaitCool(ctx context.Context) bool {
	if s.board == nil {
		return true
	}
	defer s.manager.Starting("the board is looked at, or too hot", hottest)()
	return s.board.awaitCool(ctx)
}

// reportedNow is what was last told of settings, and of what is shed of them.
type reportedNow struct {
	mu   sync.Mutex
	last settings.Reported
	told bool
	work *settings.Shed
}

// report tells what settings are in force, and what is shed of them.
func (s *service) report(r settings.Reported) {
	n := &s.reported
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last, n.told = r, true
	n.send(s.link)
}

func (n *reportedNow) send(l *link) {
	r := n.last
	r.Shed = n.work
	l.report(r)
}

// shed tells that other work is shed.
func (n *reportedNow) shed(l *link) func(*settings.Shed) {
	return func(work *settings.Shed) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.work = work
		if n.told {
			n.send(l)
		}
	}
}

// event sends what happened; without a broker there is nobody to hear it.
func (l *link) event(m *frame.Meta, json []byte) bool {
	return l.client == nil || l.client.Event(m, json)
}
