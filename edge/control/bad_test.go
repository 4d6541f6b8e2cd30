package control

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"nightseg/edge/disk"
	"nightseg/edge/disk/disktest"
	"nightseg/edge/settings"
)

// badDocument is a document with one thing wrong, and where that is.
type badDocument struct{ name, text, pointer string }

// badDocuments makes them of the published schema: each key with a value of a wrong
// type, of none, out of its range, unknown, twice, with a key that is not known.
func badDocuments(t *testing.T) (list []badDocument) {
	root := asJSON(t, settings.DesiredSchema())
	// wrap puts a value into the document at a path; a number is an index into a list.
	wrap := func(at []string, value string) string {
		for _, key := range slices.Backward(at) {
			if key == "0" {
				value = "[" + value + "]"
			} else {
				value = fmt.Sprintf(`{%q:%s}`, key, value)
			}
		}
		return value
	}
	add := func(name string, at []string, value string, key ...string) {
		doc := strings.Replace(wrap(at, value), "{", `{"version":7,`, 1)
		// A camera of the list needs its id.
		doc = strings.Replace(doc, `"cameras":[{`, `"cameras":[{"id":"front",`, 1)
		at = append(slices.Clone(at), key...)
		list = append(list, badDocument{name, doc, "/" + strings.Join(at, "/")})
	}
	var walk func(schema map[string]any, at []string)
	walk = func(schema map[string]any, at []string) {
		properties, _ := schema["properties"].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(properties)) {
			p, _ := properties[key].(map[string]any)
			at := append(slices.Clone(at), key)
			if key == "version" || key == "schema" || key == "id" {
				continue // by hand: see below
			}
			types, _ := p["type"].([]any)
			if !slices.Contains(types, any("null")) {
				add("null", at, "null")
			}
			add("wrong type", at, `{"x":[1]}`, map[bool][]string{true: {"x"}}[p["type"] == "object"]...)
			add("wrong type", at, "[[]]", map[bool][]string{true: {"0"}}[p["type"] == "array"]...)
			if low, ok := p["minimum"].(float64); ok {
				add("below", at, fmt.Sprint(low-1))
				add("above", at, fmt.Sprint(p["maximum"].(float64)+1))
			}
			if words, ok := p["enum"].([]any); ok {
				unknown := `"unknown"`
				if _, number := words[0].(float64); number {
					unknown = "17"
				}
				add("unknown word", at, unknown)
			}
			if p["maxLength"] != nil {
				add("too long", at, `"`+strings.Repeat("x", 1025)+`"`)
			}
			if p["pattern"] != nil {
				add("form", at, `"/ /"`)
			}
			switch p["type"] {
			case "object":
				add("unknown key", at, `{"unknown":1}`, "unknown")
				walk(p, at)
			case "array":
				items, _ := p["items"].(map[string]any)
				walk(items, append(at, "0"))
			default:
				b, err := json.Marshal(at[len(at)-1])
				if err != nil {
					t.Fatal(err)
				}
				parent := at[:len(at)-1]
				add("twice", parent, fmt.Sprintf(`{%s:1,%s:1}`, b, b), key)
			}
		}
	}
	walk(root, nil)
	return list
}

