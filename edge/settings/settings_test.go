package settings

import (
	"bytes"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the generated files instead of comparing them")

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	got, err := Parse(nil)
	if err != nil || !reflect.DeepEqual(got, Default()) {
		t.Errorf("an empty file is not the factory settings: %v", err)
	}
}

func TestEveryKeyIsExplained(t *testing.T) {
	keys := map[string]bool{}
	var walk func(reflect.Type, string)
	walk = func(typ reflect.Type, at string) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			name := join(at, f.Tag.Get("json"))
			keys[name] = true
			if help[name] == "" {
				t.Errorf("%s has no help", name)
			}
			switch {
			case f.Type.Kind() == reflect.Struct:
				walk(f.Type, name)
			case f.Type.Kind() == reflect.Slice:
				walk(f.Type.Elem(), name)
			}
		}
	}
	walk(reflect.TypeFor[Settings](), "")
	for name := range help {
		if !keys[name] {
			t.Errorf("help for %s, which is no key", name)
		}
	}
}

// example is what the annotated file in docs shows.
func example() Settings {
	s := Default()
	s.Fleet, s.Device = "demo", "car1"
	s.Cameras = []Camera{
		{ID: "front", Source: "v4l2:///dev/video0", Fit: "bundle", Rate: 30, Night: DefaultNight()},
		{
			ID: "rear", Source: "rtsp://192.168.0.20/stream", Fit: "bundle", Rotate: 180,
			Blank: Regions{{X0: 0, Y0: 0.9, X1: 1, Y1: 1}}, Night: DefaultNight(),
		},
	}
	return s
}

