// Package tree holds the folder below which /sys, /dev and /proc are looked for: the
// machine's own root, or a recorded machine.
package tree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// Root is the folder; "" and "/" are this machine.
type Root string

// longest is more than any file of sysfs that holds one value.
const longest = 4096

// Recorded reports whether the devices below r are recordings, and no devices.
func (r Root) Recorded() bool { return r != "" && r != "/" }

// Path is where the file that this machine would have at name, such as
// /sys/class/thermal, is found.
func (r Root) Path(name string) string {
	if !r.Recorded() {
		return name
	}
	return filepath.Join(string(r), filepath.FromSlash(name))
}

// Word reads a file that holds one word or line, without the space and the zero
// bytes (of a device tree) around it.
func (r Root) Word(name string) (string, error) {
	f, err := os.Open(r.Path(name))
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, longest))
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return strings.Trim(string(b), " \t\r\n\x00"), nil
}

// Number reads a file that holds one number.
func (r Root) Number(name string) (float64, error) {
	w, err := r.Word(name)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseFloat(w, 64)
	if err != nil || v != v || v-v != 0 { // neither NaN nor infinite
		return 0, fmt.Errorf("%s: %.40q is no number", name, w)
	}
	return v, nil
}

// Glob lists the names that match a pattern, in the order of their numbers: hwmon10
// after hwmon9.
func (r Root) Glob(pattern string) []string {
	found, err := filepath.Glob(r.Path(pattern))
	if err != nil { // the patterns are ours
		return nil
	}
	for i, f := range found {
		if r.Recorded() {
			rel, err := filepath.Rel(string(r), f)
			if err != nil {
				return nil
			}
			f = "/" + filepath.ToSlash(rel)
		}
		found[i] = f
	}
	sort.SliceStable(found, func(i, j int) bool {
		return len(found[i]) < len(found[j]) || len(found[i]) == len(found[j]) && found[i] < found[j]
	})
	return found
}

// Exists reports whether there is a file.
func (r Root) Exists(name string) bool {
	_, err := os.Stat(r.Path(name))
	return err == nil
}

// Write writes a word to a file that is there.
func (r Root) Write(name, word string) error {
	f, err := os.OpenFile(r.Path(name), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, word+"\n")
	return errors.Join(err, f.Close())
}

// Hwmon finds the folders in /sys/class/hwmon of the sensors with a driver's name.
func (r Root) Hwmon(name string) []string {
	var dirs []string
	for _, d := range r.Glob("/sys/class/hwmon/hwmon*") {
		if w, err := r.Word(path.Join(d, "name")); err == nil && w == name {
			dirs = append(dirs, d)
		}
	}
	return dirs
}
