package mqtt

import (
	"encoding/json"
	"fmt"
)

// State is the first word of a status.
type State string

// The states of a device. Offline is said by the broker, through the will.
const (
	Online   State = "online"
	Degraded State = "degraded"
	Stopped  State = "stopped"
	Offline  State = "offline"
)

// Status is the retained document at status.
type Status struct {
	State State `json:"state"`
	// Run and Connection name the connection that the status speaks of. An
	// offline whose Connection is below that of the last online of the same run
	// is a late will, and to be ignored.
	Run        string `json:"run"`
	Connection uint64 `json:"connection"`
	Reason     string `json:"reason,omitempty"`
}

// ParseStatus reads a status; unknown members are ignored.
func ParseStatus(b []byte) (Status, error) {
	var s Status
	if err := json.Unmarshal(b, &s); err != nil {
		return Status{}, fmt.Errorf("status: %w", err)
	}
	switch s.State {
	case Online, Degraded, Stopped, Offline:
		return s, nil
	}
	return Status{}, fmt.Errorf("status: unknown state %q", s.State)
}

// Supersedes reports whether s is news for a reader that knows last: it is not
// where s is the late will of an older connection of the same run.
func (s Status) Supersedes(last Status) bool {
	return s.Run != last.Run || s.Connection >= last.Connection
}

func (s Status) json() []byte {
	b, err := json.Marshal(s)
	if err != nil { // cannot be: strings and a number
		return []byte(`{"state":"degraded","reason":"status could not be written"}`)
	}
	return b
}
