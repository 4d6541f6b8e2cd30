package settings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compileSchema(t *testing.T, text []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("settings.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("settings.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSchemaAgreesWithParse gives the same documents, JSON being YAML, to both.
func TestSchemaAgreesWithParse(t *testing.T) {
	schema := compileSchema(t, Schema())
	defaults, err := json.Marshal(Default())
	if err != nil {
		t.Fatal(err)
	}
	camera := func(s string) string { return `{"cameras":[{"id":"a","source":"b",` + s + `}]}` }
	tests := map[string]bool{
		string(defaults): true, `{}`: true,
		`{"codec":"png"}`: true, `{"codec":"gif"}`: false, `{"kodec":"png"}`: false,
		`{"threshold":0.999}`: true, `{"threshold":1}`: false,
		`{"threshold":-0.1}`: false, `{"threshold":"0"}`: false,
		`{"reweight":{"std":null}}`: true, `{"reweight":{"std":0.16}}`: true, `{"reweight":{"std":2}}`: false,
		`{"publish":{"queue":0}}`: false, `{"publish":{"queue":1024}}`: true, `{"publish":{"qos":2}}`: false,
		`{"device":"a b"}`: false, `{"device":"a-b"}`: true, `{"fleet":7}`: false,
		`{"stats":{"interval":"2s"}}`: true, `{"stats":{"interval":"2"}}`: false, `{"stats":{"interval":2}}`: false,
		camera(`"rotate":90`): true, camera(`"rotate":91`): false, camera(`"flip_h":1`): false,
		camera(`"fit":"crop"`): true, camera(`"fit":""`): false,
		`{"cameras":[]}`: false, `{"cameras":[{"id":"a"}]}`: false, `{"broker":{"allow_remote":true}}`: true,
	}
	for text, want := range tests {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := schema.Validate(doc) == nil; got != want {
			t.Errorf("schema says %v to %s", got, text)
		}
		_, err = Parse([]byte(text))
		if got := err == nil; got != want {
			t.Errorf("Parse says %v to %s: %v", got, text, err)
		}
	}
}

func TestDesiredSchemaAgreesWithParseDesired(t *testing.T) {
	schema := compileSchema(t, DesiredSchema())
	for text, want := range map[string]bool{
		`{"version":1}`: true, `{}`: false, `{"version":0}`: false, `{"version":1,"codec":"png"}`: true,
		`{"version":1,"id":"a","schema":1}`: true, `{"version":1,"schema":2}`: false, `{"version":1,"id":1}`: false,
		`{"version":1,"codec":"x"}`: false, `{"version":1,"cameras":[]}`: false,
		`{"version":1,"cameras":[{"id":"front"}]}`: true, `{"version":1,"cameras":[{"source":"x"}]}`: false,
		`{"version":1,"relight":{"mode":"none","gate":"never","dark":0,"bright":255}}`: true,
		`{"version":1,"reweight":{"mode":"logit","std":null}}`:                         true,
		`{"version":1,"reweight":{"std":-1}}`:                                          false,
		`{"version":1,"broker":{"trial":"+5s"}}`:                                       true,
		`{"version":1,"broker":{"listen":"x"}}`:                                        false,
		`{"version":1,"device":"x"}`:                                                   false,
		`{"version":1,"bundle":"` + strings.Repeat("x", maxText+1) + `"}`:              false,
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

// randomSettings sets every field that a document may name to a value that is right.
func randomSettings(r *rand.Rand) Settings {
	s := Default()
	s.Cameras = make([]Camera, 1+r.IntN(3))
	var fill func(v reflect.Value, tag reflect.StructTag, name string)
	fill = func(v reflect.Value, tag reflect.StructTag, name string) {
		lo, _ := bound(tag, "min")
		hi, limited := bound(tag, "max")
		if !limited {
			hi = 100
		}
		between := lo + r.Float64()*(hi-lo)
		switch {
		case tag.Get("live") == string(ClassFile):
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				f := v.Type().Field(i)
				fill(v.Field(i), f.Tag, join(name, f.Tag.Get("json")))
			}
		case name == "cameras":
			for i := range v.Len() {
				fill(v.Index(i), "", name)
			}
		case v.Kind() == reflect.Slice:
			list := make(Regions, r.IntN(3))
			for i := range list {
				list[i] = Region{X0: r.Float64() / 2, Y0: 0, X1: 1 - r.Float64()/3, Y1: 1}
			}
			if len(list) > 0 {
				v.Set(reflect.ValueOf(list))
			}
		case tag.Get("enum") != "":
			words := strings.Split(tag.Get("enum"), ",")
			word := words[r.IntN(len(words))]
			if v.CanInt() {
				n, _ := strconv.Atoi(word)
				v.SetInt(int64(n))
			} else {
				v.SetString(word)
			}
		case tag.Get("pattern") == "id":
			v.SetString(fmt.Sprintf("id-%d", r.Uint32()))
		case tag.Get("pattern") == "size":
			v.SetString(fmt.Sprintf("%dx%d", 1+r.IntN(999), 1+r.IntN(999)))
		case v.Kind() == reflect.Pointer:
			if r.IntN(2) == 0 {
				v.Set(reflect.ValueOf(&between))
			}
		case v.Kind() == reflect.Bool:
			v.SetBool(r.IntN(2) == 0)
		case v.CanInt():
			v.SetInt(int64(between))
		case v.CanFloat():
			v.SetFloat(between)
		default:
			v.SetString(fmt.Sprintf("text \u00e9 \"%d\"", r.Uint32()))
		}
	}
	fill(reflectOf(&s), "", "")
	s.Relight.Bright = max(s.Relight.Bright, s.Relight.Dark)
	s.Relight.BrightLux = max(s.Relight.BrightLux, s.Relight.DarkLux)
	s.Probation.Most = max(s.Probation.Most, Duration(time.Minute))
	b := &s.Broker
	b.URL, b.CAFile, b.CertFile, b.KeyFile = "mqtts://hub", "", "", ""
	return s
}

// desiredText writes settings as a document that names all it may.
func desiredText(t *testing.T, s Settings, version int64) []byte {
	t.Helper()
	var doc map[string]any
	b, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(b, &doc)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"fleet", "device", "state_dir", "spool"} {
		delete(doc, k)
	}
	publish, _ := doc["publish"].(map[string]any)
	delete(publish, "qos")
	delete(publish, "queue")
	broker, _ := doc["broker"].(map[string]any)
	delete(broker, "listen")
	delete(broker, "allow_remote")
	board, _ := doc["board"].(map[string]any)
	delete(board, "description")
	delete(board, "led")
	lamp, _ := board["lamp"].(map[string]any)
	delete(lamp, "feed")
	doc["version"] = version
	if b, err = json.Marshal(doc); err != nil {
		t.Fatal(err)
	}
	return b
}

// Every valid document that names all keys fits the schema, and comes through.
func TestGeneratedDocumentsFitTheSchema(t *testing.T) {
	schema := compileSchema(t, DesiredSchema())
	r := rand.New(rand.NewPCG(4, 4))
	for i := range 300 {
		s := randomSettings(r)
		text := desiredText(t, s, int64(i+1))
		d, errs := ParseDesired(text, Default())
		if len(errs) > 0 {
			t.Fatalf("%s: %v", text, errs)
		}
		if !reflect.DeepEqual(d.Settings, s) {
			t.Fatalf("got  %+v\nwant %+v", d.Settings, s)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err == nil {
			err = schema.Validate(doc)
		}
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

// Every key of the tree is in the schema, with words, but those of the file.
func TestDesiredSchemaHasEveryKey(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(DesiredSchema(), &root); err != nil {
		t.Fatal(err)
	}
	n := 0
	var walk func(typ reflect.Type, schema map[string]any, at string)
	walk = func(typ reflect.Type, schema map[string]any, at string) {
		properties, _ := schema["properties"].(map[string]any)
		for i := range typ.NumField() {
			f := typ.Field(i)
			name := join(at, f.Tag.Get("json"))
			p, ok := properties[f.Tag.Get("json")].(map[string]any)
			if inFile := f.Tag.Get("live") == string(ClassFile); ok == inFile {
				t.Errorf("%s: in the schema: %v", name, ok)
			}
			if !ok {
				continue
			}
			n++
			if p["title"] == "" || p["description"] == "" || p["type"] == nil || p["default"] != nil {
				t.Errorf("%s: %v", name, p)
			}
			switch {
			case f.Type.Kind() == reflect.Struct:
				walk(f.Type, p, name)
			case f.Type.Kind() == reflect.Slice:
				items, _ := p["items"].(map[string]any)
				walk(f.Type.Elem(), items, name)
			}
		}
	}
	walk(reflect.TypeFor[Settings](), root, "")
	if n < 50 {
		t.Errorf("%d keys", n)
	}
}
