package settings

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Schema returns the JSON Schema (draft 2020-12) of the settings file, made from
// the tree itself, with the factory settings as defaults.
func Schema() []byte {
	d := Default()
	s := schemaMaker{}.of(reflectOf(&d), "", "")
	s["title"] = "nightseg settings"
	return withDraft(s, "  ")
}

// DesiredSchema returns the JSON Schema of the document at config/desired. It has
// no defaults: what a document does not name is as in the settings file. It is on
// one line, for thin links.
func DesiredSchema() []byte {
	var d Settings
	s := schemaMaker{document: true}.of(reflectOf(&d), "", "")
	s["title"] = "nightseg desired settings"
	properties, _ := s["properties"].(map[string]any)
	properties["version"] = map[string]any{
		"type": "integer", "minimum": 1, "maximum": 1 << 53, "title": "version",
		"description": "rises with every change of the document",
	}
	properties["id"] = map[string]any{
		"type": "string", "maxLength": maxID, "title": "id",
		"description": "a word of the sender, which the answers have too",
	}
	properties["schema"] = map[string]any{
		"const": DocumentSchema, "title": "schema", "description": "version of this form",
	}
	s["required"] = []string{"version"}
	return withDraft(s, "")
}

// schemaMaker makes schemas of fields: of a file, or of a document.
type schemaMaker struct{ document bool }

func withDraft(s map[string]any, indent string) []byte {
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(s); err != nil { // cannot be: maps of texts and numbers
		return []byte("{}")
	}
	return b.Bytes()
}

func (m schemaMaker) of(v reflect.Value, tag reflect.StructTag, at string) map[string]any {
	s := map[string]any{}
	switch {
	case v.Type() == reflect.TypeFor[Duration]():
		s["type"] = "string"
		// The range of a duration cannot be said in the schema; it is in the text.
		s["pattern"] = `^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)([0-9.]+(ns|us|µs|μs|ms|s|m|h))*$`
		s["default"] = time.Duration(v.Int()).String()
	case v.Kind() == reflect.Struct:
		return m.group(v, at)
	case v.Kind() == reflect.Slice:
		entry := reflect.New(v.Type().Elem()).Elem()
		s["type"], s["items"] = "array", m.of(entry, "", at)
		limits(s, tag, "minItems", "maxItems")
	case v.Kind() == reflect.Pointer:
		s = m.of(reflect.New(v.Type().Elem()).Elem(), tag, at)
		s["type"], s["default"] = []any{s["type"], "null"}, nil
	default:
		scalarSchema(s, v, tag)
	}
	if m.document {
		delete(s, "default")
	}
	switch tag.Get("pattern") {
	case "id":
		s["pattern"] = "^[A-Za-z0-9_-]{1,64}$"
	case "size":
		s["pattern"] = "^([1-9][0-9]*x[1-9][0-9]*)?$"
	}
	return s
}

func (m schemaMaker) group(v reflect.Value, at string) map[string]any {
	properties := map[string]any{}
	var required []string
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key := f.Tag.Get("json")
		if m.document && f.Tag.Get("live") == string(ClassFile) {
			continue
		}
		if f.Tag.Get("need") != "" && (!m.document || key != "source") { // the file may have it
			required = append(required, key)
		}
		name := join(at, key)
		p := m.of(v.Field(i), f.Tag, name)
		p["title"], p["description"] = name, describe(name, v.Field(i), f.Tag)
		properties[key] = p
	}
	s := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

func scalarSchema(s map[string]any, v reflect.Value, tag reflect.StructTag) {
	s["default"] = v.Interface()
	if s["default"] == "" {
		delete(s, "default")
	}
	switch v.Kind() {
	case reflect.String:
		s["type"] = "string"
		if tag.Get("enum") == "" && tag.Get("pattern") == "" {
			s["maxLength"] = maxText
		}
	case reflect.Bool:
		s["type"] = "boolean"
	case reflect.Int, reflect.Int64:
		s["type"] = "integer"
	default:
		s["type"] = "number"
	}
	limits(s, tag, "minimum", "maximum")
	if values := tag.Get("enum"); values != "" {
		var list []any
		for e := range strings.SplitSeq(values, ",") {
			if i, err := strconv.Atoi(e); err == nil && v.CanInt() {
				list = append(list, i)
			} else {
				list = append(list, e)
			}
		}
		s["enum"] = list
		if !oneOf(show(v.Interface()), values) {
			delete(s, "default") // a camera of a list has no default
		}
	}
}

func limits(s map[string]any, tag reflect.StructTag, lowest, highest string) {
	if lo, ok := bound(tag, "min"); ok {
		s[lowest] = lo
	}
	if hi, ok := bound(tag, "max"); ok {
		s[highest] = hi
	}
}

// describe says what a key means, with its unit, and the range of a duration.
func describe(name string, v reflect.Value, tag reflect.StructTag) string {
	s := help[name]
	if u := tag.Get("unit"); u != "" {
		s += " (" + u + ")"
	}
	if v.Type() == reflect.TypeFor[Duration]() {
		s += "; " + allowed(v, tag)
	}
	return s
}

// join makes the name of a key as in help: broker.url, cameras.id.
func join(group, key string) string {
	if group == "" {
		return key
	}
	return group + "." + key
}
