package settings

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"

	"nightseg/edge/disk"
)

// Where settings came from.
const (
	FromDesired  = "desired"  // a document over the file
	FromPrevious = "previous" // the document before it
	FromFile     = "file"
	FromLastGood = "last-good"
	FromFactory  = "factory"
)

// Base is settings that a document goes over, and where they are from.
type Base struct {
	Settings Settings
	Source   string // FromFile, FromLastGood or FromFactory
}

// Load reads a settings file and what can stand in for it, best first: the file,
// where it is good; the copy of the last good one; the factory settings. The first
// can always be used: err says what is wrong with the file or, where that is the
// first, with the copy. Text is the file's, where it is good. An empty name asks
// for the factory settings; an empty lastGood for no copy.
func Load(name, lastGood string) (bases []Base, text []byte, err error) {
	factory := Base{Default(), FromFactory}
	if name == "" {
		return []Base{factory}, nil, nil
	}
	s, text, err := read(name)
	var kept Settings
	var keptText []byte
	copyErr := os.ErrNotExist
	if lastGood != "" {
		kept, keptText, copyErr = read(lastGood)
	}
	if err == nil && copyErr == nil && torn(text, keptText) && !reflect.DeepEqual(s, kept) {
		text, err = nil, errTorn
	}
	if err == nil {
		bases = append(bases, Base{s, FromFile})
	} else {
		err = fmt.Errorf("settings %s: %w", name, err)
	}
	if copyErr == nil {
		bases = append(bases, Base{kept, FromLastGood})
	} else if !errors.Is(copyErr, os.ErrNotExist) {
		err = errors.Join(err, fmt.Errorf("last good settings %s: %w", lastGood, copyErr))
	}
	return append(bases, factory), text, err
}

// errTorn says what to do with a file that was shortened on purpose, too.
var errTorn = errors.New("it is the last good settings without their end, as after a save that was cut short: " +
	"write it anew; where its end was taken away on purpose, put a comment there, such as # shortened")

// torn reports whether text is what a save of whole leaves where the power goes: an
// editor begins with an empty file, and the disk has its first part.
func torn(text, whole []byte) bool { return len(text) < len(whole) && bytes.HasPrefix(whole, text) }

// Keep makes text the last good copy. It belongs to the moment when the settings
// have proven themselves: a file may be well formed and still end the process.
func Keep(lastGood string, text []byte) error {
	if err := disk.Keep(lastGood, text); err != nil {
		return fmt.Errorf("keep the last good settings %s: %w", lastGood, err)
	}
	return nil
}

// read does not read more than a parser would take.
func read(name string) (Settings, []byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return Settings{}, nil, err
	case !info.Mode().IsRegular():
		return Settings{}, nil, errors.New("no regular file")
	case info.Size() > maxDocument:
		return Settings{}, nil, fmt.Errorf("%d bytes are above the limit of %d", info.Size(), maxDocument)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return Settings{}, nil, err
	}
	if len(bytes.TrimSpace(text)) == 0 { // nobody writes that, and its factory settings would be another vehicle's
		return Settings{}, nil, errors.New("empty, as after a save that was cut short: write it anew, one key or more")
	}
	s, err := Parse(text)
	if err != nil {
		return Settings{}, nil, err
	}
	return s, text, nil
}
