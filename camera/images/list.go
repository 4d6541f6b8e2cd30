package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// entry is one picture.
type entry struct {
	name string // path below the folder, with slashes: what the meta calls it
	path []byte // path to open, ended by a zero byte for the system call
	png  bool
}

func newEntry(root, name string) entry {
	return entry{
		name: filepath.ToSlash(name),
		path: append([]byte(filepath.Join(root, name)), 0),
		png:  strings.EqualFold(filepath.Ext(name), ".png"),
	}
}

// IsPicture reports whether a file of that name is one that this package reads.
func IsPicture(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".jpg", ".jpeg", ".png":
		return true
	}
	return false
}

// Folders that hold labels, by their usual names, and files that are labels,
// by a part of theirs (Cityscapes, Dark Zurich: X_gt_labelIds.png).
var (
	labelFolders = []string{
		"gt", "label", "labels", "labels_raw", "mask", "masks", "annotation", "annotations", "polygons",
		"gtfine", "gtcoarse", "corresp", "boxes",
	}
	labelParts = []string{"_gt_", "_gtfine_", "_gtcoarse_", "_labelids", "_labeltrainids", "_labelcolor"}
)

func isLabelFolder(name string) bool {
	name = strings.ToLower(name)
	return slices.Contains(labelFolders, name) || isLabelFile(name) ||
		strings.HasPrefix(name, "gt_") || strings.HasSuffix(name, "_gt") || strings.HasPrefix(name, "labels_")
}

func isLabelFile(name string) bool {
	name = strings.ToLower(name)
	for _, part := range labelParts {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// sequence is one folder that holds pictures.
type sequence struct {
	dir   string // below the root, "." for the root itself
	files []string
}

// list finds the pictures at path: the file itself, the pictures of a folder,
// or, of a folder that has none, those of all folders below that are no label
// folders, sorted by the folder's name and then by the picture's.
func list(path string) ([]entry, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		if !info.Mode().IsRegular() || !IsPicture(path) {
			return nil, fmt.Errorf("%s is neither a folder nor a .jpg, .jpeg or .png file", path)
		}
		return []entry{newEntry(filepath.Dir(path), filepath.Base(path))}, nil
	}
	var found []sequence
	if err := walk(path, ".", 0, &found); err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b sequence) int {
		if c := natural(filepath.Base(a.dir), filepath.Base(b.dir)); c != 0 {
			return c
		}
		return natural(a.dir, b.dir)
	})
	var entries []entry
	for _, s := range found {
		for _, f := range s.files {
			entries = append(entries, newEntry(path, filepath.Join(s.dir, f)))
		}
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("%w in %s: it should hold .jpg, .jpeg or .png files, or folders of them", ErrEmpty, path)
	}
	return entries, nil
}

// maxDepth ends a walk through folders; links are not followed, so that only a
// strange tree is deeper.
const maxDepth = 12

func walk(root, dir string, depth int, found *[]sequence) error {
	items, err := os.ReadDir(filepath.Join(root, dir))
	if err != nil {
		if depth > 0 && errors.Is(err, fs.ErrPermission) {
			return nil // a folder below that is not ours to see
		}
		return err
	}
	s := sequence{dir: dir}
	var below []string
	for _, item := range items {
		name := item.Name()
		switch {
		case strings.HasPrefix(name, "."):
		case item.IsDir():
			if depth < maxDepth && !isLabelFolder(name) {
				below = append(below, filepath.Join(dir, name))
			}
		case IsPicture(name) && !isLabelFile(name):
			s.files = append(s.files, name)
		}
	}
	if len(s.files) > 0 {
		slices.SortFunc(s.files, natural)
		*found = append(*found, s)
		return nil // folders beside pictures are something else: thumbnails, results
	}
	for _, b := range below {
		if err := walk(root, b, depth+1, found); err != nil {
			return err
		}
	}
	return nil
}

// natural compares names as people do: digits as numbers, so that frame9 comes
// before frame10. Equal numbers with more zeros in front come later.
func natural(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		if digit(x[0]) && digit(y[0]) {
			var n, m string
			n, x = number(x)
			m, y = number(y)
			if len(n) != len(m) {
				return len(n) - len(m)
			}
			if c := strings.Compare(n, m); c != 0 {
				return c
			}
			continue
		}
		if x[0] != y[0] {
			return int(x[0]) - int(y[0])
		}
		x, y = x[1:], y[1:]
	}
	if c := len(x) - len(y); c != 0 {
		return c
	}
	if c := len(a) - len(b); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// number cuts the digits off the front of s, without leading zeros.
func number(s string) (digits, rest string) {
	i := 0
	for i < len(s) && digit(s[i]) {
		i++
	}
	digits = strings.TrimLeft(s[:i], "0")
	return digits, s[i:]
}
