package update

import (
	"errors"
	"fmt"
	"syscall"
)

// Reason is the kind of a refusal.
type Reason string

// Why an update is refused.
const (
	BadFormat    Reason = "format"    // no update, or of another form
	BadSignature Reason = "signature" // no key that is trusted has signed it
	Damaged      Reason = "damaged"   // its content is not what was signed
	WrongDevice  Reason = "device"    // made for others
	Downgrade    Reason = "version"   // older than what is there, or too far ahead
	NoSpace      Reason = "space"
	OnTrial      Reason = "trial"   // another one has yet to prove itself
	NotFetched   Reason = "fetch"   // it did not come
	NotInstalled Reason = "install" // the installer could not, or did not
	NotStarted   Reason = "starts"  // it was taken back
	Superseded   Reason = "superseded"
)

// Refusal is an update that is not taken. Whoever asks again with the same gets the
// same answer, as long as nothing else changes.
type Refusal struct {
	Reason Reason
	Err    error
}

func (r *Refusal) Error() string { return r.Err.Error() }
func (r *Refusal) Unwrap() error { return r.Err }

func refuse(r Reason, format string, args ...any) error {
	return &Refusal{r, fmt.Errorf(format, args...)}
}

// reasonOf returns the reason of a refusal, "" where err is none: then trying again
// may help.
func reasonOf(err error) Reason {
	var r *Refusal
	switch {
	case errors.As(err, &r):
		return r.Reason
	case errors.Is(err, syscall.ENOSPC):
		return NoSpace
	}
	return ""
}
