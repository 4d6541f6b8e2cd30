package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"nightseg/edge/frame"
	"nightseg/model"
)

// Limits of what is healthy.
const (
	leastMemoryMB = 500 // what the service may take
	leastDiskMB   = 500 // compiled networks, logs, state
	hotC          = 85  // most boards slow down a little above
)

func (d *doctor) program(context.Context) {
	d.ok("program", fmt.Sprintf("nightseg %s, %s, %s/%s",
		version(), runtime.Version(), runtime.GOOS, runtime.GOARCH))
}

// Instructions for 8-bit products, and what to do without.
var (
	fastInt8 = []string{"avx512_vnni", "avx_vnni", "amx_int8", "i8mm", "asimddp"}
	slowInt8 = []string{"avx2", "asimd"}
)

// processorText is the number of cores and the name of the processor below root.
func processorText(root fs.FS) (text string, flags []string) {
	name := ""
	for line := range strings.Lines(readWord(root, "proc/cpuinfo")) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "model name", "Model":
			name = strings.TrimSpace(value)
		case "flags", "Features":
			flags = strings.Fields(value)
		}
	}
	text = fmt.Sprintf("%d cores", runtime.NumCPU())
	if name != "" {
		text += ", " + name
	}
	return text, flags
}

func (d *doctor) processor(context.Context) {
	text, flags := processorText(d.root)
	has := func(list []string) string {
		for _, f := range list {
			if slices.Contains(flags, f) {
				return f
			}
		}
		return ""
	}
	fast, slow := has(fastInt8), has(slowInt8)
	switch {
	case fast != "":
		d.ok("processor", text+", 8-bit products by "+fast)
	case slow != "":
		d.warn("processor", text+", no instructions for 8-bit products ("+slow+" only)",
			"int8 will be little faster than fp32, and on avx2 less exact: compare with nightseg bench --precision, "+
				"calibrate with --weight-bits 7 (docs/quantisation.md), or set engine.precision: fp32")
	default:
		d.warn("processor", text+", vector instructions unknown",
			"compare int8 and fp32 with nightseg bench --precision")
	}
	governor := readWord(d.root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
	if governor == "powersave" {
		d.warn("governor", "the processor saves power: frames will be late",
			"echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")
	}
}

func (d *doctor) memory(context.Context) {
	free := memAvailableMB(d.root)
	text := fmt.Sprintf("%.0f MB free", free)
	if free < leastMemoryMB {
		d.warn("memory", text, fmt.Sprintf("the service takes up to %d MB: end other programs", leastMemoryMB))
		return
	}
	d.ok("memory", text)
}

// findCapture looks for the program that holds OpenCV: beside this one, and in
// the path.
func findCapture() string {
	if exe, err := os.Executable(); err == nil {
		name := filepath.Join(filepath.Dir(exe), "nightseg-capture")
		if unix.Access(name, unix.X_OK) == nil {
			return name
		}
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		name := filepath.Join(dir, "nightseg-capture")
		if unix.Access(name, unix.X_OK) == nil {
			return name
		}
	}
	return ""
}

func (d *doctor) capture(context.Context) {
	if name := findCapture(); name != "" {
		d.ok("capture", name)
		return
	}
	d.warn("capture", "nightseg-capture is not here: no cameras, RTSP or video files, only folders and synth://",
		"install libopencv-dev and run make build")
}

func (d *doctor) cameras(context.Context) {
	devices, _ := fs.Glob(d.root, "dev/video*") // the pattern is right
	var denied, found []string
	for _, v := range devices {
		name := "/" + v
		found = append(found, name)
		if unix.Access(name, unix.R_OK|unix.W_OK) != nil {
			denied = append(denied, name)
		}
	}
	switch {
	case len(found) == 0:
		d.ok("cameras", "no /dev/video*: use RTSP, a folder or synth://")
	case len(denied) > 0:
		d.warn("cameras", strings.Join(denied, " ")+" may not be opened by this user",
			"add the user to the group video")
	default:
		d.ok("cameras", strings.Join(found, " "))
	}
	for _, c := range d.settings.Cameras {
		name, isV4L2 := strings.CutPrefix(c.Source, "v4l2://")
		name, _, _ = strings.Cut(name, "?") // size, fps, fourcc
		if !isV4L2 || d.f.config == "" {
			continue
		}
		if _, err := fs.Stat(d.root, strings.TrimPrefix(name, "/")); err != nil {
			d.fail("camera "+c.ID, name+" is not there", "connect the camera, or change source in "+d.f.config)
		}
	}
}

func (d *doctor) clock(context.Context) {
	if frame.ClockSynced() {
		d.ok("clock", "synchronised")
		return
	}
	d.warn("clock", "not synchronised, or this user may not ask: capture times on the wall clock may be wrong",
		"install and enable chrony, or check timedatectl")
}

func (d *doctor) heat(context.Context) {
	h := readHealth(d.root, "")
	if len(h.Temperatures) == 0 {
		d.ok("temperature", "this machine tells none")
	}
	for _, zone := range sortedKeys(h.Temperatures) {
		t := h.Temperatures[zone]
		text := fmt.Sprintf("%s %.0f °C", zone, t)
		if t >= hotC {
			d.warn("temperature", text, "frames will be late when the board slows down: look after its cooling")
			continue
		}
		d.ok("temperature", text)
	}
	if h.Throttled {
		d.warn("throttling", "a cooling device slows the machine",
			"look after its cooling, or choose a smaller power mode")
	}
	supplies, _ := fs.Glob(d.root, "sys/class/power_supply/*")
	for _, s := range supplies {
		if readWord(d.root, path.Join(s, "type")) == "Mains" && readWord(d.root, path.Join(s, "online")) == "0" {
			d.warn("power", "on battery", "times measured now do not hold with mains power")
		}
	}
}

// folders checks that what must be remembered can be written.
func (d *doctor) folders(context.Context) {
	cache := d.f.CacheDir
	if cache == "" {
		cache = model.DefaultCacheDir()
	}
	state := d.settings.StateDir
	if state == "" {
		state = stateDir()
	}
	for _, f := range []struct{ name, dir, lost string }{
		{"cache", cache, "networks are compiled at each start"},
		{"state", state, "the last good settings are not remembered"},
	} {
		if err := writable(f.dir); err != nil {
			d.warn(f.name, fmt.Sprintf("%s cannot be written (%v): %s", f.dir, err, f.lost),
				"give this user the folder, or set NIGHTSEG_CACHE")
			continue
		}
		var st unix.Statfs_t
		if err := unix.Statfs(f.dir, &st); err != nil {
			d.warn(f.name, err.Error(), "")
			continue
		}
		free := float64(st.Bavail) * float64(st.Bsize) / megabyte
		text := fmt.Sprintf("%s, %.0f MB free", f.dir, free)
		if free < leastDiskMB {
			d.warn(f.name, text, "make room")
			continue
		}
		d.ok(f.name, text)
	}
}

// writable makes the folder and a file in it.
func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return err
	}
	name := f.Name()
	if err := f.Close(); err != nil {
		return err
	}
	return os.Remove(name)
}
