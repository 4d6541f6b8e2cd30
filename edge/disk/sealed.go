package disk

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
)

// sealed is a record in a file: JSON with a checksum, which is only to find damage.
type sealed struct {
	Check string          `json:"sha256"` // of Body
	Body  json.RawMessage `json:"body"`
}

// Seal returns the content of a file that holds v.
func Seal(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(sealed{Check: checksum(body), Body: body})
	return append(b, '\n'), err
}

// Unseal returns the JSON of what Seal wrote, and refuses anything else.
func Unseal(b []byte) (body []byte, err error) {
	s, err := Strictly[sealed](b)
	if err != nil {
		return nil, err
	}
	if s.Check != checksum(s.Body) {
		return nil, errors.New("the checksum is not that of the content")
	}
	return s.Body, nil
}

func checksum(body []byte) string {
	h := sha256.Sum256(body)
	return hex.EncodeToString(h[:])
}

// Strictly reads one JSON value whose members are all known.
func Strictly[T any](b []byte) (T, error) {
	var v, none T
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return none, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return none, errors.New("something follows the content")
	}
	return v, nil
}
