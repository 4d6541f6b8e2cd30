package settings

import (
	"fmt"
	"net/url"
	"time"
)

// Validate returns all that is wrong with the settings, as Errors.
func (s Settings) Validate() error {
	var d decoder
	d.check(s)
	return d.result()
}

// check applies the tags and the rules that concern more than one field.
func (d *decoder) check(s Settings) {
	d.checkTags(reflectOf(&s), path{})
	d.crossRelight(s.Relight)
	d.crossLux(s.Relight)
	d.crossBroker(s)
	if p := s.Probation; time.Duration(p.Most) < time.Duration(p.Seconds)*time.Second {
		d.fail(path{"probation", "most"}, time.Duration(p.Most).String(),
			fmt.Sprintf("shorter than probation.seconds (%d)", p.Seconds), "at least probation.seconds", "")
	}
	seen := map[string]int{}
	for i, c := range s.Cameras {
		at := path{"cameras", i}
		if first, ok := seen[c.ID]; ok {
			d.fail(at.key("id"), c.ID, fmt.Sprintf("cameras[%d] has this id too", first), "",
				"give each camera its own id")
		}
		seen[c.ID] = i
		if c.Source == "" {
			d.fail(at.key("source"), "", "missing", "an URI or a path", "for instance v4l2:///dev/video0")
		}
		d.crossBlank(c.Blank, at.key("blank"))
	}
}

func (d *decoder) crossBlank(list Regions, at path) {
	for i, r := range list {
		for _, f := range []struct {
			low, high string
			from, to  float64
		}{{"x0", "x1", r.X0, r.X1}, {"y0", "y1", r.Y0, r.Y1}} {
			if f.to <= f.from {
				d.fail(at.index(i).key(f.high), show(f.to), fmt.Sprintf("not above %s (%v)", f.low, f.from),
					"above "+f.low, "give fractions of the picture: 0 is left or top, 1 right or bottom")
			}
		}
	}
}

func (d *decoder) crossRelight(r Relight) {
	if r.Bright < r.Dark {
		d.fail(path{"relight", "bright"}, show(r.Bright),
			fmt.Sprintf("below relight.dark (%v)", r.Dark), "at least relight.dark",
			"leave a gap of 10 or more, so that relighting does not flutter")
	}
}

func (d *decoder) crossLux(r Relight) {
	if r.BrightLux < r.DarkLux {
		d.fail(path{"relight", "bright_lux"}, show(r.BrightLux),
			fmt.Sprintf("below relight.dark_lux (%v)", r.DarkLux), "at least relight.dark_lux",
			"leave a gap: twice or more, so that relighting does not flutter")
	}
}

func (d *decoder) crossBroker(s Settings) {
	b := s.Broker
	at := path{"broker"}
	ok, encrypted := brokerURL(b.URL)
	if !ok {
		d.fail(at.key("url"), b.URL, "no such broker", "mqtt://host:port, mqtts://host:port, embedded, none",
			"for a broker on this machine write mqtt://localhost:1883")
	}
	if !encrypted {
		for _, f := range []struct{ key, value string }{
			{"ca_file", b.CAFile}, {"cert_file", b.CertFile}, {"key_file", b.KeyFile},
		} {
			if f.value != "" {
				d.fail(at.key(f.key), f.value, "broker.url is not encrypted", "empty, or a mqtts:// URL",
					"use mqtts:// in broker.url")
			}
		}
	}
	if (b.CertFile == "") != (b.KeyFile == "") {
		d.fail(at.key("key_file"), b.KeyFile, "cert_file and key_file go together", "both or neither", "give both")
	}
	if b.PasswordFile != "" && b.UsernameFile == "" {
		d.fail(at.key("username_file"), "", "needed where password_file is set", "a file name", "give both")
	}
}

// brokerURL reports whether s names a broker, and whether that one is encrypted.
func brokerURL(s string) (ok, encrypted bool) {
	if s == "embedded" || s == "none" {
		return true, false
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		return false, false
	}
	switch u.Scheme {
	case "mqtt", "tcp":
		return true, false
	case "mqtts", "ssl":
		return true, true
	}
	return false, false
}
