package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"nightseg/edge/settings"
)

// handle looks at a document and, where it is right and new, tries it. Documents
// that come meanwhile are looked at, too: one that is right and newer ends the
// trial, and is tried next.
func (c *Controller) handle(ctx context.Context, p Pipeline, b []byte, docs <-chan []byte) {
	for q := c.examine(b); q != nil && ctx.Err() == nil; {
		q = c.attempt(ctx, p, q, docs)
	}
}

// examine answers a document that needs no trial, and returns one that does.
func (c *Controller) examine(b []byte) *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, errs := settings.ParseDesired(b, c.base())
	a := settings.Ack{Version: d.Version, ID: d.ID}
	reject := func(errs []settings.FieldError, reason string) {
		a.Result, a.Errors, a.Reason = settings.ResultRejected, errs, reason
		c.answer(a, c.inForce.SHA256, d.SHA256)
	}
	if len(errs) > 0 {
		reject(errs, "")
		return nil
	}
	latest := c.inForce.Desired
	if c.trial != nil {
		latest = c.trial.Desired
	}
	if c.next != nil {
		latest = c.next.Desired
	}
	switch verdict, errs := d.Decide(latest); {
	case verdict == settings.Refuse:
		reject(errs, "")
		return nil
	case verdict == settings.Unchanged && c.next == nil && (c.trial == nil || c.swapped):
		a.Result = settings.ResultUnchanged
		if c.trial != nil {
			until := c.until
			a.Result, a.Until = settings.ResultTrial, &until
		}
		c.answer(a, c.inForce.SHA256, d.SHA256)
		return nil
	case verdict == settings.Unchanged:
		return nil // it will be answered when it is built
	}
	if t := c.store.tallies.Trial; t.fallen(d, c.o.Boot) {
		c.store.refuse(d, refusal{
			Reason: fmt.Sprintf("the service ended %d times while it was on trial", t.total()), Time: c.now(),
		})
		c.flush()
	}
	if r := c.store.refusal(d); r != nil {
		reject([]settings.FieldError{{
			Path: "version", Pointer: "/version", Value: fmt.Sprint(d.Version),
			Problem: "set aside on " + r.Time.Format(time.RFC3339), Remedy: "to try it again, raise it",
		}}, r.Reason)
		return nil
	}
	return &request{d, b}
}

// attempt tries a document, and returns one that has overtaken it.
func (c *Controller) attempt(ctx context.Context, p Pipeline, q *request, docs <-chan []byte) *request {
	limit := c.enter(q)
	trial, end := context.WithCancelCause(ctx)
	defer end(nil)
	swapped, done := make(chan struct{}, 1), make(chan outcome, 1)
	go func() { done <- try(trial, ctx, p, q.Desired, limit, swapped) }()
	for {
		select {
		case <-swapped:
			c.enteredTrial(q, limit)
		case b := <-docs:
			if n := c.examine(b); n != nil {
				c.overtake(n)
				end(fmt.Errorf("%w by version %d before it had proven itself", errSuperseded, n.Version))
			}
		case o := <-done:
			select {
			case <-swapped:
				c.enteredTrial(q, limit)
			default:
			}
			return c.leave(q, o)
		}
	}
}

// enter counts a trial, on disk, before anything is done with the document: what
// ends the process is not tried for ever. It returns how long its probation may
// take, 0 where there is nothing to prove.
func (c *Controller) enter(q *request) (limit time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trial, c.swapped, c.next = q, false, nil
	c.store.setTrial(c.store.tallies.Trial.raised(q.Desired, c.o.Boot))
	c.flush()
	changed := settings.Changes(c.inForce.Settings, q.Settings)
	if changed.Tried() {
		limit = time.Duration(q.Settings.Probation.Most)
	}
	if changed.Broker {
		limit += time.Duration(q.Settings.Broker.Trial)
	}
	return limit
}

// enteredTrial tells that the new settings run.
func (c *Controller) enteredTrial(q *request, limit time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.swapped, c.since = true, c.now()
	c.until = c.since.Add(limit)
	until := c.until
	a := settings.Ack{Version: q.Version, ID: q.ID, Result: settings.ResultTrial, Until: &until}
	c.answer(a, c.inForce.SHA256, q.SHA256)
}

