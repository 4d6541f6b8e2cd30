package settings

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
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
	file := Default()
	file.Reweight.Std = &std
	const doc = `{"version":7,"relight":{"mode":"clahe"},"reweight":{"std":0},"threshold":0.3}`
	d, errs := ParseDesired([]byte(doc), file)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if d.Version != 7 || d.Live.Relight.Mode != "clahe" || *d.Live.Reweight.Std != 0 || d.Live.Threshold != 0.3 {
		t.Errorf("got %+v", d)
	}
	l := d.Live
	if l.Relight.Gate != file.Relight.Gate || l.Codec != file.Codec || l.Reweight.Mode != file.Reweight.Mode {
		t.Error("what the document does not name is not as in the file")
	}
	if *file.Reweight.Std != 0.1 {
		t.Error("the file's settings were changed")
	}
	if got := file.With(d.Live).Live(); !reflect.DeepEqual(got, d.Live) {
		t.Errorf("With: %+v", got)
	}
}

func TestParseDesiredRefuses(t *testing.T) {
	tests := []struct {
		name, json string
		want       []string
	}{
		{"unknown", `{"version":1,"relite":{}}`, []string{"/relite"}},
		{"not live", `{"version":1,"broker":{}}`, []string{"/broker"}},
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

func TestTracker(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tracker := &LiveTracker{File: Default(), Run: "r1", Source: FromFile, Now: func() time.Time { return now }}
	var applied []Live
	apply := func(l Live) []FieldError {
		if l.Reweight.Std != nil && *l.Reweight.Std > 0.5 {
			return []FieldError{{Pointer: "/reweight/std", Problem: "a weight would reach 0"}}
		}
		applied = append(applied, l)
		return nil
	}
	steps := []struct {
		doc, result string
		inForce     int64
		applied     int
	}{
		{`{"version":2,"codec":"rle-zstd"}`, "applied", 2, 1},
		{`{"codec":"rle-zstd", "version":2}`, "unchanged", 2, 1},
		{`{"version":2,"codec":"png"}`, "rejected", 2, 1},
		{`{"version":1}`, "rejected", 2, 1},
		{`{"version":3,"threshold":9}`, "rejected", 2, 1},
		{`{"version":3,"reweight":{"std":0.9}}`, "rejected", 2, 1},
		{`nonsense`, "rejected", 2, 1},
		{`{"version":3,"reweight":{"std":0.2}}`, "applied", 3, 2},
	}
	r := tracker.Reported()
	if r.Source != FromFile || r.Version != 0 || r.Live.Codec != "png" || r.Since != now {
		t.Errorf("reported at first: %+v", r)
	}
	for _, s := range steps {
		a := tracker.Handle([]byte(s.doc), apply)
		if a.Result != s.result || a.InForce != s.inForce || len(applied) != s.applied || a.Run != "r1" {
			t.Errorf("%s: %+v, applied %d", s.doc, a, len(applied))
		}
		r := tracker.Reported()
		if (a.Result == "rejected") != (len(a.Errors) > 0) || a.Result == "rejected" && r.Rejected == nil {
			t.Errorf("%s: errors %v, reported %+v", s.doc, a.Errors, r)
		}
		if r.Version != s.inForce || r.Source != "desired" {
			t.Errorf("%s: reported %+v", s.doc, r)
		}
	}
	if r := tracker.Reported(); r.Rejected != nil || r.Live.Codec != "png" || len(r.SHA256) != 64 {
		t.Errorf("reported at last: %+v", r)
	}
	if got := applied[0]; got.Codec != "rle-zstd" {
		t.Errorf("applied %+v", got)
	}
}

func TestAckAndReportedAreJSON(t *testing.T) {
	tracker := &LiveTracker{File: Default(), Run: "r1", Source: FromFactory, FileError: "no such file"}
	a := tracker.Handle([]byte(`{"version":1,"threshold":2}`), func(Live) []FieldError { return nil })
	var ack, reported map[string]any
	if err := json.Unmarshal(a.JSON(), &ack); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(tracker.Reported().JSON(), &reported); err != nil {
		t.Fatal(err)
	}
	if ack["result"] != "rejected" || reported["source"] != "factory" || reported["last_rejected"] == nil {
		t.Errorf("ack %v\nreported %v", ack, reported)
	}
	live, _ := reported["settings"].(map[string]any)
	if _, ok := live["relight"]; !ok || len(live) != 4 {
		t.Errorf("settings %v", live)
	}
}

func TestDesiredSchemaAgreesWithParseDesired(t *testing.T) {
	schema := compileSchema(t, DesiredSchema())
	for text, want := range map[string]bool{
		`{"version":1}`: true, `{}`: false, `{"version":0}`: false, `{"version":1,"codec":"png"}`: true,
		`{"version":1,"codec":"x"}`: false, `{"version":1,"cameras":[]}`: false,
		`{"version":1,"relight":{"mode":"none","gate":"never","dark":0,"bright":255}}`: true,
		`{"version":1,"reweight":{"mode":"logit","std":null}}`:                         true,
		`{"version":1,"reweight":{"std":-1}}`:                                          false,
	} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := schema.Validate(doc) == nil; got != want {
			t.Errorf("schema says %v to %s", got, text)
		}
		_, errs := ParseDesired([]byte(text), Default())
		if got := len(errs) == 0; got != want {
			t.Errorf("ParseDesired says %v to %s: %v", got, text, errs)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example().YAML(true))
	f.Add(example().YAML(false))
	for _, s := range []string{
		"", "a: b", "- - -", "? x\n: y", "relight: {mode: none", "cameras:\n  - id: a\n    source: b\n",
		"%YAML 1.2\n---\n",
		"x: !!int 3", "a: &a [*a]", "<<: {a: 1}", "a: |\n  b\n",
		"\ufeffcodec: png", "codec: 'png", "\t", "---", "...",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		if err := s.Validate(); err != nil {
			t.Fatalf("Parse takes what Validate refuses: %v", err)
		}
		again, err := Parse(s.YAML(false))
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("does not read back: %v\n%s", err, s.YAML(false))
		}
	})
}

func FuzzParseDesired(f *testing.F) {
	for _, s := range []string{
		`{"version":1}`, `{"version":9,"relight":{"mode":"network","gate":"dark","dark":1,"bright":2},` +
			`"reweight":{"mode":"probability","std":0.05},"threshold":0.2,"codec":"png"}`,
		`{"version":1,"reweight":{"std":null}}`, `{"a":{"b":[1,2,{"c":null}]}}`, `[`, `{"version":1e3}`, "\xff",
	} {
		f.Add([]byte(s))
	}
	file := Default()
	f.Fuzz(func(t *testing.T, b []byte) {
		d, errs := ParseDesired(b, file)
		if len(errs) > 0 {
			if !json.Valid(Ack{Errors: errs}.JSON()) {
				t.Error("the answer is no JSON")
			}
			return
		}
		if err := file.With(d.Live).Validate(); err != nil {
			t.Fatalf("ParseDesired takes what Validate refuses: %v", err)
		}
		if !json.Valid(bytes.TrimSpace(b)) || d.Version < 1 || len(d.SHA256) != 64 {
			t.Fatalf("took %q as %+v", b, d)
		}
	})
}
