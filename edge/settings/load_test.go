package settings

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func says(err error, words string) bool { return err != nil && strings.Contains(err.Error(), words) }

func TestLoadFallsBack(t *testing.T) {
	dir := t.TempDir()
	name, good := filepath.Join(dir, "nightseg.yaml"), filepath.Join(dir, "state", "last-good.yaml")

	s, source, err := Load(name, good)
	if source != FromFactory || !errors.Is(err, os.ErrNotExist) || s.Codec != "png" {
		t.Errorf("no file: %s, %v", source, err)
	}

	write(t, name, "codec: rle-zstd\n")
	if s, source, err = Load(name, good); source != FromFile || err != nil || s.Codec != "rle-zstd" {
		t.Fatalf("good file: %s, %v", source, err)
	}
	if kept, err := os.ReadFile(good); err != nil || string(kept) != "codec: rle-zstd\n" {
		t.Fatalf("last good copy: %q, %v", kept, err)
	}

	write(t, name, "codec: gif\n")
	s, source, err = Load(name, good)
	if source != FromLastGood || s.Codec != "rle-zstd" || !says(err, "line 1: codec") {
		t.Errorf("bad file: %s, %v", source, err)
	}
	if kept, _ := os.ReadFile(good); string(kept) != "codec: rle-zstd\n" {
		t.Error("the bad file was kept as good")
	}

	write(t, good, "codec: bmp\n")
	s, source, err = Load(name, good)
	if source != FromFactory || s.Codec != "png" || !says(err, "last good settings") {
		t.Errorf("both bad: %s, %v", source, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "state", ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files were left: %v, %v", left, err)
	}
}

func TestLoadWithoutKeeping(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "nightseg.yaml")
	write(t, name, "codec: gif\n")
	if _, source, err := Load(name, ""); source != FromFactory || err == nil {
		t.Errorf("bad file: %s, %v", source, err)
	}
	if _, source, err := Load("", filepath.Join(dir, "x")); source != FromFactory || err != nil {
		t.Errorf("no name: %s, %v", source, err)
	}
	if _, source, err := Load(dir, ""); source != FromFactory || err == nil {
		t.Errorf("a folder: %s, %v", source, err)
	}
	write(t, name, "codec: png\n")
	// A file stands where the state folder should be: the settings hold all the same.
	s, source, err := Load(name, filepath.Join(name, "last-good.yaml"))
	if source != FromFile || err == nil || s.Codec != "png" {
		t.Errorf("state folder cannot be made: %s, %v", source, err)
	}
}
