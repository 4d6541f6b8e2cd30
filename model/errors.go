package model

import (
	"errors"
	"fmt"
)

// ErrNotFinite is returned by an engine whose network gave a NaN or an infinity.
// The frame is to be refused and counted; the next one may be good.
var ErrNotFinite = errors.New("the network's logits are not finite")

// ErrNoRelight is returned by an engine when a frame asks for the network's
// relighting and the bundle has no relight graph.
var ErrNoRelight = errors.New("the bundle has no relight network")

// FileError says what is wrong with a file and what to do about it.
type FileError struct {
	File    string // path
	Problem string
	Remedy  string // what the user can do, "" when there is nothing to say
	Err     error  // the cause, may be nil
}

// Error gives file, problem, cause and remedy in one line.
func (e *FileError) Error() string {
	s := e.File
	if e.Problem != "" {
		s += ": " + e.Problem
	}
	if e.Err != nil {
		s += fmt.Sprintf(": %v", e.Err)
	}
	if e.Remedy != "" {
		s += " (" + e.Remedy + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }
