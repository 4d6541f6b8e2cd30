package settings

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

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
		`{"version":2,"id":"x","schema":1,"cameras":[{"id":"front","blank":[{"x0":0,"y0":0.5,"x1":1,"y1":1}]}],` +
			`"broker":{"url":"mqtts://me:word@hub","trial":"30s"},"engine":{"threads":2},"publish":{"qos":1}}`,
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
		if err := d.Settings.Validate(); err != nil {
			t.Fatalf("ParseDesired takes what Validate refuses: %v", err)
		}
		if c := Changes(file, d.Settings); c.File {
			t.Fatalf("changes what only the file may: %v", c.List)
		}
		if !json.Valid(bytes.TrimSpace(b)) || d.Version < 1 || len(d.SHA256) != 64 {
			t.Fatalf("took %q as %+v", b, d)
		}
	})
}

func FuzzDocument(f *testing.F) {
	f.Add(example().YAML(true))
	for _, s := range []string{"", "a: b", `{"a":[1,null,true,"x"]}`, "- 1", "a: |\n  b\n", "? x\n: y", "a: 0x1F"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		doc, err := Document(b, 3, "me")
		if err != nil {
			return
		}
		if _, errs := ParseDesired(doc, Default()); !json.Valid(doc) || len(errs) == 1 && errs[0].Pointer == "" {
			t.Fatalf("%q became %q: %v", b, doc, errs)
		}
	})
}
