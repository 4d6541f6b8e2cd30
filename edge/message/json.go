package message

import (
	"bytes"
	"math"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// cursor steps through JSON that is known to be valid.
type cursor struct {
	b  []byte
	at int
}

// take steps over white space, and over c where that comes next.
func (c *cursor) take(ch byte) bool {
	for c.at < len(c.b) && (c.b[c.at] == ' ' || c.b[c.at] == '\t' || c.b[c.at] == '\n' || c.b[c.at] == '\r') {
		c.at++
	}
	if c.at < len(c.b) && c.b[c.at] == ch {
		c.at++
		return true
	}
	return false
}

// value returns the next value as it is written; it is not empty.
func (c *cursor) value() []byte {
	c.take(0)
	start := c.at
	for depth := 0; c.at < len(c.b); {
		switch c.b[c.at] {
		case '"':
			c.skipString()
		case '[', '{':
			depth++
			c.at++
		case ']', '}':
			depth--
			c.at++
		default:
			if depth == 0 {
				c.skipWord()
			} else {
				c.at++
			}
		}
		if depth == 0 {
			break
		}
	}
	return c.b[start:c.at]
}

func (c *cursor) skipString() {
	for c.at++; c.b[c.at] != '"'; c.at++ {
		if c.b[c.at] == '\\' {
			c.at++
		}
	}
	c.at++
}

// skipWord steps over a number, true, false or null.
func (c *cursor) skipWord() {
	for c.at < len(c.b) {
		switch c.b[c.at] {
		case ',', ':', ']', '}', ' ', '\t', '\n', '\r':
			return
		}
		c.at++
	}
}

// unquote returns what a JSON string means. The result holds until the next call.
func (r *Reader) unquote(v []byte) []byte {
	v = v[1 : len(v)-1]
	if bytes.IndexByte(v, '\\') < 0 {
		return v
	}
	w := r.words[:0]
	for i := 0; i < len(v); i++ {
		if v[i] != '\\' {
			w = append(w, v[i])
			continue
		}
		i++
		switch v[i] {
		case 'u':
			c := hex4(v[i+1:])
			i += 4
			if utf16.IsSurrogate(c) {
				low := rune(0)
				if i+6 < len(v) && v[i+1] == '\\' && v[i+2] == 'u' {
					low = hex4(v[i+3:])
				}
				if c = utf16.DecodeRune(c, low); c != utf8.RuneError {
					i += 6
				}
			}
			w = utf8.AppendRune(w, c)
		case 'b':
			w = append(w, '\b')
		case 'f':
			w = append(w, '\f')
		case 'n':
			w = append(w, '\n')
		case 'r':
			w = append(w, '\r')
		case 't':
			w = append(w, '\t')
		default: // quote, slash, backslash
			w = append(w, v[i])
		}
	}
	r.words = w
	return w
}

func hex4(v []byte) (n rune) {
	for _, c := range v[:4] {
		n <<= 4
		switch {
		case c <= '9':
			n |= rune(c - '0')
		default:
			n |= rune(c|0x20-'a') + 10
		}
	}
	return n
}

func parseInt[T ~int | ~int64](v []byte, dst *T) bool {
	n, err := strconv.ParseInt(string(v), 10, 64)
	*dst = T(n)
	return err == nil && int64(T(n)) == n
}

// parseMicroseconds reads a time that is not negative.
func parseMicroseconds(v []byte, dst *time.Duration) bool {
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/int64(time.Microsecond) {
		return false
	}
	*dst = time.Duration(n) * time.Microsecond
	return true
}

func parseUint[T ~uint32 | ~uint64](v []byte, dst *T) bool {
	n, err := strconv.ParseUint(string(v), 10, 64)
	*dst = T(n)
	return err == nil && uint64(T(n)) == n
}

// parseFloat takes null for a number that is not finite.
func parseFloat[T float32 | float64](v []byte, dst *T) bool {
	if string(v) == "null" {
		*dst = T(math.NaN())
		return true
	}
	bits := 64
	if _, ok := any(*dst).(float32); ok {
		bits = 32
	}
	f, err := strconv.ParseFloat(string(v), bits)
	*dst = T(f)
	return err == nil
}

// parseList reads an array of as many values as there are dst.
func parseList[T any](v []byte, parse func([]byte, *T) bool, dst ...*T) bool {
	c := cursor{b: v}
	if !c.take('[') {
		return false
	}
	for i, d := range dst {
		if i > 0 && !c.take(',') {
			return false
		}
		if c.take(']') || !parse(c.value(), d) {
			return false
		}
	}
	return c.take(']')
}
