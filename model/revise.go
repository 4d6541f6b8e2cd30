package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Revision says how a new version of a bundle differs from the one at hand.
type Revision struct {
	Out     string                // folder to make; "" rewrites bundle.json where the bundle is
	Version string                // default: the old one with its last number raised by one
	Now     time.Time             // written as the time of creation; default: now
	Change  func(*Manifest) error // gets a copy of the manifest
}

// Revise writes a new version of the bundle: the same files, which golden
// vectors and hashes go on to fit, and a changed manifest, which therefore may
// not name other files. A record of the gate goes where it no longer fits.
// Files that the manifest does not name are not copied.
// The new bundle is checked before it is put into its place.
func (b *Bundle) Revise(r Revision) (*Bundle, error) {
	doc, err := b.revised(&r)
	if err != nil {
		return nil, fmt.Errorf("new version of bundle %s: %w", b.Name, err)
	}
	dir := r.Out
	if dir == "" {
		if dir, err = b.rewrite(doc); err != nil {
			return nil, fmt.Errorf("new version of bundle %s: %w", b.Name, err)
		}
		return Open(dir)
	}
	if err := b.copyTo(dir, doc); err != nil {
		return nil, fmt.Errorf("new version of bundle %s: %w", b.Name, err)
	}
	return Open(dir)
}

// revised is the new manifest as a document.
func (b *Bundle) revised(r *Revision) ([]byte, error) {
	old, err := encodeManifest(&b.Manifest)
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(old) // a copy that shares no map or slice with the bundle
	if err != nil {
		return nil, err
	}
	if r.Now.IsZero() {
		r.Now = time.Now()
	}
	m.Created, m.Version = r.Now.UTC().Truncate(time.Second), r.Version
	if r.Version == "" {
		if m.Version, err = NextVersion(b.Version); err != nil {
			return nil, err
		}
	}
	if m.Version == b.Version {
		return nil, fmt.Errorf("the version is %s as before: give it another", b.Version)
	}
	if err := r.Change(m); err != nil {
		return nil, err
	}
	if m.Gate != nil {
		if subject, err := m.Subject(); err != nil || subject != m.Gate.Subject {
			m.Gate = nil // it says nothing of what the bundle is now
		}
	}
	doc, err := encodeManifest(m)
	if err != nil {
		return nil, err
	}
	if _, err := ParseManifest(doc); err != nil {
		return nil, err
	}
	return doc, nil
}

// NextVersion raises the last of the three numbers; what follows them is dropped.
func NextVersion(version string) (string, error) {
	plain := version
	if i := strings.IndexAny(version, "-+"); i >= 0 {
		plain = version[:i]
	}
	i := strings.LastIndexByte(plain, '.')
	n, err := strconv.ParseUint(plain[i+1:], 10, 32)
	if err != nil {
		return "", fmt.Errorf("version %s cannot be raised by one: give one", version)
	}
	return plain[:i+1] + strconv.FormatUint(n+1, 10), nil
}

func encodeManifest(m *Manifest) ([]byte, error) {
	var doc bytes.Buffer
	enc := json.NewEncoder(&doc)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(m); err != nil {
		return nil, err
	}
	return doc.Bytes(), nil
}

// rewrite replaces bundle.json in the bundle's own folder.
func (b *Bundle) rewrite(doc []byte) (dir string, err error) {
	if st, err := os.Stat(b.Path); err != nil || !st.IsDir() && filepath.Base(b.Path) != ManifestName {
		return "", &FileError{
			File: b.Path, Problem: "is a packed bundle, which is not changed in place", Err: err,
			Remedy: "name a folder for the new version",
		}
	}
	f, err := os.CreateTemp(b.Dir, ".part-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	_, err = f.Write(doc)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return "", err
	}
	return b.Dir, os.Rename(f.Name(), filepath.Join(b.Dir, ManifestName))
}

// copyTo makes a folder of the bundle's files and a new manifest. It is made
// beside its place and moved there when it is whole and opens.
func (b *Bundle) copyTo(dir string, doc []byte) (err error) {
	if _, err := os.Lstat(dir); err == nil {
		return &FileError{File: dir, Problem: "is there already", Remedy: "name a folder that is not there yet"}
	}
	dir = filepath.Clean(dir)
	part, err := os.MkdirTemp(filepath.Dir(dir), ".part-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(part)) // no half bundle stays
		}
	}()
	next := &Bundle{Dir: part}
	for _, f := range b.AllFiles() {
		data, err := b.read(f)
		if err != nil {
			return err
		}
		if _, err := next.put(f.File, data); err != nil {
			return err
		}
	}
	if _, err := next.put(ManifestName, doc); err != nil {
		return err
	}
	if _, err := Open(part); err != nil {
		return err
	}
	if err := os.Chmod(part, 0o755); err != nil {
		return err
	}
	return os.Rename(part, dir)
}
