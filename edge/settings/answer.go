package settings

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Result is what became of a document.
type Result string

// The results. Each document is answered by one of the first four; ResultTrial is
// followed by one more answer, ResultApplied or ResultRolledBack.
const (
	ResultTrial      Result = "trial"       // checked, built and swapped in; kept once it has proven itself
	ResultApplied    Result = "applied"     // in force for good
	ResultUnchanged  Result = "unchanged"   // it is in force already
	ResultRejected   Result = "rejected"    // nothing has changed
	ResultRolledBack Result = "rolled_back" // what ran before runs again
)

// Ack is the answer to one document, sent on config/ack.
type Ack struct {
	Version int64        `json:"version"`      // of the document, 0 where it could not be read
	ID      string       `json:"id,omitempty"` // of the document
	Result  Result       `json:"result"`
	InForce int64        `json:"in_force"`        // version that runs from now on; 0: none, only the file
	Until   *time.Time   `json:"until,omitempty"` // end of a trial at the latest
	Run     string       `json:"run"`
	Time    time.Time    `json:"time"`
	Errors  []FieldError `json:"errors,omitempty"`
	Reason  string       `json:"reason,omitempty"`  // why it is rejected or rolled back, where no field is to blame
	Warning string       `json:"warning,omitempty"` // for instance that it will not outlive a restart
}

// JSON returns the wire form.
func (a Ack) JSON() []byte { return wire(a) }

// States of Reported.
const (
	StateSteady = "steady"
	StateTrial  = "trial"
)

// Reported says what is in force; it is retained on config/reported.
type Reported struct {
	Version   int64           `json:"version"` // of the document in force, 0: none
	Source    string          `json:"source"`  // desired, previous, file, last-good or factory
	State     string          `json:"state"`   // trial: what is in force has yet to prove itself
	Since     time.Time       `json:"since"`
	Run       string          `json:"run"`
	SHA256    string          `json:"sha256"`
	Settings  Settings        `json:"settings"`             // in force, without passwords
	File      *Settings       `json:"file,omitempty"`       // what documents go over, where it differs
	FileError string          `json:"file_error,omitempty"` // why the settings file is not in force
	Rejected  *Ack            `json:"last_rejected,omitempty"`
	Figures   json.RawMessage `json:"probation,omitempty"` // what the last probation has measured
	Shed      *Shed           `json:"shed,omitempty"`      // what of Settings is not done at the moment
}

// Shed is work that the settings ask for, and that is left out because it is too hot.
type Shed struct {
	Step   string    `json:"step"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	Rate   float64   `json:"rate"`             // share of the frames that are segmented
	Gamma  bool      `json:"gamma,omitempty"`  // in place of the relight network
	Small  bool      `json:"small,omitempty"`  // another bundle, or a smaller shape of it
	Cannot string    `json:"cannot,omitempty"` // why a part of it was not done
}

// JSON returns the wire form.
func (r Reported) JSON() []byte { return wire(r) }

func wire(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // cannot be: no maps, channels or functions, and finite numbers
		return []byte(`{"error":"document could not be written"}`)
	}
	return b
}

// Redacted returns the settings without what their reader must not learn: users
// and passwords in addresses.
func (s Settings) Redacted() Settings {
	s.Broker.URL = redact(s.Broker.URL)
	s.Cameras = slices.Clone(s.Cameras)
	for i := range s.Cameras {
		s.Cameras[i].Source = redact(s.Cameras[i].Source)
	}
	return s
}

var secrets = regexp.MustCompile(`(?i)(user|username|usr|pass|passwd|password|pwd|token|secret|auth|key)=[^&/?#]*`)

// redact hides in an address all that comes before its last @, and the values of
// parameters that are named like secrets.
func redact(s string) string {
	scheme, rest, found := strings.Cut(s, "://")
	if !found {
		return s
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = "***" + rest[at:]
	}
	return scheme + "://" + secrets.ReplaceAllString(rest, "$1=***")
}
