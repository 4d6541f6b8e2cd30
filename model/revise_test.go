package model

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestReviseKeepsAllElse(t *testing.T) {
	dir := copyTiny(t)
	name := filepath.Join(dir, ManifestName)
	doc, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	// A card may have entries of its own.
	writeFile(t, name, []byte(strings.Replace(string(doc), `"card": {`, `"card": {"night": "a < b", `, 1)))
	old, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if old.Card.More["night"] != "a < b" {
		t.Fatalf("card %+v", old.Card)
	}
	shares := []float64{0.5, 0.25, 0.25}
	now := time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)
	for _, out := range []string{filepath.Join(t.TempDir(), "next"), ""} {
		b, err := old.Revise(Revision{Out: out, Now: now, Change: func(m *Manifest) error {
			copy(m.ClassShares, shares)
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(b.ClassShares, shares) || b.Version != "0.1.1" || !b.Created.Equal(now.Truncate(time.Second)) {
			t.Errorf("%q: shares %v, version %s of %v", out, b.ClassShares, b.Version, b.Created)
		}
		if slices.Equal(old.ClassShares, shares) {
			t.Error("the old bundle in memory changed too")
		}
		if b.SHA256 == old.SHA256 {
			t.Error("another bundle with the same identity")
		}
		// With the three changes taken back, it is the old one.
		b.ClassShares, b.Version, b.Created = old.ClassShares, old.Version, old.Created
		got, err := encodeManifest(&b.Manifest)
		if err != nil {
			t.Fatal(err)
		}
		want, err := encodeManifest(&old.Manifest)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: more than asked for has changed: %v\n%s", out, err, got)
		}
	}
}

func TestReviseRefuses(t *testing.T) {
	b, err := Open(copyTiny(t))
	if err != nil {
		t.Fatal(err)
	}
	same := func(*Manifest) error { return nil }
	taken := t.TempDir()
	packed := filepath.Join(t.TempDir(), "tiny.tar.zst")
	if err := Pack(b.Dir, packed); err != nil {
		t.Fatal(err)
	}
	archive, err := OpenIn(packed, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	place := t.TempDir()
	for name, c := range map[string]struct {
		b    *Bundle
		r    Revision
		want string
	}{
		"a folder that is there": {b, Revision{Out: taken, Change: same}, "is there already"},
		"the same version": {
			b, Revision{Out: filepath.Join(place, "a"), Version: b.Version, Change: same}, "as before",
		},
		"a version that is none": {b, Revision{Out: filepath.Join(place, "b"), Version: "x", Change: same}, "version"},
		"packed, in place":       {archive, Revision{Change: same}, "packed"},
		"shares that do not fit": {b, Revision{Out: filepath.Join(place, "c"), Change: func(m *Manifest) error {
			m.ClassShares[0] = 0.9
			return nil
		}}, "class_shares"},
		"a file that is not there": {b, Revision{Out: filepath.Join(place, "d"), Change: func(m *Manifest) error {
			m.Golden.Image.File = "golden/other.png"
			return nil
		}}, "other.png"},
		"a change of mind": {b, Revision{Out: filepath.Join(place, "e"), Change: func(*Manifest) error {
			return errors.New("not today")
		}}, "not today"},
	} {
		if _, err := c.b.Revise(c.r); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, err := os.ReadDir(place); err != nil || len(left) > 0 {
		t.Errorf("half bundles stay: %v, %v", left, err)
	}
	if _, err := Open(b.Dir); err != nil {
		t.Errorf("the old bundle: %v", err)
	}
}

func TestNextVersion(t *testing.T) {
	for old, want := range map[string]string{
		"0.1.0": "0.1.1", "3.0.9": "3.0.10", "1.2.3-rc.1": "1.2.4", "1.2.3+mine": "1.2.4",
		"3.0.0": "3.0.1", "0.1.9-rc1+x": "0.1.10", "1.2.99": "1.2.100",
	} {
		if got, err := NextVersion(old); err != nil || got != want {
			t.Errorf("after %s: %s, %v", old, got, err)
		}
	}
	if got, err := NextVersion("1.2.99999999999"); err == nil {
		t.Errorf("a number that is too long: %s", got)
	}
}
