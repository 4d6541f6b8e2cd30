package synth

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// SourceOptions are a drive and how a Source plays it.
type SourceOptions struct {
	Params
	Frames     int  // frames until io.EOF; 0 = endless
	Repeat     bool // start again after Frames, without io.EOF
	Realtime   bool // play at Params.FPS and lose what is not fetched in time, as a camera does
	KeepLabels int  // how many of the latest frames LabelsFor can still be asked for
	LoopFrames int  // with Realtime: length of the loop that is played, 2..MaxLoop; 0 = DefaultLoop
}

// DefaultLoop is the length of a live loop in frames: five seconds at 30 frames
// per second, 138 MB at 640x480. Larger pictures shorten it: see MaxLoopBytes.
const DefaultLoop = 150

// The bounds of a live loop, in frames and in bytes. A loop that would be larger
// is cut, but not below two frames.
const (
	MaxLoop      = 10000
	MaxLoopBytes = 192 << 20
)

// queryKeys are the parameters of a synth:// URI.
var queryKeys = []string{"seed", "size", "time", "frames", "fps", "layout", "speed", "loop"}

// ParseQuery reads the query of a synth:// URI: seed, size (WxH), time,
// frames, fps, layout, speed (m/s) and loop (frames), all optional. An unknown
// key is an error that names the nearest known one.
func ParseQuery(query string) (SourceOptions, error) {
	var o SourceOptions
	values, err := url.ParseQuery(query)
	if err != nil {
		return o, fmt.Errorf("synth: query %q: %w", query, err)
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		v := values[key]
		if len(v) != 1 {
			return o, fmt.Errorf("synth: %s is given %d times", key, len(v))
		}
		if err := o.set(key, v[0]); err != nil {
			return o, fmt.Errorf("synth: %w", err)
		}
	}
	o.Params = o.withDefaults()
	if err := o.check(); err != nil {
		return o, fmt.Errorf("synth: %w", err)
	}
	return o, nil
}

func (o *SourceOptions) set(key, v string) (err error) {
	switch key {
	case "seed":
		if o.Seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			return fmt.Errorf("seed: %q is not a whole number from 0 to 2^64-1", v)
		}
	case "size":
		ws, hs, _ := strings.Cut(v, "x")
		w, errW := strconv.Atoi(ws)
		h, errH := strconv.Atoi(hs)
		if errW != nil || errH != nil || w == 0 || h == 0 {
			return fmt.Errorf("size: %q is not WIDTHxHEIGHT, such as 640x480", v)
		}
		o.W, o.H = w, h
	case "time":
		o.Time, err = choice(key, v, times)
	case "layout":
		o.Layout, err = choice(key, v, layouts)
	case "frames":
		if o.Frames, err = strconv.Atoi(v); err != nil || o.Frames < 0 {
			return fmt.Errorf("frames: %q is not a whole number from 0 (endless)", v)
		}
	case "loop":
		if o.LoopFrames, err = strconv.Atoi(v); err != nil || o.LoopFrames < 2 || o.LoopFrames > MaxLoop {
			return fmt.Errorf("loop: %q is not a whole number from 2 to %d", v, MaxLoop)
		}
	case "fps":
		o.FPS, err = positive(key, v, MaxFPS)
	case "speed":
		o.Speed, err = positive(key, v, MaxSpeed)
	default:
		return fmt.Errorf("%q is not a parameter: did you mean %s? (known: %s)",
			key, Nearest(key, queryKeys), strings.Join(queryKeys, ", "))
	}
	return err
}

func positive(key, v string, most float64) (float64, error) {
	x, err := strconv.ParseFloat(v, 64)
	if err != nil || !(x > 0 && x <= most) {
		return 0, fmt.Errorf("%s: %q is not a number above 0 and at most %g", key, v, most)
	}
	return x, nil
}

func choice(key, v string, names []string) (string, error) {
	if slices.Contains(names, v) {
		return v, nil
	}
	return "", fmt.Errorf("%s: %q is not one of %s: did you mean %s?", key, v,
		strings.Join(names, ", "), Nearest(v, names))
}

// Nearest returns the name that takes the fewest edits to become, for a message
// that names what was meant; of equal ones the first.
func Nearest(word string, names []string) string {
	word = word[:min(len(word), 32)]
	best, least := "", 0
	for _, n := range names {
		if d := edits(word, n); best == "" || d < least {
			best, least = n, d
		}
	}
	return best
}

// edits counts the bytes to insert, remove or replace between two words.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
