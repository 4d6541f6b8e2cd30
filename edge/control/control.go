// Package control holds what changes the settings of a running service: it takes
// documents, tries them, keeps what has proven itself and goes back from what has
// not, remembers both through restarts, and chooses what to start with.
//
// A document is checked, built beside what runs, swapped in, and watched for the
// time of its probation; only then is it written down as the current one. Nothing
// in here ends the process: what goes wrong is answered, reported and logged.
package control

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"nightseg/edge/disk"
	"nightseg/edge/settings"
)

// Pipeline is what settings steer: the service. A panic in it, or in its steps,
// counts as an error.
type Pipeline interface {
	// Prepare checks what only this machine can tell, and builds, beside what runs,
	// what the settings need and is not there. It changes nothing that runs.
	Prepare(ctx context.Context, d settings.Desired) (Step, []settings.FieldError)
}

// Step is a change that is ready. Its methods are called in this order, each once
// at most, from one goroutine.
type Step interface {
	// Apply swaps between two frames. After an error nothing has changed.
	Apply(ctx context.Context) error
	// Probation waits until what runs now has proven itself; an error says why it
	// has not. Report is figures for the operator, and becomes JSON. At the end of
	// the time that settings give, ctx ends.
	Probation(ctx context.Context) (report any, err error)
	// Undo brings back what ran before.
	Undo(ctx context.Context) error
	// Close releases what is not in use any more: what ran before, or what was built.
	Close() error
}

// Options of a Controller. The callbacks are called one at a time, and must not
// call back.
type Options struct {
	Bases     []settings.Base // of settings.Load, with what the command line puts over them
	FileError string          // why the settings file is not among them
	Dir       string          // folder to remember in: settings below the state folder
	Run       string          // id of this start of the service
	Boot      string          // of the machine; empty: asked of the kernel

	Answer   func(settings.Ack)
	Report   func(settings.Reported)
	Degraded func(reason string) // "": all is well again
	Keep     func() error        // the settings file has proven itself: settings.Keep; may be nil
	Bundle   func() string       // identity of the bundle that runs; may be nil

	Logger *slog.Logger
	Now    func() time.Time
	Open   func(dir string) (disk.FS, error) // disk.OpenLocked
}

// Controller changes settings. Its methods may be called from any goroutine.
type Controller struct {
	o     Options
	inbox inbox

	mu       sync.Mutex
	store    *store
	choices  []candidate // to start with, best first
	chosen   int         // of them
	inForce  inForce     // proven, or what this run began with
	trial    *request    // being tried
	swapped  bool        // the trial runs
	next     *request    // to be tried when the trial has ended
	until    time.Time   // end of the trial at the latest
	since    time.Time   // when what runs came into force
	started  bool        // what this run began with is proven
	figures  json.RawMessage
	rejected *settings.Ack
	reasons  map[string]string // to be degraded, by part
}

// request is a document that was found right.
type request struct {
	settings.Desired
	text []byte
}

// inForce is what runs when no trial does.
type inForce struct {
	settings.Desired         // Version 0: without a document
	source           string  // as in Reported
	record           *record // of the document
}

// Parts of Controller.reasons.
const (
	partStart = "start"
	partDisk  = "disk"
	partUndo  = "undo"
)

