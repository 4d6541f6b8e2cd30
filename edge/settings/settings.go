// Package settings holds the typed tree of settings: its defaults, the YAML
// file, the documents that change it while the service runs, the checks, the
// forms of the answers, and the JSON Schema and the annotated file that are made
// from the same tree.
//
// The tags of a field say what it may hold: json its key, unit its unit, min and
// max its range (both inclusive), enum its values, pattern its form, need that it
// has no default, live its Class; help.go says what it means. Reading, checking,
// the schema, the annotated file and the table of changes follow them.
package settings

import (
	"encoding/json"
	"os"
	"slices"
	"time"
)

// Settings is the whole tree.
type Settings struct {
	Fleet     string    `json:"fleet" pattern:"id" live:"file"`
	Device    string    `json:"device" pattern:"id" live:"file"`
	Bundle    string    `json:"bundle" live:"networks"`
	StateDir  string    `json:"state_dir" live:"file"`
	Broker    Broker    `json:"broker" live:"broker"`
	Engine    Engine    `json:"engine" live:"networks"`
	Relight   Relight   `json:"relight" live:"stage"`
	Reweight  Reweight  `json:"reweight" live:"stage"`
	Threshold float64   `json:"threshold" live:"stage" min:"0" max:"0.999"`
	Codec     string    `json:"codec" live:"stage" enum:"png,rle-zstd"`
	Publish   Publish   `json:"publish" live:"stage"`
	Spool     Spool     `json:"spool" live:"file"`
	Cameras   []Camera  `json:"cameras" live:"camera" min:"1" max:"16"`
	Stats     Stats     `json:"stats" live:"stage"`
	Log       Log       `json:"log" live:"service"`
	Probation Probation `json:"probation" live:"service"`
	Board     Board     `json:"board" live:"service"`
}

// Broker says where masks go. With an URL of "embedded" the broker runs in this
// process, with "none" nothing is published.
type Broker struct {
	URL          string   `json:"url"`
	Listen       string   `json:"listen" live:"file"`
	AllowRemote  bool     `json:"allow_remote" live:"file"`
	ClientID     string   `json:"client_id"`
	UsernameFile string   `json:"username_file"`
	PasswordFile string   `json:"password_file"`
	CAFile       string   `json:"ca_file"`
	CertFile     string   `json:"cert_file"`
	KeyFile      string   `json:"key_file"`
	KeepAlive    Duration `json:"keep_alive" min:"1s" max:"10m"`
	Trial        Duration `json:"trial" live:"service" min:"1s" max:"10m"`
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
	Mode   string  `json:"mode" enum:"bundle,none,gamma,clahe,network"`
	Gate   string  `json:"gate" enum:"always,dark,never"`
	Dark   float64 `json:"dark" unit:"mean luma" min:"0" max:"255"`
	Bright float64 `json:"bright" unit:"mean luma" min:"0" max:"255"`

	DarkLux   float64  `json:"dark_lux" unit:"lux" min:"0" max:"100000"`
	BrightLux float64  `json:"bright_lux" unit:"lux" min:"0" max:"100000"`
	Doubt     Duration `json:"doubt" min:"0s" max:"1h"`
}

// Reweight says how class probabilities are re-weighted. What is not set is
// taken from the bundle.
type Reweight struct {
	Mode string   `json:"mode" enum:"bundle,probability,logit"`
	Std  *float64 `json:"std" min:"0" max:"1"`
}

// Publish says how live masks are sent.
type Publish struct {
	QoS   int     `json:"qos" live:"file" min:"0" max:"1"`
	Queue int     `json:"queue" live:"file" unit:"masks" min:"1" max:"1024"`
	Rate  float64 `json:"rate" unit:"masks per second and camera" min:"0" max:"1000"`
}

// Camera is one source of frames.
type Camera struct {
	ID     string  `json:"id" need:"true" pattern:"id"`
	Source string  `json:"source" need:"true"`
	Fit    string  `json:"fit" enum:"bundle,stretch,crop,letterbox"`
	Rotate int     `json:"rotate" unit:"degrees clockwise" enum:"0,90,180,270"`
	FlipH  bool    `json:"flip_h"`
	FlipV  bool    `json:"flip_v"`
	Rate   float64 `json:"rate" unit:"frames per second" min:"0" max:"1000"`
	Loop   bool    `json:"loop"`
	Blank  Regions `json:"blank" live:"stage" min:"0" max:"16"`
	Night  Night   `json:"night" live:"stage"`
}

// Region is a rectangle in fractions of a camera's picture, from its top left.
type Region struct {
	X0 float64 `json:"x0" need:"true" min:"0" max:"1"`
	Y0 float64 `json:"y0" need:"true" min:"0" max:"1"`
	X1 float64 `json:"x1" need:"true" min:"0" max:"1"`
	Y1 float64 `json:"y1" need:"true" min:"0" max:"1"`
}

// Regions are parts of a picture.
type Regions []Region

// MarshalJSON writes no regions as an empty list.
func (r Regions) MarshalJSON() ([]byte, error) {
	if len(r) == 0 {
		return []byte("[]"), nil
	}
	return json.Marshal([]Region(r))
}

// Stats says how often the figures of a camera are sent.
type Stats struct {
	Interval Duration `json:"interval" min:"100ms" max:"1m"`
}

// Log says what is logged.
type Log struct {
	Level  string `json:"level" live:"stage" enum:"debug,info,warn,error"`
	Format string `json:"format" enum:"auto,text,journal"`
}

// Probation says how long new settings are on trial.
type Probation struct {
	Seconds int      `json:"seconds" unit:"seconds" min:"1" max:"60"`
	Frames  int      `json:"frames" unit:"frames of each camera" min:"1" max:"1000"`
	Most    Duration `json:"most" min:"5s" max:"10m"`
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
			Trial: Duration(20 * time.Second),
		},
		Engine:    Engine{Name: "onnxruntime", Provider: "auto", Precision: "int8"},
		Relight:   defaultRelight(),
		Reweight:  Reweight{Mode: "bundle"},
		Codec:     "png",
		Publish:   Publish{Queue: 4},
		Spool:     defaultSpool(),
		Cameras:   []Camera{defaultCamera()},
		Stats:     Stats{Interval: Duration(time.Second)},
		Log:       Log{Level: "info", Format: "auto"},
		Probation: Probation{Seconds: 5, Frames: 30, Most: Duration(30 * time.Second)},
		Board:     defaultBoard(),
	}
}

func defaultCamera() Camera {
	return Camera{ID: "front", Source: "v4l2:///dev/video0", Fit: "bundle", Night: DefaultNight()}
}

func defaultRelight() Relight {
	return Relight{
		Mode: "bundle", Gate: "dark", Dark: 70, Bright: 85, DarkLux: 50, BrightLux: 200, Doubt: Duration(time.Minute),
	}
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

// Clone returns a copy that shares nothing with s.
func (s Settings) Clone() Settings {
	if s.Reweight.Std != nil {
		std := *s.Reweight.Std
		s.Reweight.Std = &std
	}
	s.Cameras = slices.Clone(s.Cameras)
	for i := range s.Cameras {
		s.Cameras[i].Blank = slices.Clone(s.Cameras[i].Blank)
	}
	return s
}