func TestExampleFile(t *testing.T) {
	name := filepath.Join("..", "..", "docs", "nightseg.example.yaml")
	head := "# Settings of nightseg, with every key. Leave out what should stay as it is from the factory.\n" +
		"# Check a file with: nightseg config check FILE\n" +
		"# Made by: go test ./edge/settings -run TestExampleFile -update\n"
	want := append([]byte(head), example().YAML(true)...)
	if *update {
		if err := os.WriteFile(name, want, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/nightseg.example.yaml is not what the tree says: run the test with -update")
	}
	s, err := Parse(got)
	if err != nil || !reflect.DeepEqual(s, example()) {
		t.Errorf("the example does not read back: %v\n%+v", err, s)
	}
	if bases, _, err := Load(name, ""); err != nil || bases[0].Source != FromFile || bases[0].Settings.Device != "car1" {
		t.Errorf("Load: %v, %v", sources(bases), err)
	}
}

func TestYAMLReadsBack(t *testing.T) {
	std := 0.16
	s := example()
	s.Reweight.Std = &std
	s.Broker = Broker{
		URL: "mqtts://broker.example:8883", Listen: "127.0.0.1:0", CAFile: "a: b # c.pem", ClientID: "\"x\"\\é",
		UsernameFile: "yes", PasswordFile: "- no", KeepAlive: Duration(1500 * time.Millisecond),
		Trial: Duration(time.Minute),
	}
	s.Threshold, s.StateDir, s.Bundle = 0.25, "C:\\x y", "true"
	for _, notes := range []bool{false, true} {
		got, err := Parse(s.YAML(notes))
		if err != nil {
			t.Fatalf("notes %v: %v\n%s", notes, err, s.YAML(notes))
		}
		if !reflect.DeepEqual(got, s) {
			t.Errorf("notes %v: got %+v\nwant %+v", notes, got, s)
		}
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	tests := []struct{ name, yaml, want string }{
		{"near key", "relight:\n  gaet: dark\n", `line 2: relight.gaet: unknown key; did you mean "gate"?`},
		{"near key at the top", "fleett: x\n", `line 1: fleett: unknown key; did you mean "fleet"?`},
		{"key of another group", "std: 0.1\n", `line 1: std: unknown key; did you mean reweight.std?`},
		{"key of the document", "relight:\n  codec: png\n", "line 2: relight.codec: unknown key; " +
			"did you mean the key codec of the document itself?"},
		{"strange key", "relight:\n  zzzzzz: 1\n", "line 2: relight.zzzzzz: unknown key; " +
			"known keys: mode, gate, dark, bright, dark_lux, bright_lux, doubt"},
		{
			"near value", "\n\ncodec: pgn\n",
			`line 3: codec: no such value: "pgn"; allowed: png, rle-zstd; did you mean "png"?`,
		},
		{"range", "threshold: 1.5\n", `line 1: threshold: out of range: "1.5"; allowed: 0 to 0.999`},
		{
			"range with unit", "relight: {dark: -1}\n",
			`relight.dark: out of range: "-1"; allowed: 0 to 255 mean luma`,
		},
		{"not a number", "threshold: high\n", `threshold: not a number: "high"; allowed: 0 to 0.999`},
		{"infinite", "threshold: .inf\n", `threshold: not a number: ".inf"`},
		{"whole number", "publish:\n  queue: 2.5\n", `line 2: publish.queue: not a whole number: "2.5"`},
		{
			"no bool", "broker:\n  allow_remote: yes\n",
			`broker.allow_remote: not true or false but a text: "yes"; allowed: true, false`,
		},
		{
			"number for a text", "fleet: 7\n",
			`fleet: not a text but a number: "7"; allowed: 1 to 64 of A-Z a-z 0-9 _ -; put it in quotes`,
		},
		{"duration", "stats: {interval: 5}\n", `stats.interval: no duration: "5"; allowed: 100ms to 1m; ` +
			"write a number with a unit, like 5s or 250ms"},
		{
			"duration range", "stats: {interval: 2h}\n",
			`stats.interval: out of range: "2h0m0s"; allowed: 100ms to 1m`,
		},
		{
			"rotate", "cameras: [{id: a, source: b, rotate: 45}]\n",
			`cameras[0].rotate: no such value: "45"; allowed: 0, 90, 180, 270`,
		},
		{"id", "device: a/b\n", `device: no id: "a/b"; allowed: 1 to 64 of A-Z a-z 0-9 _ -`},
		{
			"no list", "cameras: 3\n",
			`cameras: not a list but a number: "3"; allowed: a list; begin each entry with a dash`,
		},
		{"no camera", "cameras: []\n", `cameras: wrong number of entries: "0"; allowed: 1 to 16 entries`},
		{
			"camera without source", "cameras:\n  - id: a\n",
			"cameras[0].source: missing; allowed: an URI or a path",
		},
		{
			"two cameras of one id", "cameras:\n  - {id: a, source: x}\n  - {id: a, source: y}\n",
			`line 3: cameras[1].id: cameras[0] has this id too: "a"`,
		},
		{
			"no group", "relight: dark\n",
			`relight: not a group of keys but a text: "dark"; allowed: the keys mode, gate`,
		},
		{"twice", "codec: png\ncodec: png\n", "codec"},
		{
			"bright below dark", "relight: {dark: 90, bright: 80}\n",
			`relight.bright: below relight.dark (90): "80"`,
		},
		{
			"day below night", "relight: {dark_lux: 300}\n",
			`relight.bright_lux: below relight.dark_lux (300): "200"`,
		},
		{
			"exposure", "cameras: [{id: a, source: b, night: {exposure: 0}}]\n",
			`cameras[0].night.exposure: out of range: "0"; allowed: 0.1 to 1000 ms`,
		},
		{"lamp", "board: {lamp: {level: 0}}\n", `board.lamp.level: out of range: "0"; allowed: 0.01 to 1 of`},
		{"url", "broker: {url: http://x}\n", `broker.url: no such broker: "http://x"`},
		{
			"ca without tls", "broker: {ca_file: x.pem}\n",
			`broker.ca_file: broker.url is not encrypted: "x.pem"`,
		},
		{
			"key without cert", "broker: {url: mqtts://x, key_file: k}\n",
			"broker.key_file: cert_file and key_file go together",
		},
		{
			"password alone", "broker: {password_file: p}\n",
			"broker.username_file: needed where password_file is set",
		},
		{
			"region upside down", "cameras: [{id: a, source: b, blank: [{x0: 0, y0: 0.5, x1: 1, y1: 0.5}]}]\n",
			`cameras[0].blank[0].y1: not above y0 (0.5): "0.5"; allowed: above y0`,
		},
		{
			"region without an edge", "cameras: [{id: a, source: b, blank: [{x0: 0, y0: 0, x1: 1}]}]\n",
			"cameras[0].blank[0].y1: missing; allowed: 0 to 1",
		},
		{
			"region outside", "cameras: [{id: a, source: b, blank: [{x0: -1, y0: 0, x1: 1, y1: 1}]}]\n",
			`cameras[0].blank[0].x0: out of range: "-1"; allowed: 0 to 1`,
		},
		{
			"probation without time", "probation: {seconds: 60}\n",
			`probation.most: shorter than probation.seconds (60): "30s"`,
		},
		{"long text", "bundle: " + strings.Repeat("x", 2000) + "\n", "bundle: too long"},
		{"secret", "codec: rtsp://me:word@host/\n", `codec: no such value: "rtsp://***@host/"`},
		{"no YAML", "a: [1\nb: 2\n", "no YAML"},
		{"two documents", "codec: png\n---\ncodec: png\n", "more than one document"},
		{"a list", "- 1\n", "not a group of keys but a list"},
		{
			"anchor", "relight: &a {mode: none}\n",
			"relight: not a group of keys but something that settings do not use",
		},
		{"too deep", strings.Repeat("[", 5000), "nested too deeply"},
		{"too long", "#" + strings.Repeat(" ", maxDocument), "above the limit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(tt.yaml))
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestParseNamesAllErrorsAtOnce(t *testing.T) {
	_, err := Parse([]byte("codec: gif\nrelight:\n  mode: magic\n  dark: 300\ncolour: red\n"))
	var errs Errors
	if !errors.As(err, &errs) {
		t.Fatalf("got %v", err)
	}
	var got []string
	for i := range errs {
		got = append(got, errs[i].Pointer)
	}
	want := []string{"/codec", "/relight/mode", "/relight/dark", "/colour"}
	// relight.bright (85) is below dark (300), too: the reader should hear of it.
	want = append(want[:3:3], append([]string{"/relight/bright"}, want[3:]...)...)
	sortStrings(got, want)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func sortStrings(lists ...[]string) {
	for _, l := range lists {
		for i := range l {
			for j := i; j > 0 && l[j] < l[j-1]; j-- {
				l[j], l[j-1] = l[j-1], l[j]
			}
		}
	}
}

func TestValidateChecksWhatNoFileCanHold(t *testing.T) {
	s := Default()
	s.Threshold = math.NaN()
	s.Relight.Dark = math.NaN()
	s.Cameras = nil
	err := s.Validate()
	wants := []string{"threshold: out of range", "relight.dark: out of range", "cameras: wrong number"}
	for _, want := range wants {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestHostDevice(t *testing.T) {
	hosts := map[string]string{"car-1": "car-1", "car.lan": "car-lan", "": "device", "\u00e9": "--"}
	for in, want := range hosts {
		if got := hostDevice(func() (string, error) { return in, nil }); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	long := hostDevice(func() (string, error) { return strings.Repeat("x", 200), nil })
	if !isID(long) {
		t.Errorf("%q is no id", long)
	}
}

// changeWords say in the key table how a key can be changed.
var changeWords = map[Class]string{
	ClassStage: "between two frames", ClassNetworks: "networks", ClassCamera: "camera", ClassBroker: "broker",
	ClassService: "yes", ClassFile: "no",
}

// keyTable is the table of docs/settings.md.
func keyTable() string {
	var b strings.Builder
	b.WriteString("| key | meaning | allowed | factory | over MQTT |\n|---|---|---|---|---|\n")
	factory := Default()
	factory.Device = "the host name"
	var walk func(reflect.Value, string, Class)
	walk = func(v reflect.Value, at string, group Class) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name, value, class := join(at, f.Tag.Get("json")), v.Field(i), classOf(f.Tag, group)
			if value.Kind() == reflect.Struct {
				walk(value, name, class)
				continue
			}
			def := ""
			if value.Kind() != reflect.Slice && !strings.HasPrefix(at, "cameras") {
				def = "`" + yamlScalar(value) + "`"
			}
			b.WriteString("| `" + name + "` | " + help[name] + " | " + allowed(value, f.Tag) + " | " + def + " | " +
				changeWords[class] + " |\n")
			if value.Kind() == reflect.Slice {
				walk(reflect.New(value.Type().Elem()).Elem(), name, class)
			}
		}
	}
	walk(reflectOf(&factory), "", "")
	return b.String()
}

func TestKeyTable(t *testing.T) {
	name := filepath.Join("..", "..", "docs", "settings.md")
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- keys -->\n", "<!-- end of keys -->"
	before, rest, ok := strings.Cut(string(got), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("docs/settings.md has lost the marks of its table")
	}
	want := before + begin + keyTable() + end + after
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if string(got) != want {
		t.Error("the table of docs/settings.md is not what the tree says: run the test with -update")
	}
}
