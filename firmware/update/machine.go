package update

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"nightseg/edge/disk"
)

// Options say what a Machine works with.
type Options struct {
	Open     func() (disk.Tree, error)         // the service's folder of updates, locked
	Bundles  func() (disk.Tree, error)         // the slots of bundles
	Programs func(name string) ([]byte, error) // files of the folder of the slots of programs
	Keys     func() (Keys, error)
	Target   Target
	Base     string // version of the system's own program
	Program  string // id of the update that this program is of; "": of none
	// InUse says which bundle is in use. Without it, as outside of the service, bundles are
	// left for who knows.
	InUse   func() Use
	Tell    func(Job) // the job has changed
	Restart func()    // another program waits to be started in place of this one
	HTTP    *http.Client
	Logger  *slog.Logger
	Now     func() time.Time
	Limits
}

// Use is a bundle in use.
type Use struct {
	Setting       string // what settings call it
	Name, Version string
	Trial         bool // of other settings is under way: both slots may be needed
}

// Limits bound what is fetched; 0 stands for the value given with each.
type Limits struct {
	MaxBytes int64         // 4 GiB
	Stall    time.Duration // 30 s: a connection on which nothing comes is given up
	Pause    time.Duration // 1 s before the second try, then twice as long each time, up to 64 times
	Tries    int           // 20 in a row without a byte
	Poll     time.Duration // 2 s between looks at what others do
}

func (l *Limits) setDefaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&l.Stall, 30*time.Second)
	def(&l.Pause, time.Second)
	def(&l.Poll, 2*time.Second)
	if l.MaxBytes == 0 {
		l.MaxBytes = maxPayload
	}
	if l.Tries == 0 {
		l.Tries = 20
	}
}

// Machine brings updates to the device, one at a time.
type Machine struct {
	o      Options
	offers chan Command
	events chan event

	mu     sync.Mutex
	known  map[string]bool         // ids of commands
	cancel context.CancelCauseFunc // ends a fetch; nil: none

	restarting bool
	fault      string // that was logged last
}

// event is what settings have done to a bundle.
type event struct {
	bundle string
	state  State
	why    string
}

var errSuperseded = &Refusal{Superseded, errors.New("another update was asked for")}

// New makes a machine. What it finds on disk it goes on with in Run.
func New(o Options) *Machine {
	o.setDefaults()
	return &Machine{o: o, offers: make(chan Command, 8), events: make(chan event, 8), known: map[string]bool{}}
}

