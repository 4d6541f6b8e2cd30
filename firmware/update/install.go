package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"nightseg/edge/disk"
)

// Files of the hand-over from the service to the installer, and back.
const (
	RequestDir   = "request" // in the service's folder
	RequestFile  = "update.nsup"
	incomingFile = "incoming.nsup" // the installer's copy
	outcomeFile  = "outcome.json"  // in the folder of the slots
)

// ErrNoRequest says that nothing is to be installed.
var ErrNoRequest = errors.New("nothing is asked for")

// Outcome is what became of a request.
type Outcome struct {
	Update string    `json:"update,omitempty"` // id, where there was one
	Title  string    `json:"title,omitempty"`
	Slot   string    `json:"slot,omitempty"` // into which it was put; "" where it was refused
	Reason Reason    `json:"reason,omitempty"`
	Error  string    `json:"error,omitempty"`
	Time   time.Time `json:"time"`
}

// Installer puts programs into slots. It runs with privileges, and trusts nothing
// that the service has written.
type Installer struct {
	Drop   disk.Tree // the folder RequestDir
	Slots  disk.Tree
	Keys   Keys
	Target Target
	Base   string // version of the system's own program
	// Trials reads the service's records. What they say decides which slot is in use,
	// and no more: a service that lies can get itself an older program that was signed.
	Trials func() (Trials, error)
	Now    func() time.Time
}

// Apply installs what is asked for, writes down what became of it, and takes the
// request away, whatever it was: it would be found again and again. Where ctx ends
// the request stays.
func (i *Installer) Apply(ctx context.Context) (Outcome, error) {
	info, err := i.request()
	if err != nil {
		return Outcome{}, err
	}
	o := Outcome{Time: i.Now().UTC()}
	u, f, err := i.copy(ctx, info)
	if err == nil {
		o.Update, o.Title = u.ID, u.Title()
		o.Slot, err = i.install(ctx, u)
		err = errors.Join(err, f.Close())
	}
	if ctx.Err() != nil {
		return Outcome{}, context.Cause(ctx)
	}
	if err != nil {
		o.Slot, o.Reason, o.Error = "", reasonOf(err), err.Error()
	}
	err = errors.Join(
		writeSealed(i.Slots, outcomeFile, o), i.Slots.RemoveAll(incomingFile),
		i.Drop.RemoveAll(RequestFile), i.Drop.Sync(),
	)
	return o, err
}

func (i *Installer) request() (disk.Info, error) {
	list, err := i.Drop.List()
	if err != nil {
		return disk.Info{}, err
	}
	for _, e := range list {
		if e.Name == RequestFile {
			return e, nil
		}
	}
	return disk.Info{}, ErrNoRequest
}

// copy takes the request to where its writer cannot change it any more, and opens it.
func (i *Installer) copy(ctx context.Context, info disk.Info) (*Update, disk.File, error) {
	if !info.Regular || info.Size > maxPayload+maxPayload/8 {
		return nil, nil, refuse(BadFormat, "the request is no file, or too large (%d bytes)", info.Size)
	}
	if err := errors.Join(i.Slots.RemoveAll(incomingFile), hasRoom(i.Slots, info.Size)); err != nil {
		return nil, nil, err
	}
	src, err := i.Drop.Open(RequestFile, false)
	if err != nil {
		return nil, nil, err
	}
	defer src.Close() //nolint:errcheck // only read from
	dst, err := i.Slots.Create(incomingFile, false)
	if err != nil {
		return nil, nil, err
	}
	u, err := func() (*Update, error) {
		from := reader(ctx, io.NewSectionReader(src, 0, info.Size))
		n, err := io.Copy(io.NewOffsetWriter(dst, 0), from)
		if err != nil {
			return nil, err
		}
		return Open(dst, n)
	}()
	if err != nil {
		return nil, nil, errors.Join(err, dst.Close())
	}
	return u, dst, nil
}

// install verifies an update and fills a slot with it.
func (i *Installer) install(ctx context.Context, u *Update) (slot string, err error) {
	if err := u.Verify(ctx, i.Keys, i.Target); err != nil {
		return "", err
	}
	if u.Kind != Package {
		return "", refuse(BadFormat, "%s is a %s: only a %s is installed here", u.Title(), u.Kind, Package)
	}
	slots, _ := ReadSlots(from(i.Slots)) // where it is damaged both are empty
	trials, err := i.Trials()
	if err != nil {
		trials = nil // nothing is known of them: they have yet to prove themselves
	}
	now := Choose(slots, trials, i.Base)
	if held := slots.Slots[slots.Current]; held.ID == u.ID && held.Base == i.Base && trials.Of(u.ID).Returned == "" {
		return slots.Current, nil // as after a crash
	}
	if err := follows(u, trials, now, i.Base); err != nil {
		return "", err
	}
	keep := now.Name
	if t := trials.Of(now.ID); keep != "" && !t.Good {
		keep = Other(keep) // it was never started: the one before it is in use
	}
	slots, err = install(ctx, i.Slots, u, keep, Slot{Base: i.Base, Installed: i.Now().UTC()})
	return slots.Current, err
}

// follows says why an update may not follow the program that is in force.
func follows(u *Update, t Trials, now Choice, base string) error {
	if x := t.Of(u.ID); x.Returned != "" {
		return refuse(NotStarted, "%s was taken back: %s: sign a new one", u.Title(), x.Returned)
	}
	version := base
	if now.Name != "" {
		version = now.Version
		if x := t.Of(now.ID); !x.Good && x.Starts > 0 {
			return refuse(OnTrial, "%s has yet to prove itself: wait, or end that with nightseg update mark-good or rollback",
				now.Title())
		}
	}
	if !versionPattern.MatchString(version) { // of a build by hand: nobody can tell
		return nil
	}
	return u.Follows(version)
}

// ReadOutcome reads what became of the last request; read gives files of the slots' folder.
func ReadOutcome(read func(name string) ([]byte, error)) (Outcome, error) {
	o, err := readSealed[Outcome](read, outcomeFile)
	if err != nil {
		return o, fmt.Errorf("installer: %w", err)
	}
	return o, nil
}
