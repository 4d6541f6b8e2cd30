package settings

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// DocumentSchema is the version of the form of documents; it rises when a key
// changes its meaning.
const DocumentSchema = 1

// documentKeys are the keys that a document has beside those of the tree.
var documentKeys = []string{"version", "id", "schema"}

const maxID = 64 // characters of a document's id

// Desired is a document from config/desired, over the settings file:
//
//	{"version": 3, "id": "shift-2", "relight": {"mode": "network"}, "cameras": [{"id": "front", "rate": 15}]}
//
// Version is the only key that must be there. What is not named is as in the
// settings file; cameras, where named, is the whole list, each over the file's
// camera of the same id.
type Desired struct {
	Version  int64
	ID       string // a word of the sender, which the answers have too
	Settings Settings
	SHA256   string // of Settings, hexadecimal: equal settings, equal hash
}

// ParseDesired reads a document over the settings of the file. It checks all of
// it before anything is used; with errors the first result is not to be used,
// except for Version and ID, which are empty where they could not be read.
func ParseDesired(b []byte, file Settings) (Desired, []FieldError) {
	n, err := parseJSON(b)
	if err != nil {
		return Desired{}, []FieldError{asFieldError(err)}
	}
	d := &decoder{file: &file}
	out := Desired{Settings: file.Clone()}
	d.head(&n, &out)
	d.decode(n, reflectOf(&out.Settings), path{}, "")
	d.check(out.Settings)
	out.SHA256 = out.Settings.Hash()
	return out, d.errs
}

// head takes the keys that are not of the tree out of the document.
func (d *decoder) head(n *node, out *Desired) {
	if n.kind != kindMap {
		return
	}
	const remedy = "raise it with every change"
	if item, ok := d.take(n, "version"); !ok {
		d.fail(path{"version"}, "", "missing", "1 to 2^53", remedy)
	} else if v, err := strconv.ParseInt(item.text, 10, 64); item.kind != kindNumber || err != nil || v < 1 || v > 1<<53 {
		d.fail(path{"version"}, item.text, "not a whole number from 1 to 2^53", "1 to 2^53", remedy)
	} else {
		out.Version = v
	}
	if item, ok := d.take(n, "id"); ok {
		switch {
		case item.kind != kindString:
			d.fail(path{"id"}, item.text, "not a text but "+string(item.kind), "", "put it in quotes")
		case utf8.RuneCountInString(item.text) > maxID:
			d.fail(path{"id"}, item.text, "too long", fmt.Sprintf("at most %d characters", maxID), "")
		default:
			out.ID = item.text
		}
	}
	if item, ok := d.take(n, "schema"); ok && (item.kind != kindNumber || item.text != strconv.Itoa(DocumentSchema)) {
		d.fail(path{"schema"}, item.text, "not known here", strconv.Itoa(DocumentSchema),
			"config/schema has the form that this device reads")
	}
}

// take removes a key from a map.
func (d *decoder) take(n *node, name string) (value node, found bool) {
	for i := 0; i < len(n.keys); i++ {
		if n.keys[i].name != name {
			continue
		}
		if found {
			d.fail(path{name}, n.items[i].text, "given twice", "", "keep one")
		} else {
			value, found = n.items[i], true
		}
		n.keys = append(n.keys[:i:i], n.keys[i+1:]...)
		n.items = append(n.items[:i:i], n.items[i+1:]...)
		i--
	}
	return value, found
}

// Hash is the SHA-256 of the canonical JSON form.
func (s Settings) Hash() string {
	b, err := json.Marshal(s)
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

// Document makes of a file, YAML or JSON, a document for config/desired. Version
// and id are put in where the file has none.
func Document(text []byte, version int64, id string) ([]byte, error) {
	parse := parseYAML
	if strings.HasPrefix(strings.TrimSpace(string(text)), "{") {
		parse = parseJSON
	}
	n, err := parse(text)
	if err != nil {
		return nil, err
	}
	if n.kind == kindNull {
		n = node{kind: kindMap} // all as in the settings file
	}
	if n.kind != kindMap {
		return nil, fmt.Errorf("not a group of keys but %s", n.kind)
	}
	for _, k := range []struct {
		name  string
		value node
	}{
		{"id", node{kind: kindString, text: id}},
		{"version", node{kind: kindNumber, text: strconv.FormatInt(version, 10)}},
	} {
		found := false
		for _, have := range n.keys {
			found = found || have.name == k.name
		}
		if !found {
			n.keys = append([]key{{name: k.name}}, n.keys...)
			n.items = append([]node{k.value}, n.items...)
		}
	}
	return n.appendJSON(nil)
}

// appendJSON writes a node as JSON. What is no JSON number, such as 0x1F, becomes
// a text, so that the checks of documents refuse it.
func (n node) appendJSON(b []byte) ([]byte, error) {
	quoted := func(b []byte, s string) []byte {
		q, err := json.Marshal(s)
		if err != nil { // cannot be: a string
			return append(b, `""`...)
		}
		return append(b, q...)
	}
	switch n.kind {
	case kindNull:
		return append(b, "null"...), nil
	case kindBool:
		return append(b, n.text...), nil
	case kindNumber:
		if json.Valid([]byte(n.text)) {
			return append(b, n.text...), nil
		}
		return quoted(b, n.text), nil
	case kindString:
		return quoted(b, n.text), nil
	case kindOther:
		return nil, fmt.Errorf("line %d: something that settings do not use", n.line)
	}
	open, end := byte('['), byte(']')
	if n.kind == kindMap {
		open, end = '{', '}'
	}
	b = append(b, open)
	for i, item := range n.items {
		if i > 0 {
			b = append(b, ',')
		}
		if n.kind == kindMap {
			b = append(quoted(b, n.keys[i].name), ':')
		}
		var err error
		if b, err = item.appendJSON(b); err != nil {
			return nil, err
		}
	}
	return append(b, end), nil
}
