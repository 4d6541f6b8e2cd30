// Package settings holds the typed tree of settings: its defaults, the YAML
// file, the part that can be changed while the service runs, the checks, and
// the JSON Schema and the annotated file that are made from the same tree.
//
// The tags of a field say what it may hold: json its key, unit its unit, min and
// max its range (both inclusive), enum its values, pattern its form; help.go says
// what it means. Reading, checking, the schema and the annotated file follow them.
package settings

import (
	"fmt"
	"net/url"
	"os"
	"time"
)

// Settings is the whole tree.
type Settings struct {
	Fleet     string   `json:"fleet" pattern:"id"`
	Device    string   `json:"device" pattern:"id"`
	Bundle    string   `json:"bundle"`
	StateDir  string   `json:"state_dir"`
	Broker    Broker   `json:"broker"`
	Engine    Engine   `json:"engine"`
	Relight   Relight  `json:"relight" live:"true"`
	Reweight  Reweight `json:"reweight" live:"true"`
	Threshold float64  `json:"threshold" live:"true" min:"0" max:"0.999"`
	Codec     string   `json:"codec" live:"true" enum:"png,rle-zstd"`
	Publish   Publish  `json:"publish"`
	Spool     Spool    `json:"spool"`
	Cameras   []Camera `json:"cameras" min:"1" max:"16"`
	Stats     Stats    `json:"stats"`
	Log       Log      `json:"log"`
}

// Broker says where masks go. With an URL of "embedded" the broker runs in this
// process, with "none" nothing is published.
type Broker struct {
	URL          string   `json:"url"`
	Listen       string   `json:"listen"`
	AllowRemote  bool     `json:"allow_remote"`
	ClientID     string   `json:"client_id"`
	UsernameFile string   `json:"username_file"`
	PasswordFile string   `json:"password_file"`
	CAFile       string   `json:"ca_file"`
	CertFile     string   `json:"cert_file"`
	KeyFile      string   `json:"key_file"`
	KeepAlive    Duration `json:"keep_alive" min:"1s" max:"10m"`
}

// Engine says what runs the networks.
type Engine struct {
	Name      string `json:"name" enum:"onnxruntime,tensorflow"`
	Provider  string `json:"provider" enum:"auto,tensorrt,cuda,openvino,cpu"`
	Precision string `json:"precision" enum:"fp32,int8"`
	Threads   int    `json:"threads" min:"0" max:"256"`
	Shape     string `json:"shape" pattern:"size"`
	LibDir    string `json:"lib_dir"`
}

// Relight says how and when a frame is brightened.
type Relight struct {
	Mode   string  `json:"mode" enum:"none,gamma,clahe,network"`
	Gate   string  `json:"gate" enum:"always,dark,never"`
	Dark   float64 `json:"dark" unit:"mean luma" min:"0" max:"255"`
	Bright float64 `json:"bright" unit:"mean luma" min:"0" max:"255"`
}

// Reweight says how class probabilities are re-weighted. What is not set is
// taken from the bundle.
type Reweight struct {
	Mode string   `json:"mode" enum:"bundle,probability,logit"`
	Std  *float64 `json:"std" min:"0" max:"1"`
}

// Publish says how live masks are sent.
type Publish struct {
	QoS   int     `json:"qos" min:"0" max:"1"`
	Queue int     `json:"queue" unit:"masks" min:"1" max:"1024"`
	Rate  float64 `json:"rate" unit:"masks per second and camera" min:"0" max:"1000"`
}

// Camera is one source of frames.
type Camera struct {
	ID     string  `json:"id" pattern:"id"`
	Source string  `json:"source"`
	Fit    string  `json:"fit" enum:"bundle,stretch,crop,letterbox"`
	Rotate int     `json:"rotate" unit:"degrees clockwise" enum:"0,90,180,270"`
	FlipH  bool    `json:"flip_h"`
	FlipV  bool    `json:"flip_v"`
	Rate   float64 `json:"rate" unit:"frames per second" min:"0" max:"1000"`
	Loop   bool    `json:"loop"`
}

// Stats says how often the figures of a camera are sent.
type Stats struct {
	Interval Duration `json:"interval" min:"100ms" max:"1m"`
}

// Log says what is logged.
type Log struct {
	Level  string `json:"level" enum:"debug,info,warn,error"`
	Format string `json:"format" enum:"auto,text,journal"`
}

// Duration is a time.Duration that is written like 5s or 250ms.
type Duration time.Duration

// MarshalText writes the duration like 5s.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Default returns the factory settings: they are valid, and run where a camera
// is at /dev/video0 and a broker on this machine.
func Default() Settings {
	return Settings{
		Fleet:  "default",
		Device: hostDevice(os.Hostname),
		Broker: Broker{
			URL: "mqtt://localhost:1883", Listen: "127.0.0.1:1883", KeepAlive: Duration(5 * time.Second),
		},
		Engine:   Engine{Name: "onnxruntime", Provider: "auto", Precision: "int8"},
		Relight:  Relight{Mode: "network", Gate: "dark", Dark: 70, Bright: 85},
		Reweight: Reweight{Mode: "bundle"},
		Codec:    "png",
		Publish:  Publish{Queue: 4},
		Spool:    defaultSpool(),
		Cameras:  []Camera{defaultCamera()},
		Stats:    Stats{Interval: Duration(time.Second)},
		Log:      Log{Level: "info", Format: "auto"},
	}
}

func defaultCamera() Camera {
	return Camera{ID: "front", Source: "v4l2:///dev/video0", Fit: "bundle"}
}

// hostDevice makes an id of the host name: what an id may not hold becomes "-".
func hostDevice(hostname func() (string, error)) string {
	name, err := hostname()
	if err != nil || name == "" {
		return "device"
	}
	id := []byte(name[:min(len(name), 64)])
	for i, c := range id {
		if !isIDByte(c) {
			id[i] = '-'
		}
	}
	return string(id)
}

func isIDByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

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
	d.crossBroker(s)
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
	}
}

func (d *decoder) crossRelight(r Relight) {
	if r.Bright < r.Dark {
		d.fail(path{"relight", "bright"}, show(r.Bright),
			fmt.Sprintf("below relight.dark (%v)", r.Dark), "at least relight.dark",
			"leave a gap of 10 or more, so that relighting does not flutter")
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