var handMade = []badDocument{
	{"empty object", `{}`, "/version"},
	{"no version", `{"codec":"png"}`, "/version"},
	{"version 0", `{"version":0}`, "/version"},
	{"version below", `{"version":-3}`, "/version"},
	{"version above", `{"version":9007199254740993}`, "/version"},
	{"version exponent", `{"version":7e0}`, "/version"},
	{"version text", `{"version":"7"}`, "/version"},
	{"version null", `{"version":null}`, "/version"},
	{"version twice", `{"version":7,"version":8}`, "/version"},
	{"stale", `{"version":4}`, "/version"},
	{"in force with other content", `{"version":5,"codec":"rle-zstd"}`, "/version"},
	{"id number", `{"version":7,"id":1}`, "/id"},
	{"id long", `{"version":7,"id":"` + strings.Repeat("é", 65) + `"}`, "/id"},
	{"id twice", `{"version":7,"id":"a","id":"b"}`, "/id"},
	{"schema 2", `{"version":7,"schema":2}`, "/schema"},
	{"schema null", `{"version":7,"schema":null}`, "/schema"},
	{"fleet", `{"version":7,"fleet":"yard"}`, "/fleet"},
	{"device", `{"version":7,"device":"car1"}`, "/device"},
	{"state folder", `{"version":7,"state_dir":"/"}`, "/state_dir"},
	{"listen", `{"version":7,"broker":{"listen":"0.0.0.0:1883"}}`, "/broker/listen"},
	{"remote", `{"version":7,"broker":{"allow_remote":true}}`, "/broker/allow_remote"},
	{"unknown", `{"version":7,"colour":"red"}`, "/colour"},
	{"escaped", `{"version":7,"a/b~c":1}`, "/a~1b~0c"},
	{"empty key", `{"version":7,"":1}`, "/"},
	{"bright below dark", `{"version":7,"relight":{"dark":90,"bright":80}}`, "/relight/bright"},
	{"no such broker", `{"version":7,"broker":{"url":"http://x"}}`, "/broker/url"},
	{"CA without TLS", `{"version":7,"broker":{"ca_file":"x"}}`, "/broker/ca_file"},
	{"certificate alone", `{"version":7,"broker":{"url":"mqtts://x","cert_file":"c"}}`, "/broker/key_file"},
	{"password alone", `{"version":7,"broker":{"password_file":"c"}}`, "/broker/username_file"},
	{"trial short", `{"version":7,"broker":{"trial":"1ms"}}`, "/broker/trial"},
	{"trial endless", `{"version":7,"broker":{"trial":"1000h"}}`, "/broker/trial"},
	{"no unit", `{"version":7,"stats":{"interval":"5"}}`, "/stats/interval"},
	{"no camera", `{"version":7,"cameras":[]}`, "/cameras"},
	{"many cameras", `{"version":7,"cameras":[` + strings.Repeat(`{"id":"front"},`, 16) + `{"id":"front"}]}`, "/cameras"},
	{"same camera twice", `{"version":7,"cameras":[{"id":"front"},{"id":"front"}]}`, "/cameras/1/id"},
	{"new camera without source", `{"version":7,"cameras":[{"id":"left"}]}`, "/cameras/0/source"},
	{"camera without id", `{"version":7,"cameras":[{"source":"x"}]}`, "/cameras/0/id"},
	{"no rectangle", `{"version":7,"cameras":[{"id":"front","blank":[{}]}]}`, "/cameras/0/blank/0/x0"},
	{
		"flat rectangle", `{"version":7,"cameras":[{"id":"front","blank":[{"x0":0,"y0":0.5,"x1":1,"y1":0.5}]}]}`,
		"/cameras/0/blank/0/y1",
	},
	{
		"many rectangles", `{"version":7,"cameras":[{"id":"front","blank":[` +
			strings.Repeat(`{"x0":0,"y0":0,"x1":1,"y1":1},`, 16) + `{"x0":0,"y0":0,"x1":1,"y1":1}]}]}`, "/cameras/0/blank",
	},
	{"probation longer than its end", `{"version":7,"probation":{"seconds":60,"most":"20s"}}`, "/probation/most"},
	{"a list", `[]`, ""},
	{"null", `null`, ""},
	{"a text", `"version"`, ""},
	{"a number", `7`, ""},
	{"truncated", `{"version":7,"codec":`, ""},
	{"two", `{"version":7}{"version":8}`, ""},
	{"noise", "\x00\xff\xfe", ""},
	{"a key without quotes", `{version:7}`, ""},
	{"a comma too much", `{"version":7,}`, ""},
	{"YAML", "version: 7\n", ""},
	{"NaN", `{"version":7,"threshold":NaN}`, ""},
	{"nested too deeply", `{"version":7,"relight":` + strings.Repeat(`{"x":`, 5000) + "1" + strings.Repeat("}", 5001), ""},
	{"lists too deep", strings.Repeat("[", 30000), ""},
	{"64 kB", `{"version":7,"bundle":"` + strings.Repeat("x", 64<<10) + `"}`, ""},
	{"infinite", `{"version":7,"threshold":1e999}`, "/threshold"},
	{"many keys", `{"version":7` + strings.Repeat(`,"x":1`, 5000) + `}`, "/x"},
}

