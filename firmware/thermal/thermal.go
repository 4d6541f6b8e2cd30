// Package thermal holds what a board tells of its heat in /sys: temperatures, cooling at
// work, clocks and load, and counters of throttling and over-current.
package thermal

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"nightseg/firmware/tree"
)

// Temperatures outside are of a sensor that is off or a stand-in: the PMIC of some
// Jetsons always says 100 °C, and is not to be named; a zone that is off says -256 °C.
const (
	coldest = -60
	hottest = 150
)

// ErrOff is the error of a zone whose sensor is off.
var ErrOff = errors.New("the sensor is off, or its part of the chip is")

// Clock is where a clock and the load of its part are read: one of the two.
type Clock struct {
	Devfreq string `yaml:"devfreq"` // name in /sys/class/devfreq, such as 17000000.gpu
	CPU     string `yaml:"cpu"`     // name in /sys/devices/system/cpu, such as cpu0
}

// Counter is a file with a number that rises, such as that of over-current events.
type Counter struct {
	Hwmon string `yaml:"hwmon"` // name of the driver in /sys/class/hwmon, with File
	File  string `yaml:"file"`
	Path  string `yaml:"path"` // or the whole path
	Sheds bool   `yaml:"sheds"`
}

// Config says what there is to read, by names of our own.
type Config struct {
	Zones    map[string]string // types of thermal zones, such as tj-thermal
	Clocks   map[string]Clock
	Counters map[string]Counter
}

// Pace is how fast a part runs.
type Pace struct {
	MHz     float64  `json:"mhz"`
	MaxMHz  float64  `json:"max_mhz"`
	Percent *float64 `json:"load_percent,omitempty"` // where the board tells it
}

// Snapshot is what was read at one time. What could not be read is in Problems, by name.
type Snapshot struct {
	Celsius  map[string]float64 `json:"celsius"`
	Cooling  map[string]int     `json:"cooling"` // cooling devices at work other than fans: the board is slowed down
	Clocks   map[string]Pace    `json:"clocks,omitempty"`
	Counters map[string]uint64  `json:"counters,omitempty"`
	Problems map[string]string  `json:"problems,omitempty"`
}

// Reader reads the files of a board. It is used by one goroutine.
type Reader struct {
	root  tree.Root
	c     Config
	zones map[string]string // folder by type
}

// New makes a reader. It opens nothing.
func New(root tree.Root, c Config) *Reader {
	return &Reader{root: root, c: c, zones: map[string]string{}}
}

// find looks for the zones: they do not change, but a driver may come late.
func (r *Reader) find() {
	for _, dir := range r.root.Glob("/sys/class/thermal/thermal_zone*") {
		kind, err := r.root.Word(path.Join(dir, "type"))
		if _, known := r.zones[kind]; err == nil && !known {
			r.zones[kind] = dir
		}
	}
}

// Zone reads the temperature of a zone by its type.
func (r *Reader) Zone(kind string) (celsius float64, err error) {
	if _, known := r.zones[kind]; !known {
		r.find()
	}
	dir, ok := r.zones[kind]
	if !ok {
		return 0, fmt.Errorf("no thermal zone has the type %q: see /sys/class/thermal/thermal_zone*/type", kind)
	}
	name := path.Join(dir, "temp")
	w, err := r.root.Word(name)
	if err != nil || w == "" { // EAGAIN, or nothing, where a part of the chip is without power
		return 0, fmt.Errorf("%s: %w", name, errors.Join(ErrOff, err))
	}
	milli, err := r.root.Number(name)
	if err != nil {
		return 0, err
	}
	if c := milli / 1000; c > coldest && c < hottest {
		return c, nil
	}
	return 0, fmt.Errorf("%s: %v: %w", name, milli, ErrOff)
}

// Clock reads a clock.
func (r *Reader) Clock(c Clock) (Pace, error) {
	if c.CPU != "" {
		dir := path.Join("/sys/devices/system/cpu", c.CPU, "cpufreq")
		return r.pace(path.Join(dir, "scaling_cur_freq"), path.Join(dir, "cpuinfo_max_freq"), 1e3)
	}
	dir := path.Join("/sys/class/devfreq", c.Devfreq)
	p, err := r.pace(path.Join(dir, "cur_freq"), path.Join(dir, "max_freq"), 1e6)
	if err != nil {
		return p, err
	}
	if load, err := r.root.Number(path.Join(dir, "device/load")); err == nil { // Tegra: in thousandths
		percent := load / 10
		p.Percent = &percent
	}
	return p, nil
}

func (r *Reader) pace(now, limit string, perMHz float64) (Pace, error) {
	v, err := r.root.Number(now)
	if err != nil {
		return Pace{}, err
	}
	top, err := r.root.Number(limit)
	return Pace{MHz: v / perMHz, MaxMHz: top / perMHz}, err
}

// Counter reads a counter.
func (r *Reader) Counter(c Counter) (uint64, error) {
	name := c.Path
	if name == "" {
		dirs := r.root.Hwmon(c.Hwmon)
		if len(dirs) == 0 {
			return 0, fmt.Errorf("no sensor in /sys/class/hwmon has the name %q", c.Hwmon)
		}
		name = path.Join(dirs[0], c.File)
	}
	v, err := r.root.Number(name)
	if err == nil && v < 0 {
		err = fmt.Errorf("%s: %v is no count", name, v)
	}
	if err != nil {
		return 0, err
	}
	return uint64(v), nil
}

// cooling lists the cooling devices at work that slow the board down.
func (r *Reader) cooling() map[string]int {
	at := map[string]int{}
	for _, dir := range r.root.Glob("/sys/class/thermal/cooling_device*") {
		kind, err := r.root.Word(path.Join(dir, "type"))
		if err != nil || strings.Contains(strings.ToLower(kind), "fan") {
			continue
		}
		state, err := r.root.Number(path.Join(dir, "cur_state")) // intel_powerclamp says -1 where it is off
		if err == nil && state > 0 {
			at[kind] = max(at[kind], int(state))
		}
	}
	return at
}

// Read reads all that is configured.
func (r *Reader) Read() Snapshot {
	s := Snapshot{
		Celsius: map[string]float64{}, Cooling: r.cooling(),
		Clocks: map[string]Pace{}, Counters: map[string]uint64{}, Problems: map[string]string{},
	}
	gather(s.Celsius, r.c.Zones, s.Problems, "zone ", r.Zone)
	gather(s.Clocks, r.c.Clocks, s.Problems, "clock ", r.Clock)
	gather(s.Counters, r.c.Counters, s.Problems, "counter ", r.Counter)
	return s
}

func gather[C, V any](to map[string]V, from map[string]C, bad map[string]string, kind string, read func(C) (V, error)) {
	for name, c := range from {
		v, err := read(c)
		if err != nil {
			bad[kind+name] = err.Error()
			continue
		}
		to[name] = v
	}
}