// overtake puts a newer document next in line.
func (c *Controller) overtake(n *request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.next
	c.next = n
	if old == nil {
		return
	}
	reason := fmt.Sprintf("%v by version %d before it was tried", errSuperseded, n.Version)
	a := settings.Ack{Version: old.Version, ID: old.ID, Result: settings.ResultRejected, Reason: reason}
	c.answer(a, c.inForce.SHA256, old.SHA256)
}

// leave ends a trial: it writes down what was decided, and then tells it.
func (c *Controller) leave(q *request, o outcome) (next *request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next, c.next, c.trial = c.next, nil, nil
	old := c.inForce.SHA256
	a := settings.Ack{Version: q.Version, ID: q.ID, Errors: o.errs}
	switch {
	case o.err == nil && len(o.errs) == 0:
		a.Result = settings.ResultApplied
		c.accept(q, o.report)
	case o.swapped:
		a.Result, c.since = settings.ResultRolledBack, c.now()
	default:
		a.Result = settings.ResultRejected
	}
	c.swapped = false
	if o.err != nil {
		a.Reason, _, _ = strings.Cut(o.err.Error(), "\n")
		c.o.Logger.Debug("settings", "version", q.Version, "error", o.err) // with the stack of a panic
		early := errors.Is(o.err, errSuperseded) || errors.Is(o.err, errStopped)
		if !early && (o.swapped || errors.Is(o.err, errPanic)) {
			c.store.refuse(q.Desired, refusal{Reason: a.Reason, Time: c.now()})
		}
	}
	if o.undoErr != nil {
		text, _, _ := strings.Cut(o.undoErr.Error(), "\n")
		text = "what ran before version " + fmt.Sprint(q.Version) + " could not be brought back: " + text
		a.Reason += "; " + text
		c.degrade(partUndo, text+"; restart the service")
	}
	if o.closeErr != nil {
		c.o.Logger.Warn("settings", "version", q.Version, "error", o.closeErr)
	}
	c.store.setTrial(tally{})
	c.flush()
	if a.Result == settings.ResultApplied {
		a.Warning = c.reasons[partDisk]
	}
	c.answer(a, old, q.SHA256)
	return next
}

// accept makes a document the one in force.
func (c *Controller) accept(q *request, report any) {
	r := &record{Version: q.Version, SHA256: q.SHA256, Since: c.now(), Document: string(q.text)}
	if c.o.Bundle != nil {
		r.Bundle = c.o.Bundle()
	}
	c.store.keep(r, c.inForce.record)
	c.inForce = inForce{q.Desired, settings.FromDesired, r}
	if !c.swapped { // there was nothing to prove
		c.since = c.now()
	}
	if report != nil {
		c.figures = figures(report)
	}
	c.rejected = nil
	c.proven()
	c.degrade(partStart, "")
	c.degrade(partUndo, "")
}

// maxErrors is how many errors an answer has: a document can have thousands.
const maxErrors = 50

// answer tells and logs a decision, and what is in force after it.
func (c *Controller) answer(a settings.Ack, from, to string) {
	a.Run, a.Time, a.InForce = c.o.Run, c.now(), c.running().Version
	level := slog.LevelInfo
	if a.Result == settings.ResultRejected || a.Result == settings.ResultRolledBack {
		level = slog.LevelWarn
		c.rejected = &a
	}
	reason := a.Reason
	if n := len(a.Errors); n > 0 {
		reason = strings.TrimPrefix(fmt.Sprintf("%s; %d errors, the first: %v", reason, n, a.Errors[0]), "; ")
	}
	if n := len(a.Errors); n > maxErrors {
		a.Errors = a.Errors[:maxErrors]
		a.Reason = fmt.Sprintf("%d errors: the first %d are given", n, maxErrors)
	}
	c.o.Logger.Log(context.Background(), level, "settings", "result", a.Result, "version", a.Version, "id", a.ID,
		"in_force", a.InForce, "old", short(from), "new", short(to), "reason", reason, "warning", a.Warning)
	if c.o.Answer != nil {
		c.o.Answer(a)
	}
	c.report()
}
