// Package shares holds the class shares of label pictures: it finds the files
// of a folder, reads them in the forms that data sets use (ids of a bundle,
// Cityscapes' train ids and label ids, colours), and counts pixels per class.
package shares

import (
	"errors"
	"fmt"
	"image"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"nightseg/edge/frame"
)

// Form says what a pixel of a label picture holds.
type Form string

// The forms of labels.
const (
	IDs      Form = "ids"      // the ids of the bundle's classes
	TrainIDs Form = "trainids" // Cityscapes' 19 train ids
	LabelIDs Form = "labelids" // Cityscapes' 34 label ids
	Palette  Form = "palette"  // the colours of the bundle's classes
)

// Forms lists all forms.
func Forms() []Form { return []Form{IDs, TrainIDs, LabelIDs, Palette} }

// endings are what the names of label files of a form end in, in data sets that
// hold several forms side by side. Of those that a folder has, the first counts.
var endings = map[Form][]string{
	IDs:      {"_labelTrainIds", "_trainIds"},
	TrainIDs: {"_labelTrainIds", "_trainIds"},
	LabelIDs: {"_labelIds"},
	Palette:  {"_color", "_labelColors"},
}

// Find lists the label files (PNG) of a form in a folder and those below it.
func Find(dir string, form Form) ([]string, error) {
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return nil, errors.Join(fmt.Errorf("shares: %s is no folder of labels", dir), err)
	}
	var all []string
	others := map[string]int{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if ext := strings.ToLower(path.Ext(name)); ext == ".png" {
			all = append(all, filepath.Join(dir, filepath.FromSlash(name)))
		} else {
			others[ext]++
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("shares: %w", err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("shares: %s holds no .png file, and %d others: labels are PNG pictures "+
			"(JPEG would change ids and colours)", dir, sum(others))
	}
	for _, end := range endings[form] {
		of := slices.DeleteFunc(slices.Clone(all), func(n string) bool {
			return !strings.HasSuffix(strings.TrimSuffix(n, filepath.Ext(n)), end)
		})
		if len(of) > 0 {
			return of, nil
		}
	}
	return all, nil
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// Counts are pixels and files per class.
type Counts struct {
	Pixels []uint64 // by class
	Files  []int    // in which a class occurs, by class
	Labels int      // files
	None   uint64   // pixels without a class
}

// NewCounts returns empty counts.
func NewCounts(classes int) *Counts {
	return &Counts{Pixels: make([]uint64, classes), Files: make([]int, classes)}
}

// Add counts one label picture; its ids are classes or frame.Unknown.
func (c *Counts) Add(ids []uint8) {
	var n [256]uint64
	for _, k := range ids {
		n[k]++
	}
	c.Labels++
	c.None += n[frame.Unknown]
	for k := range c.Pixels {
		c.Pixels[k] += n[k]
		if n[k] > 0 {
			c.Files[k]++
		}
	}
}

// Total returns the number of pixels that have a class.
func (c *Counts) Total() (n uint64) {
	for _, p := range c.Pixels {
		n += p
	}
	return n
}

// Shares returns the share of each class among the pixels that have one; the
// sum is 1. It is an error if no pixel has a class, or all are of one class:
// weights would then mean nothing.
func (c *Counts) Shares() ([]float64, error) {
	total := c.Total()
	if total == 0 {
		return nil, fmt.Errorf("shares: none of the %d pixels in %d labels has a class: give other labels, "+
			"or say what their pixels hold", c.None, c.Labels)
	}
	s := make([]float64, len(c.Pixels))
	for k, n := range c.Pixels {
		if n == total {
			return nil, fmt.Errorf("shares: all %d pixels that have a class are of class %d: give labels that hold "+
				"at least two", total, k)
		}
		s[k] = float64(n) / float64(total)
	}
	return s, nil
}

// Tally counts folders of labels; the pictures of one folder must have one
// size, because shares weigh by pixels and a stray small picture would weigh little.
type Tally struct {
	reader  *Reader
	counts  *Counts
	folder  string
	size    image.Point
	first   string // the file that the size is of
	anySize bool
}

// NewTally returns a tally over what r reads. With anySize the sizes of the
// pictures in a folder may differ.
func NewTally(r *Reader, anySize bool) *Tally {
	return &Tally{reader: r, counts: NewCounts(len(r.classes)), anySize: anySize}
}

// Counts returns what was counted so far.
func (t *Tally) Counts() *Counts { return t.counts }

// Add reads and counts a file of a folder.
func (t *Tally) Add(folder, file string) error {
	doc, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("shares: %w", err)
	}
	ids, size, err := t.reader.Read(doc)
	if err != nil {
		return fmt.Errorf("shares: %s: %w", file, err)
	}
	if folder != t.folder || t.first == "" {
		t.folder, t.size, t.first = folder, size, file
	}
	if size != t.size && !t.anySize {
		return fmt.Errorf("shares: %s is of %d x %d pixels, %s of %d x %d: a class would count by the size of its "+
			"pictures; bring them to one size, or allow it", file, size.X, size.Y, t.first, t.size.X, t.size.Y)
	}
	t.counts.Add(ids)
	return nil
}
