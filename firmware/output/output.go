// Package output holds what is turned on and off: GPIO lines, the kernel's LEDs and PWM
// channels.
package output

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"

	"nightseg/firmware/line"
	"nightseg/firmware/tree"
)

// Config is one output: one of Line, LED and PWM.
type Config struct {
	Line      string  `json:"line,omitempty"` // the kernel's name of a GPIO line
	ActiveLow bool    `json:"active_low,omitempty"`
	LED       string  `json:"led,omitempty"` // in /sys/class/leds
	PWM       string  `json:"pwm,omitempty"` // node of the device tree, such as pwm@32c0000
	Channel   int     `json:"channel,omitempty"`
	Hertz     float64 `json:"hertz,omitempty"`
	Most      float64 `json:"most,omitempty"` // percent that are never exceeded
}

// Output is something that is turned on and off. Close turns it off.
type Output interface {
	Set(on bool) error
	Close() error
}

// Open opens an output, which is off then.
func Open(root tree.Root, c Config) (Output, error) {
	switch {
	case c.Line != "":
		return line.OpenOutput(root, c.Line, c.ActiveLow)
	case c.LED != "":
		return openLED(root, c.LED)
	}
	return openPWM(root, c)
}

// LED is one that the kernel drives.
type LED struct {
	root tree.Root
	dir  string
	most string // brightness
}

func openLED(root tree.Root, name string) (*LED, error) {
	l := &LED{root: root, dir: path.Join("/sys/class/leds", name)}
	most, err := root.Number(path.Join(l.dir, "max_brightness"))
	if err != nil {
		return nil, fmt.Errorf("%w (see the names in /sys/class/leds)", err)
	}
	l.most = strconv.Itoa(int(most))
	// A trigger of the kernel's, such as that of the card, would write over what we set.
	if err := root.Write(path.Join(l.dir, "trigger"), "none"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return l, l.Set(false)
}

// Set implements Output.
func (l *LED) Set(on bool) error {
	word := "0"
	if on {
		word = l.most
	}
	return l.root.Write(path.Join(l.dir, "brightness"), word)
}

// Close implements Output.
func (l *LED) Close() error { return l.Set(false) }

// Dimmer is a PWM channel.
type Dimmer struct {
	root   tree.Root
	dir    string
	period float64 // ns
	most   float64 // percent
}

// pwmDir finds the folder of a channel's controller by the node of the device tree: the
// numbers of the controllers change.
func pwmDir(root tree.Root, wanted string) (string, error) {
	for _, dir := range root.Glob("/sys/class/pwm/pwmchip*") {
		uevent, err := root.Word(path.Join(dir, "device/uevent"))
		if err != nil {
			continue
		}
		for l := range strings.Lines(uevent) {
			if node, ok := strings.CutPrefix(strings.TrimSpace(l), "OF_FULLNAME="); ok && path.Base(node) == wanted {
				return dir, nil
			}
		}
	}
	return "", fmt.Errorf("no PWM controller is %s: turn the pin's function on "+
		"(Jetson: /opt/nvidia/jetson-io/jetson-io.py; Raspberry Pi: dtoverlay=pwm)", wanted)
}

func openPWM(root tree.Root, c Config) (*Dimmer, error) {
	chip, err := pwmDir(root, c.PWM)
	if err != nil {
		return nil, err
	}
	d := &Dimmer{
		root: root, dir: path.Join(chip, fmt.Sprintf("pwm%d", c.Channel)),
		period: math.Round(1e9 / c.Hertz), most: c.Most,
	}
	if !root.Exists(d.dir) {
		if err := root.Write(path.Join(chip, "export"), strconv.Itoa(c.Channel)); err != nil {
			return nil, err
		}
	}
	// The kernel refuses a period below the duty that was set before.
	for _, w := range []struct {
		file string
		ns   float64
	}{{"duty_cycle", 0}, {"period", d.period}, {"enable", 1}} {
		if err := d.write(w.file, w.ns); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *Dimmer) write(file string, v float64) error {
	return d.root.Write(path.Join(d.dir, file), strconv.FormatInt(int64(v), 10))
}

// Dim sets the share of the time that it is on; more than the description allows is an
// error.
func (d *Dimmer) Dim(percent float64) error {
	if !(percent >= 0 && percent <= d.most) {
		return fmt.Errorf("%v %% is not 0 to %v %%, the most that the description allows", percent, d.most)
	}
	return d.write("duty_cycle", math.Round(d.period*percent/100))
}

// Set implements Output; on is the most that is allowed.
func (d *Dimmer) Set(on bool) error {
	if on {
		return d.Dim(d.most)
	}
	return d.Dim(0)
}

// Close implements Output.
func (d *Dimmer) Close() error { return errors.Join(d.Dim(0), d.write("enable", 0)) }
