package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"nightseg/calibrate/shares"
	"nightseg/edge/frame"
)

// labelled is a label picture: a class id or 255 per pixel, rows from the top.
type labelled struct {
	w, h int
	ids  []uint8
}

// labelReader finds the label of a picture and reads it.
type labelReader struct {
	dir     string
	classes int
	table   [256]uint8 // from the file's ids to classes
}

func newLabelReader(dir, mapFile string, classes []string) (*labelReader, error) {
	r := &labelReader{dir: dir, classes: len(classes)}
	if mapFile == "" {
		for i := range r.table {
			r.table[i] = uint8(i)
		}
		return r, nil
	}
	doc, err := os.ReadFile(mapFile)
	if err != nil {
		return nil, usage(err)
	}
	if r.table, err = parseMap(doc, classes); err != nil {
		return nil, usage(fmt.Errorf("--map %s: %w", mapFile, err))
	}
	return r, nil
}

// parseMap reads a JSON object from label ids to class names or ids. Ids that
// it does not name become 255.
func parseMap(doc []byte, classes []string) (table [256]uint8, err error) {
	for i := range table {
		table[i] = frame.Unknown
	}
	var m map[string]any
	if err := json.Unmarshal(doc, &m); err != nil {
		return table, err
	}
	for key, v := range m {
		id, err := strconv.ParseUint(key, 10, 8)
		if err != nil {
			return table, fmt.Errorf("%q is not a label id, 0 to 255", key)
		}
		switch v := v.(type) {
		case string:
			k := slices.Index(classes, v)
			if k < 0 {
				return table, fmt.Errorf("label %s: no class %q; there are %s", key, v, strings.Join(classes, ", "))
			}
			table[id] = uint8(k)
		case float64:
			if v != float64(int(v)) || v < 0 || int(v) >= len(classes) && v != frame.Unknown {
				return table, fmt.Errorf("label %s: %g is neither a class id nor 255", key, v)
			}
			table[id] = uint8(v)
		default:
			return table, fmt.Errorf("label %s: give a class name or id", key)
		}
	}
	return table, nil
}

// labelNames are the names that the label of a picture may have: its own, and
// those of Dark Zurich and Cityscapes.
func labelNames(picture string) []string {
	stem := strings.TrimSuffix(picture, path.Ext(picture))
	names := []string{stem + ".png"}
	for _, v := range [][2]string{
		{"_rgb_anon", "_gt_labelTrainIds"}, {"_leftImg8bit", "_gtFine_labelTrainIds"},
	} {
		if s, ok := strings.CutSuffix(stem, v[0]); ok {
			names = append(names, s+v[1]+".png")
		}
	}
	return names
}

// read returns the label of the picture of that name.
func (r *labelReader) read(picture string) (*labelled, error) {
	names := labelNames(filepath.ToSlash(picture))
	for _, n := range names {
		for _, place := range []string{n, path.Base(n)} {
			name := filepath.Join(r.dir, filepath.FromSlash(place))
			b, err := os.ReadFile(name)
			if os.IsNotExist(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			l, err := r.parse(b)
			if err != nil {
				return nil, fmt.Errorf("label %s: %w", name, err)
			}
			return l, nil
		}
	}
	return nil, fmt.Errorf("picture %s has no label in %s (looked for %s)", picture, r.dir,
		strings.Join(names, ", "))
}

// parse reads a PNG of ids: 8-bit grey, or the indices of a palette.
func (r *labelReader) parse(b []byte) (*labelled, error) {
	ids, size, err := shares.DecodeIDs(b)
	if err != nil {
		return nil, err
	}
	for i, v := range ids {
		k := r.table[v]
		if int(k) >= r.classes && k != frame.Unknown {
			return nil, fmt.Errorf("id %d at %d, %d is no class of the bundle, which has %d: use --map",
				v, i%size.X, i/size.X, r.classes)
		}
		ids[i] = k
	}
	return &labelled{w: size.X, h: size.Y, ids: ids}, nil
}
