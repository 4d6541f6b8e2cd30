package settings

import (
	"reflect"
	"strings"
	"testing"
)

func pointers(errs []FieldError) []string {
	var p []string
	for i := range errs {
		p = append(p, errs[i].Pointer)
	}
	return p
}

func TestParseDesired(t *testing.T) {
	std := 0.1
	file := example()
	file.Reweight.Std = &std
	const doc = `{"version":7,"id":"x","schema":1,"relight":{"mode":"clahe"},"reweight":{"std":0},"threshold":0.3,
		"bundle":"other","engine":{"threads":2},"broker":{"url":"mqtt://hub:1883"},"log":{"level":"debug"},
		"cameras":[{"id":"rear","rate":9,"blank":[],"night":{"mode":"auto","gain":50}},{"id":"left","source":"csi://1"}]}`
	d, errs := ParseDesired([]byte(doc), file)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	want := file.Clone()
	zero := 0.0
	want.Relight.Mode, want.Reweight.Std, want.Threshold = "clahe", &zero, 0.3
	want.Bundle, want.Engine.Threads = "other", 2
	want.Broker.URL, want.Log.Level = "mqtt://hub:1883", "debug"
	want.Cameras = []Camera{
		{
			ID: "rear", Source: "rtsp://192.168.0.20/stream", Fit: "bundle", Rotate: 180, Rate: 9,
			Night: Night{"auto", 16, 50, 60},
		},
		{ID: "left", Source: "csi://1", Fit: "bundle", Night: DefaultNight()},
	}
	if !reflect.DeepEqual(d.Settings, want) || d.Version != 7 || d.ID != "x" || d.SHA256 != want.Hash() {
		t.Errorf("got %+v\nwant settings %+v", d, want)
	}
	if *file.Reweight.Std != 0.1 || len(file.Cameras[1].Blank) != 1 {
		t.Error("the file's settings were changed")
	}
	if d, errs := ParseDesired([]byte(`{"version":8}`), file); len(errs) > 0 || !reflect.DeepEqual(d.Settings, file) {
		t.Errorf("a document that names nothing is not as the file: %v, %+v", errs, d)
	}
}

func TestParseDesiredRefuses(t *testing.T) {
	tests := []struct {
		name, json string
		want       []string
	}{
		{"unknown", `{"version":1,"relite":{}}`, []string{"/relite"}},
		{
			"only in the file",
			`{"version":1,"fleet":"a","device":"b","state_dir":"c","broker":{"listen":"d","allow_remote":true}}`,
			[]string{"/fleet", "/device", "/state_dir", "/broker/listen", "/broker/allow_remote"},
		},
		{"id", `{"version":1,"id":7}`, []string{"/id"}},
		{"long id", `{"version":1,"id":"` + strings.Repeat("x", maxID+1) + `"}`, []string{"/id"}},
		{"schema", `{"version":1,"schema":2}`, []string{"/schema"}},
		{"schema text", `{"version":1,"schema":"1"}`, []string{"/schema"}},
		{"near version", `{"versoin":1}`, []string{"/version", "/versoin"}},
		{"no cameras", `{"version":1,"cameras":[]}`, []string{"/cameras"}},
		{"camera without source", `{"version":1,"cameras":[{"id":"new"}]}`, []string{"/cameras/0/source"}},
		{"camera without id", `{"version":1,"cameras":[{"source":"x"}]}`, []string{"/cameras/0/id"}},
		{
			"region", `{"version":1,"cameras":[{"id":"front","blank":[{"x0":0,"y0":0,"x1":0}]}]}`,
			[]string{"/cameras/0/blank/0/x1", "/cameras/0/blank/0/y1"},
		},
		{
			"all at once", `{"version":1,"relight":{"mode":"x","dark":-1},"codec":"y"}`,
			[]string{"/relight/mode", "/relight/dark", "/codec"},
		},
		{"escaped", `{"version":1,"a/b~c":1}`, []string{"/a~1b~0c"}},
		{"no version", `{}`, []string{"/version"}},
		{"version 0", `{"version":0}`, []string{"/version"}},
		{"version text", `{"version":"1"}`, []string{"/version"}},
		{"version fraction", `{"version":1.5}`, []string{"/version"}},
		{"version twice", `{"version":1,"version":2}`, []string{"/version"}},
		{"twice", `{"version":1,"codec":"png","codec":"png"}`, []string{"/codec"}},
		{"cross field", `{"version":1,"relight":{"dark":200,"bright":100}}`, []string{"/relight/bright"}},
		{"null", `{"version":1,"codec":null}`, []string{"/codec"}},
		{"array", `[]`, []string{""}},
		{"empty", ``, []string{""}},
		{"truncated", `{"version":1`, []string{""}},
		{"trailing", `{"version":1} x`, []string{""}},
		{"deep", strings.Repeat(`[`, 100), []string{""}},
		{"long", `{"version":1}` + strings.Repeat(" ", maxDocument), []string{""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, errs := ParseDesired([]byte(tt.json), Default())
			got := pointers(errs)
			sortStrings(got, tt.want)
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", errs, tt.want)
			}
		})
	}
}

func TestRemedies(t *testing.T) {
	for doc, want := range map[string]string{
		`{"versoin":1}`:                      `did you mean "version"?`,
		`{"version":1,"device":"x"}`:         "in the settings file only, then restart",
		`{"version":1,"cameras":[{"if":1}]}`: `did you mean "id"?`,
	} {
		_, errs := ParseDesired([]byte(doc), Default())
		if got := Errors(errs).Error(); !strings.Contains(got, want) {
			t.Errorf("%s: %s", doc, got)
		}
	}
}

func TestDocument(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{
			"YAML", "threshold: 0.2 # more\ncameras:\n  - {id: front, flip_h: true}\n",
			`{"version":7,"id":"me","threshold":0.2,"cameras":[{"id":"front","flip_h":true}]}`,
		},
		{
			"JSON", ` {"version": 9, "id": "you", "reweight": {"std": null}}`,
			`{"version":9,"id":"you","reweight":{"std":null}}`,
		},
		{"nothing", "# as the file says\n", `{"version":7,"id":"me"}`},
		{"twice", `{"codec":"png","codec":"png"}`, `{"version":7,"id":"me","codec":"png","codec":"png"}`},
		{"no number", "threshold: 0x1F\n", `{"version":7,"id":"me","threshold":"0x1F"}`},
		{"quotes", "bundle: 'a \"b\" \\ c'\n", `{"version":7,"id":"me","bundle":"a \"b\" \\ c"}`},
	} {
		got, err := Document([]byte(c.text), 7, "me")
		if err != nil || string(got) != c.want {
			t.Errorf("%s: got %s, %v, want %s", c.name, got, err, c.want)
		}
	}
	for _, text := range []string{"- 1\n", "a: &b 1\n", "a: .inf\n", "{", "a: [1"} {
		if got, err := Document([]byte(text), 7, "me"); err == nil {
			t.Errorf("%q became %s", text, got)
		}
	}
}
