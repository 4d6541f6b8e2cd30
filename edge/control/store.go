package control

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"nightseg/edge/disk"
	"nightseg/edge/settings"
)

// Files of the store.
const (
	currentFile  = "current.json"
	previousFile = "previous.json"
	refusedFile  = "refused.json"
	startsFile   = "starts.json"
	badSuffix    = ".bad"
)

const (
	maxFile    = 1 << 20 // bytes: a document of 64 kB may take several times that as JSON in JSON
	maxRefused = 64
)

// record is a document that has proven itself.
type record struct {
	Version  int64     `json:"version"`
	SHA256   string    `json:"sha256"` // of the settings it made
	Since    time.Time `json:"since"`
	Bundle   string    `json:"bundle,omitempty"` // that ran with it
	Document string    `json:"document"`         // as it came
}

// refusal is settings that are not to be tried again.
type refusal struct {
	Version int64     `json:"version"` // 0: of a file
	SHA256  string    `json:"sha256"`
	Start   bool      `json:"start,omitempty"` // its starts ended the process
	Reason  string    `json:"reason"`
	Time    time.Time `json:"time"`
}

// tally counts how often settings were tried without having proven themselves.
type tally struct {
	Version int64  `json:"version"`
	SHA256  string `json:"sha256"`
	Boot    string `json:"boot"`             // of the machine
	Count   int    `json:"count"`            // in that boot
	Before  int    `json:"before,omitempty"` // in boots before it
}

type tallies struct {
	Start tally `json:"start"`
	Trial tally `json:"trial"`
}

func (t tally) of(d settings.Desired) bool { return t.Version == d.Version && t.SHA256 == d.SHA256 }

// in returns the tally as of a boot.
func (t tally) in(boot string) tally {
	if t.Boot != boot {
		t.Boot, t.Before, t.Count = boot, t.Before+t.Count, 0
	}
	return t
}

// raised counts one more for settings.
func (t tally) raised(d settings.Desired, boot string) tally {
	if !t.of(d) {
		t = tally{Version: d.Version, SHA256: d.SHA256}
	}
	t = t.in(boot)
	t.Count++
	return t
}

// fallen reports whether the settings have ended the process too often.
func (t tally) fallen(d settings.Desired, boot string) bool {
	t, same := t.in(boot), t.of(d)
	return same && (t.Count >= maxFalls || t.Before+t.Count >= maxCuts)
}

func (t tally) total() int { return t.Before + t.Count }

// store is what is remembered: in memory, and on disk where that can be written.
type store struct {
	dir  string
	open func(dir string) (disk.FS, error)
	fs   disk.FS // nil: not open

	current, previous *record
	refused           []refusal // oldest first
	tallies           tallies

	dirty map[string]bool
	notes []string // what was not as it should be at the start
}

// openStore reads what is there. What cannot be read is told in notes.
func openStore(dir string, open func(string) (disk.FS, error)) *store {
	st := &store{dir: dir, open: open, dirty: map[string]bool{}}
	if err := st.reopen(); err != nil {
		return st // the first write will say so
	}
	st.current = readFile[*record](st, currentFile)
	st.previous = readFile[*record](st, previousFile)
	st.refused = readFile[[]refusal](st, refusedFile)
	st.tallies = readFile[tallies](st, startsFile)
	return st
}

func (st *store) reopen() (err error) {
	if st.fs != nil {
		return nil
	}
	st.fs, err = st.open(st.dir)
	if err != nil {
		st.fs = nil
		return fmt.Errorf("open %s: %w", st.dir, err)
	}
	return nil
}

func (st *store) close() error {
	if st.fs == nil {
		return nil
	}
	err := st.fs.Close()
	st.fs = nil
	return err
}

func (st *store) note(s string) { st.notes = append(st.notes, s) }

// readFile returns what a file holds. One that is no file of ours is set aside.
func readFile[T any](st *store, name string) (v T) {
	b, err := disk.ReadFile(st.fs, name, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return v
	}
	if err == nil {
		if v, err = unseal[T](b); err == nil {
			return v
		}
		if e := st.fs.Rename(name, name+badSuffix); e == nil {
			err = fmt.Errorf("%w (it is now %s%s)", err, name, badSuffix)
		}
	}
	st.note(fmt.Sprintf("%s cannot be read: %v", name, err))
	return v
}

// flush writes what has changed. A crash between two files leaves the current
// document as the previous one too, or a refusal whose starts are still counted:
// both mean the same as what follows.
func (st *store) flush() error {
	for _, f := range []struct {
		name string
		v    any
	}{
		{previousFile, st.previous}, {currentFile, st.current}, {refusedFile, st.refused}, {startsFile, st.tallies},
	} {
		if !st.dirty[f.name] {
			continue
		}
		b, err := disk.Seal(f.v)
		if err == nil {
			err = st.reopen()
		}
		if err == nil {
			err = disk.WriteAtomic(st.fs, f.name, b)
		}
		if err != nil {
			return fmt.Errorf("%s/%s: %w", st.dir, f.name, err)
		}
		delete(st.dirty, f.name)
	}
	return nil
}

// keep makes r the current document, and before, if it is one, the previous.
func (st *store) keep(r, before *record) {
	if before != nil && before != st.previous {
		st.previous, st.dirty[previousFile] = before, true
	}
	st.current, st.dirty[currentFile] = r, true
}

func (st *store) setStart(t tally) {
	if st.tallies.Start != t {
		st.tallies.Start, st.dirty[startsFile] = t, true
	}
}

func (st *store) setTrial(t tally) {
	if st.tallies.Trial != t {
		st.tallies.Trial, st.dirty[startsFile] = t, true
	}
}

// refuse remembers settings that are not to be tried again.
func (st *store) refuse(d settings.Desired, r refusal) {
	if st.refusal(d) != nil {
		return
	}
	r.Version, r.SHA256 = d.Version, d.SHA256
	st.refused = append(st.refused, r)
	if n := len(st.refused) - maxRefused; n > 0 {
		st.refused = slices.Delete(st.refused, 0, n)
	}
	st.dirty[refusedFile] = true
}

// forgive forgets the refusals of settings whose starts ended the process.
func (st *store) forgive() {
	st.refused = slices.DeleteFunc(st.refused, func(r refusal) bool { return r.Start })
	st.dirty[refusedFile] = true
}

// refusal returns why settings are not to be tried again, nil where they may be.
func (st *store) refusal(d settings.Desired) *refusal {
	i := slices.IndexFunc(st.refused, func(r refusal) bool { return r.Version == d.Version && r.SHA256 == d.SHA256 })
	if i < 0 {
		return nil
	}
	return &st.refused[i]
}

// unseal reads what disk.Seal wrote of a T, and nothing else.
func unseal[T any](b []byte) (v T, err error) {
	body, err := disk.Unseal(b)
	if err != nil {
		return v, err
	}
	return disk.Strictly[T](body)
}

func short(hash string) string { return hash[:min(len(hash), 12)] }
