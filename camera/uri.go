package camera

import (
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"nightseg/camera/capture"
	"nightseg/camera/capture/ring"
	"nightseg/camera/synth"
)

// The kinds of a source that no capture process is needed for, beside those of
// package ring. kindPath is a path that is not looked at yet.
const (
	kindPath   = "path"
	kindImages = "images"
	kindSynth  = "synth"
)

// schemes are the words before ://, with an example of each.
var schemes = [...]struct{ name, example string }{
	{"v4l2", "v4l2:///dev/video0"},
	{"csi", "csi://0"},
	{"rtsp", "rtsp://host/stream"},
	{"rtsps", "rtsps://host/stream"},
	{"synth", "synth://?seed=1"},
	{"file", "file:///recordings/drive.mp4"},
}

// target is a source that was understood.
type target struct {
	kind    string
	address string // path, device, sensor number or URL
	query   string // of synth
	w, h    int    // to ask of a camera, 0: its own
	fps     float64
	fourCC  string // pixel format to ask of a V4L2 camera
}

// Check returns why a source cannot be opened, as far as its name tells.
func Check(source string) error {
	_, err := parse(source)
	return err
}

// parse reads a source: a URI, or a path where there is no "://" in it. It does
// not look at the disk.
func parse(source string) (target, error) {
	if source == "" {
		return target{}, fmt.Errorf("no source is given; %s", known())
	}
	if strings.ContainsRune(source, 0) {
		return target{}, fmt.Errorf("source %q has a zero byte", source)
	}
	word, rest, found := strings.Cut(source, "://")
	if !found || strings.ContainsAny(word, "/.") {
		return parsePath(source)
	}
	switch scheme := strings.ToLower(word); scheme {
	case "synth":
		return parseSynth(rest)
	case "v4l2", "csi":
		return parseDevice(scheme, rest)
	case "rtsp", "rtsps":
		if host := hostOf(rest); host == "" || host[0] == ':' {
			return target{}, fmt.Errorf("source %s names no host: write %s", Redact(source), example(scheme))
		}
		return target{kind: ring.KindRTSP, address: scheme + "://" + rest}, nil
	case "file":
		path, err := url.PathUnescape(rest)
		if err != nil || !strings.HasPrefix(path, "/") {
			return target{}, fmt.Errorf("source %s: write file:///absolute/path, with %%25 for a percent sign", source)
		}
		return parsePath(path)
	default:
		return target{}, fmt.Errorf("source %s: unknown kind %q; did you mean %s? %s",
			Redact(source), scheme, example(nearestScheme(scheme)), known())
	}
}

// Device returns the device file of a V4L2 camera; ok is false for other sources.
func Device(source string) (path string, ok bool) {
	t, err := parse(source)
	if err != nil {
		return "", false
	}
	if t.kind == ring.KindV4L2 || t.kind == kindPath && strings.HasPrefix(t.address, "/dev/") {
		return t.address, true
	}
	return "", false
}

// hostOf returns host and port of what comes after ://.
func hostOf(rest string) string {
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	return rest[strings.LastIndexByte(rest, '@')+1:]
}

// parsePath takes a path. A word such as synth:?seed=1 is more likely a URI
// with its slashes forgotten.
func parsePath(source string) (target, error) {
	if scheme, _, found := strings.Cut(source, ":"); found {
		for _, s := range schemes {
			if strings.EqualFold(scheme, s.name) {
				return target{}, fmt.Errorf("source %s: write %s, or ./%s for a file of that name",
					Redact(source), s.example, Redact(source))
			}
		}
	}
	if strings.EqualFold(filepath.Ext(source), ".mcap") {
		return target{}, fmt.Errorf("source %s: .mcap recordings cannot be read; "+
			"write their pictures to a folder or a video file", source)
	}
	return target{kind: kindPath, address: source}, nil
}

func parseSynth(rest string) (target, error) {
	before, query, _ := strings.Cut(rest, "?")
	if before != "" {
		return target{}, fmt.Errorf("source synth://%s: parameters come after a question mark: synth://?seed=1", rest)
	}
	return target{kind: kindSynth, query: query}, nil
}

// maxSide bounds the size that is asked of a camera; maxSensor the number of a
// CSI sensor; maxAskedRate the rate.
const (
	maxSide      = 1 << 14
	maxSensor    = 63
	maxAskedRate = 1000
)

func parseDevice(scheme, rest string) (target, error) {
	source := scheme + "://" + rest
	at, query, _ := strings.Cut(rest, "?")
	t := target{kind: scheme, address: at}
	if scheme == ring.KindV4L2 && (!strings.HasPrefix(at, "/") || len(at) < 2) {
		return target{}, fmt.Errorf("source %s: write the whole path of the device: %s", source, example(scheme))
	}
	if scheme == ring.KindCSI {
		n, err := strconv.ParseUint(at, 10, 16)
		if err != nil || n > maxSensor {
			return target{}, fmt.Errorf("source %s: write the number of the sensor, 0 to %d: %s",
				source, maxSensor, example(scheme))
		}
		t.address = strconv.FormatUint(n, 10)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return target{}, fmt.Errorf("source %s: %w", source, err)
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		v := values[key]
		if len(v) != 1 {
			return target{}, fmt.Errorf("source %s: %s is given %d times", source, key, len(v))
		}
		if err := t.ask(key, v[0]); err != nil {
			return target{}, fmt.Errorf("source %s: %w", source, err)
		}
	}
	return t, nil
}

// ask takes a parameter of a device.
func (t *target) ask(key, v string) error {
	switch {
	case key == "size":
		ws, hs, _ := strings.Cut(v, "x")
		w, errW := strconv.ParseUint(ws, 10, 31)
		h, errH := strconv.ParseUint(hs, 10, 31)
		if errW != nil || errH != nil || w == 0 || h == 0 || w > maxSide || h > maxSide {
			return fmt.Errorf("size: %q is not WIDTHxHEIGHT, such as 1280x720", v)
		}
		t.w, t.h = int(w), int(h)
	case key == "fps":
		fps, err := strconv.ParseFloat(v, 64)
		if err != nil || !(fps > 0 && fps <= maxAskedRate) {
			return fmt.Errorf("fps: %q is not a number above 0 and at most %d", v, maxAskedRate)
		}
		t.fps = fps
	case key == "fourcc" && t.kind == ring.KindV4L2:
		if len(v) != 4 {
			return fmt.Errorf("fourcc: %q is not a pixel format of four letters, such as MJPG", v)
		}
		t.fourCC = v
	default:
		return fmt.Errorf("%q is not a parameter (known: size, fps, and fourcc of v4l2)", key)
	}
	return nil
}

// Redact hides in a source what its reader must not learn: user and password of
// a URI, and the values of parameters that are named like them.
func Redact(source string) string { return capture.Redact(source) }

func known() string {
	var b strings.Builder
	b.WriteString("known: a folder of images, an image, a video file")
	for _, s := range schemes {
		b.WriteString(", " + s.example)
	}
	return b.String()
}

func example(scheme string) string {
	i := slices.IndexFunc(schemes[:], func(s struct{ name, example string }) bool { return s.name == scheme })
	return schemes[max(i, 0)].example
}

// nearestScheme returns the known scheme that takes the fewest edits.
func nearestScheme(word string) string {
	names := make([]string, len(schemes))
	for i, s := range schemes {
		names[i] = s.name
	}
	return synth.Nearest(word, names)
}
