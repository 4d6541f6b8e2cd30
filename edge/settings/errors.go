package settings

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// FieldError is one thing that is wrong with one field.
type FieldError struct {
	Path    string `json:"-"`                 // as in the file: cameras[0].id; empty: the document
	Pointer string `json:"pointer"`           // JSON pointer (RFC 6901): /cameras/0/id
	Line    int    `json:"line,omitempty"`    // of the YAML file, from 1; 0: not known
	Value   string `json:"value,omitempty"`   // as given, shortened
	Problem string `json:"problem"`           // what is wrong
	Allowed string `json:"allowed,omitempty"` // what would be right
	Remedy  string `json:"remedy,omitempty"`  // what to do
}

// Error is one line: where, what, the value, what is allowed, what to do.
func (e FieldError) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", e.Line)
	}
	if e.Path != "" {
		fmt.Fprintf(&b, "%s: ", e.Path)
	}
	b.WriteString(e.Problem)
	if e.Value != "" {
		fmt.Fprintf(&b, ": %q", e.Value)
	}
	if e.Allowed != "" {
		fmt.Fprintf(&b, "; allowed: %s", e.Allowed)
	}
	if e.Remedy != "" {
		fmt.Fprintf(&b, "; %s", e.Remedy)
	}
	return b.String()
}

// Errors is all that is wrong with a document, by line and path.
type Errors []FieldError

// Error is one line per error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

func (e Errors) sorted() Errors {
	sort.SliceStable(e, func(i, j int) bool { return e[i].Line < e[j].Line })
	return e
}

// path leads to a field: each step is a key (string) or an index (int).
type path []any

func (p path) key(k string) path { return append(p[:len(p):len(p)], k) }

func (p path) index(i int) path { return append(p[:len(p):len(p)], i) }

func (p path) String() string {
	var b strings.Builder
	for i, step := range p {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", step)
		case string:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step)
		}
	}
	return b.String()
}

var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

func (p path) pointer() string {
	var b strings.Builder
	for _, step := range p {
		b.WriteByte('/')
		switch step := step.(type) {
		case int:
			b.WriteString(strconv.Itoa(step))
		case string:
			b.WriteString(pointerEscape.Replace(step))
		}
	}
	return b.String()
}

// show shortens a value for a message.
func show(v any) string {
	s := strings.ToValidUTF8(fmt.Sprint(v), "\ufffd")
	if len(s) > 80 {
		s = strings.ToValidUTF8(s[:77], "") + "..."
	}
	return s
}

// nearest returns the word with the smallest edit distance to s, "" where none
// is close.
func nearest(s string, words []string) string {
	best, limit := "", max(1, len(s)/3)+1
	for _, w := range words {
		if d := distance(strings.ToLower(s), w); d < limit {
			best, limit = w, d
		}
	}
	return best
}

// distance is the number of insertions, deletions, changes and swaps of
// neighbours that make b of a (optimal string alignment), in bytes.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	before, last, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(last[j]+1, next[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, last, next = last, next, before
	}
	return last[len(b)]
}
