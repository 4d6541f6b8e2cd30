package settings

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Live is the part of the settings that can change while the service runs.
type Live struct {
	Relight   Relight  `json:"relight"`
	Reweight  Reweight `json:"reweight"`
	Threshold float64  `json:"threshold" min:"0" max:"0.999"`
	Codec     string   `json:"codec" enum:"png,rle-zstd"`
}

type liveDocument struct {
	Version int64
	Live
}

func (s Settings) live() Live {
	return Live{Relight: s.Relight, Reweight: s.Reweight, Threshold: s.Threshold, Codec: s.Codec}
}

// Live returns the part of the settings that can change while the service runs.
func (s Settings) Live() Live { return s.live() }

// With returns the settings with that part replaced.
func (s Settings) With(l Live) Settings {
	s.Relight, s.Reweight, s.Threshold, s.Codec = l.Relight, l.Reweight, l.Threshold, l.Codec
	return s
}

// Desired is a document from config/desired:
//
//	{"version": 3, "relight": {"mode": "network"}, "reweight": {"std": 0.05}, "codec": "png"}
//
// Version is the only key that must be there; what is not named is as in the
// settings file.
type Desired struct {
	Version int64
	Live    Live
	SHA256  string // of Live, hexadecimal: equal content, equal hash
}

// ParseDesired reads a document over the settings of the file. It checks all of
// it before anything is used; with errors the first result is not to be used,
// except for its Version, which is 0 where that could not be read.
func ParseDesired(b []byte, file Settings) (Desired, []FieldError) {
	n, err := parseJSON(b)
	if err != nil {
		return Desired{}, []FieldError{asFieldError(err)}
	}
	d := &decoder{}
	out := Desired{Live: file.live()}
	if out.Live.Reweight.Std != nil {
		std := *out.Live.Reweight.Std // the caller's stays as it is
		out.Live.Reweight.Std = &std
	}
	out.Version = d.takeVersion(&n)
	d.decode(n, reflectOf(&out.Live), path{}, "")
	d.checkTags(reflectOf(&out.Live), path{})
	d.crossRelight(out.Live.Relight)
	out.SHA256 = out.Live.hash()
	return out, d.errs
}

// takeVersion removes the key version from the document and returns its value.
func (d *decoder) takeVersion(n *node) int64 {
	at := path{"version"}
	const remedy = "raise it with every change"
	version, found := int64(0), false
	for i := 0; i < len(n.keys); i++ {
		if n.keys[i].name != "version" {
			continue
		}
		item := n.items[i]
		n.keys = append(n.keys[:i:i], n.keys[i+1:]...)
		n.items = append(n.items[:i:i], n.items[i+1:]...)
		i--
		if found {
			d.fail(at, item.text, "given twice", "", "keep one")
			continue
		}
		found = true
		v, err := strconv.ParseInt(item.text, 10, 64)
		if item.kind != kindNumber || err != nil || v < 1 || v > 1<<53 {
			d.fail(at, item.text, "not a whole number from 1 to 2^53", "1 to 2^53", remedy)
			continue
		}
		version = v
	}
	if n.kind == kindMap && !found {
		d.fail(at, "", "missing", "1 to 2^53", remedy)
	}
	return version
}

// hash is the SHA-256 of the canonical JSON form.
func (l Live) hash() string {
	b, err := json.Marshal(l)
	if err != nil { // cannot be: texts and finite numbers
		return ""
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// Verdict says what is to be done with a valid document.
type Verdict string

// The verdicts of Decide.
const (
	Apply     Verdict = "apply"
	Unchanged Verdict = "unchanged" // the same document again, as a retained one comes at each connect
	Refuse    Verdict = "refuse"
)

// Decide compares a valid document with the one in force (the zero Desired where
// none is): versions must rise, and the same version must have the same content.
func (d Desired) Decide(applied Desired) (Verdict, []FieldError) {
	stale := FieldError{
		Path: "version", Pointer: "/version", Value: strconv.FormatInt(d.Version, 10),
		Remedy: "raise it above the version in force, which config/reported names",
	}
	switch {
	case d.Version > applied.Version:
		return Apply, nil
	case d.Version == applied.Version && d.SHA256 == applied.SHA256:
		return Unchanged, nil
	case d.Version == applied.Version:
		stale.Problem = fmt.Sprintf("version %d is in force with other content", applied.Version)
	default:
		stale.Problem = fmt.Sprintf("stale: version %d is in force", applied.Version)
	}
	return Refuse, []FieldError{stale}
}

// Ack is the answer to one document, sent on config/ack.
type Ack struct {
	Version int64        `json:"version"` // of the document, 0 where it could not be read
	Result  string       `json:"result"`  // applied, unchanged or rejected
	InForce int64        `json:"in_force"`
	Run     string       `json:"run"`
	Time    time.Time    `json:"time"`
	Errors  []FieldError `json:"errors,omitempty"`
}

// JSON returns the wire form.
func (a Ack) JSON() []byte { return wire(a) }

// Reported says what is in force; it is retained on config/reported.
type Reported struct {
	Version   int64     `json:"version"` // of the document in force, 0: none
	Source    string    `json:"source"`  // desired, file, last-good or factory
	Since     time.Time `json:"since"`
	Run       string    `json:"run"`
	SHA256    string    `json:"sha256"`
	Live      Live      `json:"settings"`
	FileError string    `json:"file_error,omitempty"` // why the settings file is not in force
	Rejected  *Ack      `json:"last_rejected,omitempty"`
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

// LiveTracker keeps what is in force, and answers documents: the whole of the
// minimal protocol. It is for one goroutine.
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
	if verdict == Apply {
		if errs = apply(desired.Live); len(errs) > 0 {
			verdict = Refuse
		}
	}
	a := Ack{Version: desired.Version, Run: t.Run, Time: t.now(), Errors: errs}
	switch verdict {
	case Apply:
		a.Result = "applied"
		t.applied, t.since, t.rejected = desired, t.now(), nil
	case Unchanged:
		a.Result = "unchanged"
	case Refuse:
		a.Result = "rejected"
	}
	a.InForce = t.applied.Version
	if verdict == Refuse {
		t.rejected = &a
	}
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
	r := Reported{
		Version: t.applied.Version, Source: "desired", Since: t.since, Run: t.Run,
		Live: t.applied.Live, SHA256: t.applied.SHA256, FileError: t.FileError, Rejected: t.rejected,
	}
	if t.applied.Version == 0 {
		r.Source, r.Live = t.Source, t.File.live()
		r.SHA256 = r.Live.hash()
	}
	return r
}
