package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"nightseg/edge/disk"
	"nightseg/edge/mqtt"
	"nightseg/edge/settings"
	"nightseg/firmware/update"
)

// updates is the service's part in updates: it takes commands, tells how they do, and
// says of the program that runs, and of bundles that settings name, whether they are good.
type updates struct {
	s        *service
	commands chan []byte
	flags    updateFlags
	program  string // id of the update that this program is of, "" of none
	machine  *update.Machine

	mu      sync.Mutex
	trial   bool   // settings are on trial
	version int64  // of them
	bundle  string // that they name
}

func newUpdates(s *service) *updates {
	return &updates{
		s: s, commands: make(chan []byte, 8), program: os.Getenv(envUpdate),
		flags: updateFlags{
			state: s.stateDir, slots: launchSlots(), keys: cmp.Or(os.Getenv("NIGHTSEG_UPDATE_KEYS"), update.KeysDir),
			folder: os.Getenv(envFolder),
		},
	}
}

// command takes what comes on cmd/update.
func (u *updates) command(c mqtt.Command) {
	if c.Name != "update" {
		return
	}
	select {
	case u.commands <- c.Payload:
	default: // they come faster than a disk can note them: whoever waits for a result asks again
	}
}

// run works until ctx ends. It begins when networks and cameras run.
func (u *updates) run(ctx context.Context) {
	o := u.flags.options()
	o.Target, o.Program, o.Logger = targetOf(u.s.settings), u.program, slog.Default()
	o.InUse = func() update.Use {
		u.mu.Lock()
		defer u.mu.Unlock()
		now := u.s.pipeline.now()
		return update.Use{
			Setting: now.settings.Bundle, Name: now.nets.bundle.Name, Version: now.nets.bundle.Version,
			Trial: u.trial,
		}
	}
	o.Tell = func(j update.Job) {
		if c := u.s.link.client; c != nil && !c.Result("update", j.JSON()) {
			slog.Warn("cmd/update/result: the broker does not take answers", "id", j.ID)
		}
	}
	if base := os.Getenv(envBase); base != "" { // the launcher started this, and will again
		o.Base = base
		o.Restart = func() {
			slog.Info("the service ends, to be started with another program")
			u.s.stop()
		}
	}
	u.mu.Lock()
	u.machine = update.New(o)
	u.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { u.machine.Run(ctx) })
	wg.Go(func() { u.prove(ctx) })
	if d := u.s.control.InForce(); d.Version > 0 {
		u.machine.Kept(d.Settings.Bundle)
	}
	for ctx.Err() == nil {
		select {
		case c := <-u.commands:
			u.machine.Offer(c)
		case <-ctx.Done():
		}
	}
	wg.Wait()
}

// prove marks the program that runs as good when it has sent masks and met its broker:
// one that cannot be reached could not be put right. Where it is told to stop before,
// the start is not counted.
func (u *updates) prove(ctx context.Context) {
	if u.program == "" {
		return
	}
	note := func(what string, do func(disk.FS, string) error) {
		d, err := disk.Open(u.flags.updates())
		if err == nil {
			err = errors.Join(do(d, u.program), d.Close())
		}
		if err != nil {
			slog.Error("update", "note", what, "error", err)
		}
	}
	want := u.s.settings.Probation
	masks, met := map[string]uint64{}, u.s.link.client == nil
	for {
		seen, _ := u.s.pipeline.prove(ctx, want, nil) // refused frames are seen in what is missing
		if ctx.Err() != nil {
			note("stopped", update.GiveBack)
			return
		}
		enough := false
		for id, w := range seen {
			masks[id] += w.Masks
			enough = enough || masks[id] >= uint64(want.Frames)
		}
		met = met || u.s.link.client.State().Connected
		if enough && met {
			note("good", update.MarkGood)
			return
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// tried notes which bundle settings name that are about to be tried.
func (u *updates) tried(d settings.Desired) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.trial, u.version, u.bundle = true, d.Version, d.Settings.Bundle
	if u.machine != nil {
		u.machine.Tried(u.bundle)
	}
}

// answered looks what became of settings on trial. Others may be answered meanwhile.
func (u *updates) answered(a settings.Ack) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if a.Version != u.version || a.Result == settings.ResultTrial || a.Result == settings.ResultUnchanged {
		return
	}
	u.trial = false
	switch {
	case u.machine == nil:
	case a.Result == settings.ResultApplied:
		u.machine.Kept(u.bundle)
	default:
		why := a.Reason
		if why == "" && len(a.Errors) > 0 {
			why = a.Errors[0].Error()
		}
		u.machine.TakenBack(u.bundle, why)
	}
}
