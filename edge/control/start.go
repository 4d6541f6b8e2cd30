package control

import (
	"fmt"
	"os"
	"strings"

	"nightseg/edge/settings"
)

// How many starts in a row may end before settings have proven themselves, and how
// often the process may end while a document is on trial.
const (
	maxFalls = 3  // while the machine stays up
	maxCuts  = 10 // in all: where it does not, the power may be to blame, or a driver that takes it down
)

// bootFile names the boot of the machine.
const bootFile = "/proc/sys/kernel/random/boot_id"

// readBoot returns a name of this boot; where there is none, all are one.
func readBoot() string {
	b, err := os.ReadFile(bootFile)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// candidate is settings to start with.
type candidate struct {
	inForce
	base int // of Options.Bases: what documents go over from then on
}

// String names the candidate for people.
func (k *candidate) String() string {
	switch {
	case k.Version > 0:
		return fmt.Sprintf("version %d", k.Version)
	case k.source == settings.FromFile:
		return "the settings file"
	}
	return "the settings of " + k.source
}

// candidates lists what can be started with, best first: the current document,
// the one before it, the settings file alone, and what stands in for that.
func (c *Controller) candidates() (list []candidate) {
	for _, d := range []struct {
		source string
		*record
	}{{settings.FromDesired, c.store.current}, {settings.FromPrevious, c.store.previous}} {
		if d.record == nil {
			continue
		}
		desired, errs := settings.ParseDesired([]byte(d.Document), c.o.Bases[0].Settings)
		if len(errs) > 0 { // right when it was written: the file has changed, or we have
			c.store.note(fmt.Sprintf("version %d does not fit any more: %v", d.Version, settings.Errors(errs)))
			continue
		}
		list = append(list, candidate{inForce: inForce{desired, d.source, d.record}})
	}
	for i, b := range c.o.Bases {
		desired := settings.Desired{Settings: b.Settings, SHA256: b.Settings.Hash()}
		list = append(list, candidate{inForce: inForce{Desired: desired, source: b.Source}, base: i})
	}
	return list
}

// choose takes the first candidate from the chosen one on that may be started with.
func (c *Controller) choose() {
	start := c.store.tallies.Start
	if last := &c.choices[len(c.choices)-1]; start.fallen(last.Desired, c.o.Boot) {
		// Nothing works, so it is not the settings: once it is put right, the best are to be in force.
		c.store.forgive()
		c.store.note(fmt.Sprintf("%d starts with %v ended early too: all settings are tried again", start.total(), last))
		start = tally{}
	}
	for ; c.chosen < len(c.choices)-1; c.chosen++ {
		k := &c.choices[c.chosen]
		if start.fallen(k.Desired, c.o.Boot) {
			reason := fmt.Sprintf("%d starts in a row ended before it had proven itself", start.total())
			c.store.refuse(k.Desired, refusal{Start: true, Reason: reason, Time: c.now()})
		}
		r := c.store.refusal(k.Desired)
		if r == nil {
			break
		}
		c.store.note(fmt.Sprintf("%v is set aside: %s", k, r.Reason))
	}
	c.begin()
}

// begin puts the chosen candidate into force. It counts the start, on disk, before
// anything is done with it.
func (c *Controller) begin() {
	k := &c.choices[c.chosen]
	c.store.setStart(c.store.tallies.Start.raised(k.Desired, c.o.Boot))
	c.inForce, c.since = k.inForce, c.now()
	c.flush()
	if notes := c.store.notes; len(notes) > 0 {
		c.degrade(partStart, fmt.Sprintf("%s; running %v", strings.Join(notes, "; "), k))
	}
	c.o.Logger.Info("settings to start with", "source", k.source, "version", k.Version, "sha256", short(k.SHA256))
}

// Fallback is for a service that cannot be built with what InForce gave, while
// nothing runs: it returns what to try next, for this run only. The last resort,
// the factory settings, comes again and again.
func (c *Controller) Fallback(reason string) settings.Desired {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.chosen < len(c.choices)-1 {
		c.store.note(fmt.Sprintf("%v: %s", &c.choices[c.chosen], reason))
		c.chosen++
		c.choose()
	}
	return c.inForce.Desired
}
