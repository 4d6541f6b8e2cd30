package update

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"nightseg/edge/disk"
)

// fetched gets the file of the update, and verifies it.
func (m *Machine) fetched(ctx context.Context, d disk.Tree, r *record) error {
	j := r.Job
	resumed := j.Done > 0
	if err := m.fetch(ctx, d, r); err != nil {
		return err
	}
	err := m.withPart(ctx, d, j, func(u *Update) error {
		if err := m.mayFollow(d, u); err != nil {
			return err
		}
		j.Kind, j.Name, j.Version, j.Update = u.Kind, u.Name, u.Version, u.ID
		return nil
	})
	if rs := reasonOf(err); resumed && (rs == Damaged || rs == BadFormat) {
		// Another file may be at the URL than that of which the beginning was fetched.
		m.log(fmt.Errorf("fetched anew: %w", err))
		j.Done, j.Total, j.Tag = 0, 0, ""
		return nil
	}
	if err == nil {
		j.is(Verified)
	}
	return err
}

// withPart opens and verifies the file that was fetched.
func (m *Machine) withPart(ctx context.Context, d disk.Tree, j *Job, do func(*Update) error) error {
	f, err := d.Open(partFile, false)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read from
	if j.SHA256 != "" {
		hash := sha256.New()
		if _, err := io.Copy(hash, reader(ctx, io.NewSectionReader(f, 0, j.Done))); err != nil {
			return err
		}
		if got := hex.EncodeToString(hash.Sum(nil)); got != j.SHA256 {
			return refuse(Damaged, "the file has sha256 %.12s..., the command says %.12s...", got, j.SHA256)
		}
	}
	u, err := Open(f, j.Done)
	if err != nil {
		return err
	}
	keys, err := m.o.Keys()
	if err != nil {
		return refuse(BadSignature, "%w", err)
	}
	if err := u.Verify(ctx, keys, m.o.Target); err != nil {
		return err
	}
	return do(u)
}

// mayFollow says why an update may not follow what is there. The installer looks again.
func (m *Machine) mayFollow(d disk.Tree, u *Update) error {
	if u.Kind == Package {
		slots, _ := ReadSlots(m.o.Programs)
		trials, _ := ReadTrials(from(d))
		return follows(u, trials, Choose(slots, trials, m.o.Base), m.o.Base)
	}
	if m.o.InUse == nil {
		return nil
	}
	if use := m.o.InUse(); use.Name == u.Name {
		return u.Follows(use.Version)
	}
	return nil
}

// handOver gives a program to the installer, and puts a bundle into a slot.
func (m *Machine) handOver(ctx context.Context, d disk.Tree, j *Job) error {
	if j.Kind == Bundle {
		if m.o.InUse == nil {
			return nil
		}
		use := m.o.InUse()
		if use.Trial {
			return nil // asked again soon
		}
		return m.installBundle(ctx, d, j, use.Setting)
	}
	if err := d.Mkdir(RequestDir); err != nil && !exists(err) {
		return err
	}
	// A crash after this finds no part, but a request, or an outcome.
	err := d.Rename(partFile, RequestDir+"/"+RequestFile)
	if err != nil && !missing(err) {
		return err
	}
	if err := errors.Join(d.SyncDir(RequestDir), d.Sync()); err != nil {
		return err
	}
	j.is(Staged)
	return nil
}

// installBundle puts the bundle into the slot that is not in use.
func (m *Machine) installBundle(ctx context.Context, d disk.Tree, j *Job, setting string) (err error) {
	to, err := m.o.Bundles()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	slots, _ := ReadSlots(from(to)) // where it is damaged both are empty
	held, keep := false, ""
	for name, s := range slots.Slots {
		held = held || s.ID == j.Update
		if s.Title() == setting {
			keep = name
		}
	}
	if !held {
		err = m.withPart(ctx, d, j, func(u *Update) error {
			if u.ID != j.Update {
				return refuse(Damaged, "another update has taken the place of %s", j.Update)
			}
			if keep != "" && setting == u.Title() {
				return refuse(Downgrade, "%s is in use, and another one: give it a version of its own", u.Title())
			}
			if err := m.mayFollow(d, u); err != nil {
				return err
			}
			_, err := install(ctx, to, u, keep, Slot{Installed: m.now()})
			return err
		})
		if missing(err) { // removed by hand
			j.is(Fetching)
			j.Done, j.Total, j.Tag = 0, 0, ""
			return nil
		}
	}
	if err != nil {
		return err
	}
	j.is(Installed)
	j.Bundle = j.Name + "@" + j.Version
	return errors.Join(d.RemoveAll(partFile), d.Sync())
}

// awaitInstaller looks whether the installer has done its part.
func (m *Machine) awaitInstaller(d disk.Tree, j *Job) error {
	if f, err := d.Open(RequestDir+"/"+RequestFile, false); err == nil {
		return f.Close()
	} else if !missing(err) {
		return err
	}
	o, err := ReadOutcome(m.o.Programs)
	switch {
	case err != nil:
		return refuse(NotInstalled, "what became of it cannot be read: %w", err)
	case o.Update == j.Update && o.Slot != "":
		j.is(Installed)
		return nil
	case o.Error != "" && (o.Update == j.Update || o.Update == ""): // what is damaged has no id
		return refuse(cmp.Or(o.Reason, NotInstalled), "%s", o.Error)
	}
	return refuse(NotInstalled, "the installer has left no word: journalctl -u nightseg-update")
}

// awaitProof looks how an installed program does.
func (m *Machine) awaitProof(d disk.Tree, j *Job) error {
	trials, err := ReadTrials(from(d))
	if err != nil {
		return err
	}
	t := trials.Of(j.Update)
	switch {
	case t.Returned != "":
		j.fail(Returned, NotStarted, "%s", t.Returned)
	case t.Good:
		j.is(Good)
	case m.o.Program == j.Update:
		j.is(Trying)
	case m.chosen(trials) != j.Update:
		j.fail(Returned, NotStarted, "another program was installed since")
	case !m.restarting && m.o.Restart != nil:
		m.restarting = true
		m.o.Restart()
	}
	return nil
}

// chosen is the update that the next start begins with, "" for the system's own program.
func (m *Machine) chosen(t Trials) string {
	slots, _ := ReadSlots(m.o.Programs)
	return Choose(slots, t, m.o.Base).ID
}

// Stage does all that this machine does with a file or a URL, in the foreground, until
// others are to go on: the installer, or who changes settings.
func (m *Machine) Stage(ctx context.Context, id, source, sha256 string) (job Job, err error) {
	job, err = Job{ID: id, URL: source, SHA256: sha256, State: Fetching, Time: m.now()}, disk.ErrInUse
	m.locked(func(d disk.Tree, r *record) {
		r.remember(id)
		if err = m.begin(ctx, d, r, job); err != nil {
			return
		}
		for m.work(ctx, d, r) {
		}
		job = *r.Job
	})
	return job, errors.Join(err, context.Cause(ctx))
}