// New reads what is remembered and chooses what to start with: see InForce. It
// always returns a controller: where nothing can be remembered, the service runs
// all the same, and says so.
func New(o Options) *Controller {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Open == nil {
		o.Open = disk.OpenLocked
	}
	if o.Boot == "" {
		o.Boot = readBoot()
	}
	if len(o.Bases) == 0 {
		o.Bases = []settings.Base{{Settings: settings.Default(), Source: settings.FromFactory}}
	}
	c := &Controller{o: o, inbox: newInbox(), reasons: map[string]string{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.store = openStore(o.Dir, o.Open)
	c.choices = c.candidates()
	c.choose()
	return c
}

// InForce returns the settings to start with, later those in force; Version is 0
// where no document is.
func (c *Controller) InForce() settings.Desired {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running()
}

func (c *Controller) running() settings.Desired {
	if c.trial != nil && c.swapped {
		return c.trial.Desired
	}
	return c.inForce.Desired
}

// base is what documents go over.
func (c *Controller) base() settings.Settings {
	return c.o.Bases[c.choices[c.chosen].base].Settings
}

// Started says that what this run began with has proven itself: its starts are
// counted no more. Call it when the networks have run for the time of a probation,
// whatever cameras and broker did: what counts is that the process lives.
func (c *Controller) Started(report any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.figures = figures(report)
	c.proven()
	c.flush()
	c.report()
}

// proven notes that the process lives with the settings of its start.
func (c *Controller) proven() {
	if c.started {
		return
	}
	c.started = true
	c.store.setStart(tally{})
	if c.o.Keep == nil || c.o.Bases[c.choices[c.chosen].base].Source != settings.FromFile {
		return
	}
	if err := c.o.Keep(); err != nil {
		c.o.Logger.Warn("settings", "error", err)
	}
}

// figures is a report of the pipeline as JSON; nil where it is none.
func figures(report any) json.RawMessage {
	if report == nil {
		return nil
	}
	b, err := json.Marshal(report)
	if err != nil {
		return nil
	}
	return b
}

// Offer hands over a document from config/desired. It returns at once; of several
// that come faster than Run looks at them, the newest counts.
func (c *Controller) Offer(document []byte) {
	if len(document) > 0 { // an empty one is how a retained document is taken away
		c.inbox.put(slices.Clone(document))
	}
}

// Run handles documents until ctx ends. It may be called once.
func (c *Controller) Run(ctx context.Context, p Pipeline) {
	docs := make(chan []byte)
	var feeder sync.WaitGroup
	feeder.Go(func() { c.inbox.feed(ctx, docs) })
	c.mu.Lock()
	c.report()
	c.mu.Unlock()
	for ctx.Err() == nil {
		select {
		case b := <-docs:
			c.handle(ctx, p, b, docs)
		case <-ctx.Done():
		}
	}
	feeder.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.started { // told to stop is not fallen
		t := c.store.tallies.Start
		t.Count--
		c.store.setStart(t)
		c.flush()
	}
}

// Close lets go of the folder. It may be called twice.
func (c *Controller) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.store.close()
}

// report says what is in force.
func (c *Controller) report() {
	if c.o.Report != nil {
		c.o.Report(c.reported())
	}
}

func (c *Controller) reported() settings.Reported {
	d, base := c.running(), c.base()
	r := settings.Reported{
		Version: d.Version, Source: c.inForce.source, State: settings.StateSteady, Since: c.since, Run: c.o.Run,
		SHA256: d.SHA256, Settings: d.Settings.Redacted(), FileError: c.o.FileError, Rejected: c.rejected,
		Figures: c.figures,
	}
	if c.trial != nil && c.swapped {
		r.State, r.Source = settings.StateTrial, settings.FromDesired
	}
	if base.Hash() != d.SHA256 {
		base = base.Redacted()
		r.File = &base
	}
	return r
}

// flush writes down what is to be remembered, and says whether that worked.
func (c *Controller) flush() {
	reason := ""
	if err := c.store.flush(); err != nil {
		reason = "settings that come over MQTT will not outlive a restart: " + err.Error()
	}
	c.degrade(partDisk, reason)
}

// degrade notes a reason of a part, "" for none.
func (c *Controller) degrade(part, reason string) {
	if c.reasons[part] == reason {
		return
	}
	c.reasons[part] = reason
	if reason == "" {
		delete(c.reasons, part)
	} else {
		c.o.Logger.Warn("settings", "degraded", reason)
	}
	if c.o.Degraded == nil {
		return
	}
	var all []string
	for _, part := range slices.Sorted(maps.Keys(c.reasons)) {
		all = append(all, c.reasons[part])
	}
	c.o.Degraded(strings.Join(all, "; "))
}

func (c *Controller) now() time.Time { return c.o.Now().UTC() }
