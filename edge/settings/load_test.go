package settings

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
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

func sources(bases []Base) (list []string) {
	for _, b := range bases {
		list = append(list, b.Source)
	}
	return list
}

func TestLoad(t *testing.T) {
	const good, bad = "codec: rle-zstd\n", "codec: gif\n"
	all := []string{FromFile, FromLastGood, FromFactory}
	for _, c := range []struct {
		name, file, copy string // "-": not there
		want             []string
		codec, says      string // of the error; "": none
	}{
		{"good", good, "-", []string{FromFile, FromFactory}, "rle-zstd", ""},
		{"good, with a copy", good, "codec: png\n", all, "rle-zstd", ""},
		{"good, with a bad copy", good, bad, []string{FromFile, FromFactory}, "rle-zstd", "last good settings"},
		{"no file", "-", "-", []string{FromFactory}, "png", "no such file"},
		{"no file, a copy", "-", good, []string{FromLastGood, FromFactory}, "rle-zstd", "no such file"},
		{"bad, a copy", bad, good, []string{FromLastGood, FromFactory}, "rle-zstd", "line 1: codec"},
		{"empty, a copy", "", good, []string{FromLastGood, FromFactory}, "rle-zstd", "cut short"},
		{"a blank, a copy", " \n", good, []string{FromLastGood, FromFactory}, "rle-zstd", "cut short"},
		{"a comment alone", "# from the factory\n", good, all, "png", ""},
		{
			"torn at a line end", good, good + "threshold: 0.2\n",
			[]string{FromLastGood, FromFactory},
			"rle-zstd", "# shortened",
		},
		{
			"torn in a line that is still good", "codec: png\nthreshold: 0.2", "codec: png\nthreshold: 0.25\n",
			[]string{FromLastGood, FromFactory},
			"png", "cut short",
		},
		{"shortened on purpose", good + "# shortened\n", good + "threshold: 0.2\n", all, "rle-zstd", ""},
		{"a comment less at the end", good, good + "# all else as from the factory\n", all, "rle-zstd", ""},
		{"longer than the copy", good + "threshold: 0.2\n", good, all, "rle-zstd", ""},
		{"both bad", bad, bad, []string{FromFactory}, "png", "last good settings"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			name, lastGood := filepath.Join(dir, "nightseg.yaml"), filepath.Join(dir, "last-good.yaml")
			for file, text := range map[string]string{name: c.file, lastGood: c.copy} {
				if text != "-" {
					write(t, file, text)
				}
			}
			bases, text, err := Load(name, lastGood)
			if !reflect.DeepEqual(sources(bases), c.want) || bases[0].Settings.Codec != c.codec {
				t.Errorf("got %v, codec %s", sources(bases), bases[0].Settings.Codec)
			}
			if (c.says == "") != (err == nil) || c.says != "" && !says(err, c.says) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
			if bases[0].Source == FromFile && string(text) != c.file {
				t.Errorf("text %q", text)
			}
		})
	}
}

func TestLoadReadsNoStrangeFiles(t *testing.T) {
	dir := t.TempDir()
	bases, _, err := Load("", filepath.Join(dir, "x"))
	if len(bases) != 1 || bases[0].Source != FromFactory || err != nil {
		t.Errorf("no name: %v, %v", sources(bases), err)
	}
	if bases, _, err := Load(dir, ""); len(bases) != 1 || err == nil {
		t.Errorf("a folder: %v, %v", sources(bases), err)
	}
	long := filepath.Join(dir, "long.yaml")
	write(t, long, strings.Repeat("#", maxDocument+1))
	if bases, _, err := Load(long, ""); len(bases) != 1 || !says(err, "above the limit") {
		t.Errorf("a long file: %v, %v", sources(bases), err)
	}
}

func TestKeep(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "state", "last-good.yaml")
	if err := Keep(name, []byte("codec: png\n")); err != nil {
		t.Fatal(err)
	}
	if bases, _, _ := Load(filepath.Join(dir, "none"), name); bases[0].Source != FromLastGood {
		t.Errorf("the copy is not read: %v", sources(bases))
	}
	left, err := filepath.Glob(filepath.Join(dir, "state", "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("files %v, %v", left, err)
	}
	// A file stands where the folder should be.
	err = Keep(filepath.Join(name, "last-good.yaml"), nil)
	if !says(err, "keep the last good settings") || errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
