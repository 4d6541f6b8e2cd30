package settings

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Where settings came from.
const (
	FromFile     = "file"
	FromLastGood = "last-good"
	FromFactory  = "factory"
)

// Load reads the settings file. A good one is copied to lastGood, if that is not
// empty; of a bad one Load returns the last good copy, or where there is none
// the factory settings. The settings can always be used: err says what is wrong
// with the file, or, with the source FromFile, why the copy could not be kept.
// An empty name asks for the factory settings.
func Load(name, lastGood string) (s Settings, source string, err error) {
	if name == "" {
		return Default(), FromFactory, nil
	}
	text, err := readLimited(name)
	if err == nil {
		if s, err = Parse(text); err == nil {
			return s, FromFile, keep(lastGood, text)
		}
	}
	err = fmt.Errorf("settings %s: %w", name, err)
	if lastGood == "" {
		return Default(), FromFactory, err
	}
	text, readErr := readLimited(lastGood)
	if readErr == nil {
		if s, readErr = Parse(text); readErr == nil {
			return s, FromLastGood, err
		}
	}
	if !errors.Is(readErr, os.ErrNotExist) {
		err = errors.Join(err, fmt.Errorf("last good settings %s: %w", lastGood, readErr))
	}
	return Default(), FromFactory, err
}

// readLimited does not read more than a parser would take.
func readLimited(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("no regular file")
	}
	if info.Size() > maxDocument {
		return nil, fmt.Errorf("%d bytes are above the limit of %d", info.Size(), maxDocument)
	}
	return os.ReadFile(name)
}

func keep(name string, text []byte) error {
	if name == "" {
		return nil
	}
	if old, err := os.ReadFile(name); err == nil && bytes.Equal(old, text) {
		return nil // flash wears out
	}
	if err := writeAtomic(name, text); err != nil {
		return fmt.Errorf("keep the last good settings: %w", err)
	}
	return nil
}

// writeAtomic replaces a file in such a way that after a power cut either the
// old or the new content is there, whole.
func writeAtomic(name string, text []byte) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
