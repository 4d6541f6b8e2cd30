package update

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"time"

	"nightseg/edge/disk"
)

// State is how far an update is.
type State string

// The states. A bundle is not staged; it is tried when settings name it.
const (
	Fetching  State = "fetching"
	Verified  State = "verified"
	Staged    State = "staged"    // handed over to the installer
	Installed State = "installed" // in a slot that is not in use yet
	Trying    State = "trying"
	Good      State = "good"
	Returned  State = "returned" // what was there before is in use again
	Failed    State = "failed"   // it never was in a slot
)

// Final reports whether nothing more will happen.
func (s State) Final() bool { return s == Good || s == Returned || s == Failed || s == "" }

// Job is an update on its way, as answers and the record on disk have it.
type Job struct {
	ID      string    `json:"id"` // of the command
	State   State     `json:"state"`
	URL     string    `json:"url,omitempty"`
	SHA256  string    `json:"sha256,omitempty"` // of the file, where the command has it
	Kind    Kind      `json:"kind,omitempty"`
	Name    string    `json:"name,omitempty"`
	Version string    `json:"version,omitempty"`
	Bundle  string    `json:"bundle,omitempty"` // what settings call an installed bundle
	Update  string    `json:"update,omitempty"` // id of the update: sha256 of its manifest
	Done    int64     `json:"done,omitempty"`   // bytes that came and are on disk
	Total   int64     `json:"total,omitempty"`  // 0: not known
	Tag     string    `json:"tag,omitempty"`    // of the server, for the file at URL
	Reason  Reason    `json:"reason,omitempty"`
	Error   string    `json:"error,omitempty"`
	Time    time.Time `json:"time"`
}

// Command asks for an update.
type Command struct {
	ID     string `json:"id"`
	URL    string `json:"url"`
	SHA256 string `json:"sha256,omitempty"`
}

// ParseCommand reads a command.
func ParseCommand(text []byte) (Command, error) {
	c, err := disk.Strictly[Command](text)
	switch {
	case err != nil:
		return c, refuse(BadFormat, "command: %w", err)
	case c.ID == "" || len(c.ID) > 64:
		return c, refuse(BadFormat, "command: id: 1 to 64 characters are needed, new for each command")
	case c.SHA256 != "" && !hashPattern.MatchString(c.SHA256):
		return c, refuse(BadFormat, "command: sha256: 64 of the characters 0-9 a-f are needed")
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return c, refuse(BadFormat, "command: url: %q is not of the form https://host/file.nsup", c.URL)
	}
	return c, nil
}

const (
	recordFile   = "update.json"
	partFile     = "incoming.part"
	mostCommands = 256
)

// record is what the service remembers of updates.
type record struct {
	Job *Job     `json:"job,omitempty"`
	IDs []string `json:"ids,omitempty"` // of commands that were taken or refused, oldest first
}

func readRecord(read func(name string) ([]byte, error)) (record, error) {
	return readSealed[record](read, recordFile)
}

// remember adds the id of a command, and reports whether it is new.
func (r *record) remember(id string) bool {
	if slices.Contains(r.IDs, id) {
		return false
	}
	r.IDs = append(r.IDs, id)
	r.IDs = r.IDs[max(0, len(r.IDs)-mostCommands):]
	return true
}

func (r *record) write(d disk.FS) error { return writeSealed(d, recordFile, r) }

// is puts a job into a state.
func (j *Job) is(s State) { j.State, j.Reason, j.Error = s, "", "" }

// fail ends a job.
func (j *Job) fail(s State, reason Reason, format string, args ...any) {
	j.State, j.Reason, j.Error = s, reason, fmt.Sprintf(format, args...)
}

// JSON is the job as it is published.
func (j Job) JSON() []byte {
	b, err := json.Marshal(j)
	if err != nil { // it holds nothing that cannot be written
		return []byte("{}")
	}
	return b
}

// ReadJob reads the last job; nil: there was none. read gives files of the service's folder.
func ReadJob(read func(name string) ([]byte, error)) (*Job, error) {
	r, err := readRecord(read)
	return r.Job, err
}
