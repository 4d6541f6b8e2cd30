package quantize

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"nightseg/calibrate/observe"
	"nightseg/model"
)

// method counts the ways in which networks were made so far: the work for one is no
// use to another.
const method = 3

// state is what a run keeps to go on later.
type state struct {
	Settings string                                  `json:"settings"` // hash of what the result depends on
	Library  string                                  `json:"library"`  // that runs the networks
	Drive    driveRecord                             `json:"drive"`
	Chosen   []chosen                                `json:"chosen"`
	Done     int                                     `json:"done"`           // so many of the chosen were run
	Seen     map[string]map[string]*observe.Observer `json:"seen"`           // by graph and tensor
	Means    map[string]map[string]*observe.Means    `json:"means"`          // likewise, of what convolutions read
	Note     json.RawMessage                         `json:"note,omitempty"` // see Result.Note
}

// chosen is a frame of the drive, and the hash that tells it from others.
type chosen struct {
	Index  int    `json:"index"`
	SHA256 string `json:"sha256"`
}

// settings hashes what the result depends on besides the drive's content.
func (j *job) settings() (string, error) {
	doc, err := json.Marshal([]any{
		method, j.Bundle.SHA256, j.Observer, j.Frames, j.Scan, j.Keep, j.Weights, j.Drive, j.Chooser.String(), j.Threads,
	})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(doc)
	return hex.EncodeToString(sum[:]), nil
}

// resume reads the state of a run that was broken off, if there is one.
func (j *job) resume() (resumed bool, err error) {
	name := StateFile(j.Out)
	settings, err := j.settings()
	if err != nil {
		return false, err
	}
	j.state = &state{Settings: settings}
	doc, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	bad := func(problem string, err error) error {
		return &model.FileError{File: name, Problem: problem, Err: err, Remedy: "remove it to start again"}
	}
	s := new(state)
	if err := json.Unmarshal(doc, s); err != nil {
		return false, bad("is not the state of a calibration", err)
	}
	if s.Settings != settings {
		return false, bad("is of a run with another bundle, source or other settings; with the same ones it goes on", nil)
	}
	if err := j.check(s); err != nil {
		return false, bad("is damaged", err)
	}
	j.state = s
	return true, nil
}

// check refuses a state that no run has written.
func (j *job) check(s *state) error {
	if s.Done < 0 || s.Done > len(s.Chosen) || len(s.Chosen) == 0 {
		return fmt.Errorf("%d of %d frames are done", s.Done, len(s.Chosen))
	}
	last := -1
	for _, c := range s.Chosen {
		if c.Index <= last {
			return fmt.Errorf("frame %d comes after frame %d", c.Index, last)
		}
		last = c.Index
	}
	for name, p := range j.plans {
		if p == nil {
			continue
		}
		for _, tensor := range p.Tensors() {
			o := s.Seen[name][tensor]
			if o == nil {
				return fmt.Errorf("nothing of tensor %q", tensor)
			}
			if err := o.Check(); err != nil {
				return fmt.Errorf("tensor %q: %w", tensor, err)
			}
		}
		for _, in := range p.Inputs() {
			m := s.Means[name][in.Tensor]
			if m == nil {
				return fmt.Errorf("no means of tensor %q", in.Tensor)
			}
			if err := m.Check(in.Channels); err != nil {
				return fmt.Errorf("means of tensor %q: %w", in.Tensor, err)
			}
		}
	}
	return nil
}

// save writes the state beside the bundle that will be.
func (j *job) save() error {
	doc, err := json.Marshal(j.state)
	if err != nil {
		return err
	}
	name := StateFile(j.Out)
	f, err := os.CreateTemp(filepath.Dir(name), ".part-*")
	if err != nil {
		return fmt.Errorf("keep the work so far: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	_, err = f.Write(doc)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("keep the work so far: %w", err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return fmt.Errorf("keep the work so far: %w", err)
	}
	return nil
}