// Offer takes a command, as it came, and returns at once. A repeated one does nothing.
func (m *Machine) Offer(text []byte) {
	c, err := ParseCommand(text)
	if err != nil {
		m.o.Tell(Job{ID: c.ID, State: Failed, Reason: reasonOf(err), Error: err.Error(), Time: m.now()})
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known[c.ID] {
		return
	}
	select {
	case m.offers <- c:
		m.known[c.ID] = true
		if m.cancel != nil {
			m.cancel(errSuperseded)
		}
	default: // nobody is told: asked again with the same id it may be taken
	}
}

// Tried says that settings which name a bundle are on trial, Kept that they are in
// force, TakenBack that they are not any more. Other bundles than that of the job do
// not matter.
func (m *Machine) Tried(bundle string) { m.event(event{bundle, Trying, ""}) }

// Kept says that settings which name a bundle are in force for good.
func (m *Machine) Kept(bundle string) { m.event(event{bundle, Good, ""}) }

// TakenBack says that settings which name a bundle are not in force any more, and why.
func (m *Machine) TakenBack(bundle, why string) { m.event(event{bundle, Returned, why}) }

func (m *Machine) event(e event) {
	select {
	case m.events <- e:
	default: // settings change faster than anybody can look; the next change says what is in force
	}
}

// Run works until ctx ends.
func (m *Machine) Run(ctx context.Context) {
	tick := time.NewTicker(m.o.Poll)
	defer tick.Stop()
	m.recall()
	for {
		for m.step(ctx) {
		}
		select {
		case <-ctx.Done():
			return
		case c := <-m.offers:
			m.take(ctx, c)
		case e := <-m.events:
			m.settle(e)
		case <-tick.C:
		}
	}
}

// recall reads what was before this start.
func (m *Machine) recall() {
	m.locked(func(d disk.Tree, r *record) {
		m.mu.Lock()
		for _, id := range r.IDs {
			m.known[id] = true
		}
		m.mu.Unlock()
		if j := r.Job; j != nil && j.Kind == Bundle && j.State == Trying {
			j.is(Installed) // the process ended with it; settings will say what they do with it now
			m.keep(d, r)
		}
	})
}

// locked does something with the folder and the record in it.
func (m *Machine) locked(do func(disk.Tree, *record)) {
	d, err := m.o.Open()
	if err != nil {
		if !errors.Is(err, disk.ErrInUse) { // nightseg update stage is at it
			m.log(fmt.Errorf("update folder: %w", err))
		}
		return
	}
	r, err := readRecord(from(d))
	m.log(err) // a damaged record is begun anew
	do(d, &r)
	m.log(d.Close())
}

// take makes a command the job, or refuses it.
func (m *Machine) take(ctx context.Context, c Command) {
	job := Job{ID: c.ID, URL: c.URL, SHA256: c.SHA256, State: Fetching, Time: m.now()}
	taken := false
	m.locked(func(d disk.Tree, r *record) {
		taken = true
		if !r.remember(c.ID) {
			return
		}
		if err := m.begin(ctx, d, r, job); err != nil {
			m.refused(job, err)
		}
	})
	if !taken {
		m.refused(job, errors.New("the folder of updates is in use, or cannot be opened: ask again with another id"))
	}
}

// begin puts a job in the place of the one before.
func (m *Machine) begin(ctx context.Context, d disk.Tree, r *record, job Job) error {
	if old := r.Job; old != nil && old.Kind == Package && old.State != Verified {
		for m.work(ctx, d, r) { // it may have proven itself since somebody looked
		}
	}
	if old := r.Job; old != nil && !old.State.Final() {
		if old.State == Trying || old.Kind == Package && old.State != Verified {
			err := refuse(OnTrial, "%s %s is %s: wait until it has proven itself, or end that with "+
				"nightseg update mark-good or rollback", old.Name, old.Version, old.State)
			return errors.Join(err, r.write(d))
		}
		ended := *old
		ended.fail(Failed, Superseded, "%v", errSuperseded)
		ended.Time = m.now()
		m.tell(ended)
	}
	if err := errors.Join(d.RemoveAll(partFile), d.RemoveAll(RequestDir)); err != nil {
		return err
	}
	r.Job = &job
	if err := r.write(d); err != nil {
		return err
	}
	m.tell(job)
	return nil
}

func (m *Machine) refused(job Job, err error) {
	job.fail(Failed, reasonOf(err), "%v", err)
	m.tell(job)
}

// settle notes what settings have done to the bundle of the job.
func (m *Machine) settle(e event) {
	m.locked(func(d disk.Tree, r *record) {
		j := r.Job
		again := j != nil && j.State == Returned && e.state == Good // tried once more, and kept
		if j == nil || j.State.Final() && !again || j.Bundle == "" || j.Bundle != e.bundle || j.State == e.state ||
			j.State == Installed && e.state == Returned {
			return
		}
		j.is(e.state)
		if e.state == Returned {
			j.Reason, j.Error = NotStarted, e.why
		}
		m.keep(d, r)
	})
}

// keep writes the record down, and tells of the job.
func (m *Machine) keep(d disk.Tree, r *record) {
	r.Job.Time = m.now()
	m.log(r.write(d))
	m.tell(*r.Job)
}

// step does the next piece of work, and reports whether there may be more.
func (m *Machine) step(ctx context.Context) (more bool) {
	m.locked(func(d disk.Tree, r *record) { more = m.work(ctx, d, r) })
	return more
}

// work is step with the folder at hand.
func (m *Machine) work(ctx context.Context, d disk.Tree, r *record) (more bool) {
	if r.Job == nil || r.Job.State.Final() || ctx.Err() != nil {
		return false
	}
	before := *r.Job
	err := m.do(ctx, d, r)
	switch {
	case ctx.Err() != nil:
		return false
	case reasonOf(err) != "":
		r.Job.fail(Failed, reasonOf(err), "%v", err)
		err = errors.Join(d.RemoveAll(partFile), d.RemoveAll(RequestDir))
	}
	m.log(err)
	if *r.Job == before {
		return false
	}
	m.keep(d, r)
	return !r.Job.State.Final() && ctx.Err() == nil
}

// do does what a state asks for.
func (m *Machine) do(ctx context.Context, d disk.Tree, r *record) error {
	switch r.Job.State {
	case Fetching:
		return m.fetched(ctx, d, r)
	case Verified:
		return m.handOver(ctx, d, r.Job)
	case Staged:
		return m.awaitInstaller(d, r.Job)
	case Installed, Trying:
		if r.Job.Kind == Package {
			return m.awaitProof(d, r.Job)
		}
	}
	return nil
}

func (m *Machine) tell(j Job) {
	m.o.Logger.Info("update", "id", j.ID, "state", j.State, "name", j.Name, "version", j.Version, "error", j.Error)
	m.o.Tell(j)
}

// log writes an error down, once while it stays the same.
func (m *Machine) log(err error) {
	if err == nil {
		return
	}
	if s := err.Error(); s != m.fault {
		m.fault = s
		m.o.Logger.Warn("update", "error", err)
	}
}

func (m *Machine) now() time.Time { return m.o.Now().UTC() }

// missing reports whether an error says that a file is not there.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
