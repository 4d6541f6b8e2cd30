package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// looksFile is where looks at test sets are written down, in a checkout.
const looksFile = "docs/looks.csv"

var looksHeader = []string{"date", "bundle", "bundle_sha256", "set", "frames", "figures"}

// isTestSet reports whether a folder of that name holds a set to test on.
func isTestSet(name string) bool {
	return strings.HasSuffix(name, "_test") || strings.Contains(name, "_test_") || name == "night_coarse"
}

// testSets lists the names of test sets in a path, links followed.
func testSets(path string) []string {
	var sets []string
	add := func(p string) {
		for _, part := range strings.Split(filepath.ToSlash(p), "/") {
			if isTestSet(part) && !slices.Contains(sets, part) {
				sets = append(sets, part)
			}
		}
	}
	if abs, err := filepath.Abs(path); err == nil {
		add(abs)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		if abs, err := filepath.Abs(real); err == nil {
			add(abs)
		}
	}
	return sets
}

// lookFlags say which test set may be looked at, and where that is written down.
type lookFlags struct{ look, log string }

func (f *lookFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.look, "look", "", "name of the test set that is looked at")
	fs.StringVar(&f.log, "log", looksFile, "file that looks at test sets are added to")
}

// guard refuses folders of a test set that was not named; "" is no folder.
func (f *lookFlags) guard(folders ...string) error {
	var sets []string
	for _, dir := range folders {
		if dir != "" {
			sets = append(sets, testSets(dir)...)
		}
	}
	for _, s := range sets {
		if s != f.look {
			return fail(exitRefused,
				"%s is a test set: choose on another one, and look at this one once, at the end, "+
					"with --look %s (the look is written to %s)", s, s, f.log)
		}
	}
	if f.look != "" && len(sets) == 0 {
		return fail(exitUsage, "--look %s: no folder is a test set of that name", f.look)
	}
	return nil
}

// looks is the log of looks at test sets; nil where nothing is logged.
type looks struct{ file *os.File }

// openLog opens the log before anything is looked at: a look that cannot be
// written down does not happen.
func (f *lookFlags) openLog() (*looks, error) {
	if f.look == "" {
		return nil, nil
	}
	file, err := os.OpenFile(f.log, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("%w (name a file with --log)", err)
	}
	return &looks{file}, nil
}

// glance is what a look showed.
type glance struct {
	bundle, sha256 string
	frames         int
	figures        []string
}

// add writes a look and its figures as one line.
func (l *looks) add(set string, s glance) error {
	if l == nil {
		return nil
	}
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	w := csv.NewWriter(l.file)
	if info.Size() == 0 {
		if err := w.Write(looksHeader); err != nil {
			return err
		}
	}
	err = w.Write([]string{
		time.Now().UTC().Format(time.RFC3339), s.bundle, s.sha256, set, fmt.Sprint(s.frames),
		strings.Join(s.figures, "; "),
	})
	w.Flush()
	return errors.Join(err, w.Error(), l.file.Sync())
}

// glance is what eval writes down of a look.
func (r *evalResult) glance() glance {
	s := glance{bundle: r.Bundle, sha256: r.SHA256, frames: r.Frames}
	for _, v := range r.Variants {
		s.figures = append(s.figures, fmt.Sprintf("%s/%s/%g %.2f [%.2f %.2f]",
			v.Precision, v.Relight, v.Std, v.MIoU, v.Interval.Low, v.Interval.High))
	}
	return s
}

func (l *looks) close() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}
