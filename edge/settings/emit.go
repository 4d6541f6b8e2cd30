package settings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// YAML writes the settings as a file that Parse reads back; with notes, every
// key is explained, and its range and factory setting are given.
func (s Settings) YAML(notes bool) []byte {
	factory := Default()
	w := &yamlWriter{notes: notes}
	w.group(reflectOf(&s), reflectOf(&factory), "", "", "")
	return w.Bytes()
}

type yamlWriter struct {
	bytes.Buffer
	notes bool
}

func (w *yamlWriter) group(v, factory reflect.Value, at, indent string, parent Class) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("json")
		class := classOf(f.Tag, parent)
		w.note(join(at, name), f.Tag, v.Field(i), factory.Field(i), indent, class)
		switch value := v.Field(i); {
		case value.Kind() == reflect.Struct:
			fmt.Fprintf(w, "%s%s:\n", indent, name)
			w.group(value, factory.Field(i), join(at, name), indent+"  ", class)
		case value.Kind() == reflect.Slice:
			w.list(join(at, name), name, value, indent, class)
		default:
			fmt.Fprintf(w, "%s%s: %s\n", indent, name, yamlScalar(value))
		}
	}
}

func (w *yamlWriter) list(at, name string, v reflect.Value, indent string, class Class) {
	if v.Len() == 0 {
		fmt.Fprintf(w, "%s%s: []\n", indent, name)
		return
	}
	fmt.Fprintf(w, "%s%s:\n", indent, name)
	factory := reflect.New(v.Type().Elem()).Elem()
	for i := range v.Len() {
		fmt.Fprintf(w, "%s  -\n", indent)
		w.group(v.Index(i), factory, at, indent+"    ", class)
	}
}

// note writes what a key means above it.
func (w *yamlWriter) note(
	name string, tag reflect.StructTag, v, factory reflect.Value, indent string, class Class,
) {
	if !w.notes {
		return
	}
	if indent == "" {
		w.WriteByte('\n')
	}
	text := help[name]
	if u := tag.Get("unit"); u != "" && tag.Get("min") == "" {
		text += " (" + u + ")"
	}
	if a := allowed(v, tag); a != "" && v.Kind() != reflect.Bool {
		text += ". Allowed: " + a
	}
	if class == ClassFile {
		text += ". Only in this file"
	}
	// A camera of a list has no factory setting, and the device's is another on
	// each machine.
	simple := factory.Kind() != reflect.Struct && factory.Kind() != reflect.Slice && len(indent) < 4 &&
		name != "device"
	if simple && yamlScalar(v) != yamlScalar(factory) {
		text += ". Factory: " + yamlScalar(factory)
	}
	line := indent + "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > 100 {
			fmt.Fprintln(w, line)
			line = indent + "#"
		}
		line += " " + word
	}
	fmt.Fprintln(w, line)
}

func yamlScalar(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "null"
		}
		v = v.Elem()
	}
	if v.Type() == reflect.TypeFor[Duration]() {
		return time.Duration(v.Int()).String()
	}
	switch v.Kind() {
	case reflect.String:
		return yamlString(v.String())
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'f', -1, 64)
	default:
		return fmt.Sprint(v.Interface())
	}
}

// yamlString leaves words bare that no reader takes for anything else.
func yamlString(s string) string {
	bare := s != "" && s[0] >= 'a' && s[0] <= 'z' && !oneOf(s, "true,false,null,yes,no,on,off,y,n")
	for i := range len(s) {
		colon := s[i] == ':' && i+1 < len(s) && s[i+1] != ' '
		bare = bare && (isIDByte(s[i]) || s[i] == '/' || s[i] == '.' || colon)
	}
	if bare {
		return s
	}
	b, err := json.Marshal(s) // a JSON text is a YAML text in double quotes
	if err != nil {
		return `""`
	}
	return string(b)
}