// TestBadDocuments sends them to a service that runs version 5.
func TestBadDocuments(t *testing.T) {
	list := append(badDocuments(t), handMade...)
	if len(list) < 200 {
		t.Errorf("%d documents only", len(list))
	}
	t.Logf("%d documents", len(list))
	bubble(t, func(t *testing.T, m *disktest.FS) {
		r := start(t, m)
		defer r.stop()
		r.apply(5, "")
		r.f.said()
		before, writes := r.f.running(), m.Count()
		for _, d := range list {
			<-time.After(period)
			r.Offer([]byte(d.text))
			a := r.last()
			got := make([]string, len(a.Errors))
			for i, e := range a.Errors {
				got[i] = e.Pointer
				if e.Problem == "" || len(e.Value) > 100 {
					t.Errorf("%s %.100s: %+v", d.name, d.text, e)
				}
			}
			if a.Result != settings.ResultRejected || a.InForce != 5 || !slices.Contains(got, d.pointer) {
				t.Errorf("%s %.100s: %s %q, want %s", d.name, d.text, a.Result, got, d.pointer)
			}
			group := d.pointer[:max(0, strings.LastIndexByte(d.pointer, '/'))]
			for _, p := range got { // at most what goes with it is to blame too
				if !strings.HasPrefix(p, group) {
					t.Errorf("%s %.100s: blames %s too", d.name, d.text, p)
				}
			}
			if len(a.JSON()) > 4<<10 {
				t.Errorf("%s %.100s: an answer of %d bytes", d.name, d.text, len(a.JSON()))
			}
		}
		if got := r.f.said(); got != "" || r.f.running().SHA256 != before.SHA256 || m.Count() != writes {
			t.Errorf("calls %q, version %d, %d writes", got, r.f.running().Version, m.Count()-writes)
		}
		r.apply(6, "")
	})
}

// What is wrong in thousands of places gets an answer that a thin link carries.
func TestManyErrors(t *testing.T) {
	bubble(t, func(t *testing.T, m *disktest.FS) {
		r := start(t, m)
		defer r.stop()
		text := `{"version":7`
		for i := range 5000 {
			text += fmt.Sprintf(`,"x%d":1`, i)
		}
		r.Offer([]byte(text + "}"))
		a := r.last()
		if len(a.Errors) != maxErrors || a.Reason != "5000 errors: the first 50 are given" || len(a.JSON()) > 20<<10 {
			t.Errorf("%d errors, %d bytes, %s", len(a.Errors), len(a.JSON()), a.Reason)
		}
	})
}

func FuzzHandle(f *testing.F) {
	for _, d := range handMade {
		f.Add([]byte(d.text))
	}
	f.Add([]byte(doc(1, `,"cameras":[{"id":"rear","blank":[{"x0":0,"y0":0,"x1":1,"y1":0.5}]}],"bundle":"x"`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := disktest.New()
		c := New(Options{Bases: bases(), Open: func(string) (disk.FS, error) { return m, nil }})
		defer func() { _ = c.Close() }()
		p := &fake{runs: c.InForce(), probation: func(context.Context) (any, error) { return nil, nil }}
		before := p.running()
		c.handle(t.Context(), p, b, nil)
		after := p.running()
		if err := after.Settings.Validate(); err != nil {
			t.Fatalf("runs with bad settings: %v", err)
		}
		if got := c.InForce(); got.SHA256 != after.SHA256 || got.Version != after.Version {
			t.Fatalf("version %d is in force, %d runs", got.Version, after.Version)
		}
		if d := settings.Changes(before.Settings, after.Settings); d.File {
			t.Fatalf("changes what only the file may: %v", d.List)
		}
		if !json.Valid(c.reported().JSON()) {
			t.Fatal("what is reported is no JSON")
		}
	})
}
