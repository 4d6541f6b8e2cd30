package settings

import (
	"slices"
	"time"
)

// LiveTracker answers documents that change nothing but Live. The service has it
// until it takes all settings through edge/control. It is for one goroutine.
type LiveTracker struct {
	File      Settings
	Run       string
	Source    string // file, last-good or factory
	FileError string
	Now       func() time.Time

	applied  Desired
	since    time.Time
	rejected *Ack
}

// Handle checks a document. Where it is new and right it calls apply, which may
// still refuse it (a bundle may allow less); the document is in force when apply
// returns nothing. The answer is for config/ack; Reported has changed with it.
func (t *LiveTracker) Handle(b []byte, apply func(Live) []FieldError) Ack {
	desired, errs := ParseDesired(b, t.File)
	verdict := Refuse
	if len(errs) == 0 {
		verdict, errs = desired.Decide(t.applied)
	}
	for _, d := range Changes(t.File.With(desired.Settings.Live()), desired.Settings).List {
		if verdict == Apply {
			errs = append(errs, FieldError{Path: d.Path, Problem: "cannot be changed while running", Remedy: "restart"})
		}
	}
	if verdict == Apply && len(errs) == 0 {
		errs = apply(desired.Settings.Live())
	}
	a := Ack{Version: desired.Version, ID: desired.ID, Run: t.Run, Time: t.now(), Errors: slices.Clone(errs)}
	switch {
	case len(errs) > 0:
		a.Result, t.rejected = ResultRejected, &a
	case verdict == Unchanged:
		a.Result = ResultUnchanged
	default:
		a.Result = ResultApplied
		t.applied, t.since, t.rejected = desired, t.now(), nil
	}
	a.InForce = t.applied.Version
	return a
}

func (t *LiveTracker) now() time.Time {
	if t.Now != nil {
		return t.Now().UTC()
	}
	return time.Now().UTC()
}

// Reported returns what is in force.
func (t *LiveTracker) Reported() Reported {
	if t.since.IsZero() {
		t.since = t.now()
	}
	s, source := t.applied.Settings, FromDesired
	if t.applied.Version == 0 {
		s, source = t.File, t.Source
	}
	return Reported{
		Version: t.applied.Version, Source: source, State: StateSteady, Since: t.since, Run: t.Run,
		Settings: s.Redacted(), SHA256: s.Hash(), FileError: t.FileError, Rejected: t.rejected,
	}
}
