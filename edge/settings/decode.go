package settings

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// decoder puts a document into a struct and collects what is wrong.
type decoder struct {
	errs  Errors
	lines map[string]int // line of each field that the document gives
	bad   map[string]bool
	file  *Settings // of a document: what it goes over; of a file: nil
}

// Parse reads a YAML file over the factory settings, and checks the whole. The
// error, if any, is Errors: all that is wrong; the settings are then not valid.
func Parse(yaml []byte) (Settings, error) {
	s := Default()
	n, err := parseYAML(yaml)
	if err != nil {
		return s, Errors{asFieldError(err)}
	}
	d := &decoder{}
	if n.kind != kindNull {
		d.decode(n, reflectOf(&s), path{}, "")
	}
	d.check(s)
	return s, d.result()
}

func asFieldError(err error) FieldError {
	var f FieldError
	if errors.As(err, &f) {
		return f
	}
	return FieldError{Problem: err.Error()}
}

func reflectOf(v any) reflect.Value { return reflect.ValueOf(v).Elem() }

func (d *decoder) result() error {
	if len(d.errs) == 0 {
		return nil
	}
	return d.errs.sorted()
}

// fail notes an error; one per field is enough.
func (d *decoder) fail(at path, value, problem, allowed, remedy string) {
	p := at.String()
	if d.bad[p] {
		return
	}
	if d.bad == nil {
		d.bad = map[string]bool{}
	}
	d.bad[p] = true
	line := d.lines[p]
	for i := len(at) - 1; line == 0 && i > 0; i-- {
		line = d.lines[at[:i].String()] // a key that is missing: the line of its group
	}
	d.errs = append(d.errs, FieldError{
		Path: p, Pointer: at.pointer(), Line: line,
		Value: show(redact(value)), Problem: problem, Allowed: allowed, Remedy: remedy,
	})
}

func (d *decoder) seen(at path, line int) {
	if d.lines == nil {
		d.lines = map[string]int{}
	}
	d.lines[at.String()] = line
}

// decode puts n into v, whose kinds are those that the tree of Settings uses.
func (d *decoder) decode(n node, v reflect.Value, at path, tag reflect.StructTag) {
	if _, known := d.lines[at.String()]; !known {
		d.seen(at, n.line)
	}
	if duration, ok := v.Addr().Interface().(*Duration); ok {
		if n.kind != kindString || duration.UnmarshalText([]byte(n.text)) != nil {
			d.fail(at, n.text, "no duration", allowed(v, tag), "write a number with a unit, like 5s or 250ms")
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.decodeStruct(n, v, at)
	case reflect.Slice:
		d.decodeList(n, v, at)
	case reflect.Pointer:
		if n.kind == kindNull {
			v.SetZero()
			return
		}
		p := reflect.New(v.Type().Elem())
		d.decode(n, p.Elem(), at, tag)
		v.Set(p)
	default:
		if problem := setScalar(n, v); problem != "" {
			d.fail(at, n.text, problem, allowed(v, tag), remedyFor(n, v))
		}
	}
}

// setScalar returns what is wrong, "" where nothing is.
func setScalar(n node, v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		if n.kind != kindString {
			return "not a text but " + string(n.kind)
		}
		v.SetString(n.text)
	case reflect.Bool:
		if n.kind != kindBool {
			return "not true or false but " + string(n.kind)
		}
		v.SetBool(n.text == "true")
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(n.text, 10, 64)
		if n.kind != kindNumber || err != nil {
			return "not a whole number"
		}
		v.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.text, 64)
		if n.kind != kindNumber || err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			return "not a number"
		}
		v.SetFloat(f)
	default:
		return "not a setting"
	}
	return ""
}

func remedyFor(n node, v reflect.Value) string {
	if v.Kind() == reflect.String && (n.kind == kindNumber || n.kind == kindBool) {
		return "put it in quotes"
	}
	return ""
}

func (d *decoder) decodeStruct(n node, v reflect.Value, at path) {
	if n.kind != kindMap {
		keys := strings.Join(keysOf(v.Type()), ", ")
		d.fail(at, n.text, "not a group of keys but "+string(n.kind), "the keys "+keys, "")
		return
	}
	given := map[string]bool{}
	for i, k := range n.keys {
		field := at.key(k.name)
		index, ok := fieldOf(v.Type(), k.name)
		switch {
		case !ok:
			d.seen(field, k.line)
			d.fail(field, "", "unknown key", "", d.suggest(v.Type(), k.name))
		case d.file != nil && v.Type().Field(index).Tag.Get("live") == string(ClassFile):
			d.fail(field, n.items[i].text, "cannot be changed over MQTT", "",
				"in the settings file only, then restart")
		case given[k.name]:
			d.fail(field, "", "given twice", "", fmt.Sprintf("keep one (the second is on line %d)", k.line))
		default:
			d.seen(field, k.line)
			d.decode(n.items[i], v.Field(index), field, v.Type().Field(index).Tag)
		}
		given[k.name] = true
	}
	for i := range v.NumField() {
		// A text that is missing is found by the checks: an empty one is never right.
		f := v.Type().Field(i)
		name := f.Tag.Get("json")
		if f.Tag.Get("need") != "" && !given[name] && v.Field(i).Kind() != reflect.String {
			d.fail(at.key(name), "", "missing", allowed(v.Field(i), f.Tag), "")
		}
	}
}

func (d *decoder) decodeList(n node, v reflect.Value, at path) {
	if n.kind != kindList {
		d.fail(at, n.text, "not a list but "+string(n.kind), "a list", "begin each entry with a dash")
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, item := range n.items {
		entry := list.Index(i)
		if camera, ok := entry.Addr().Interface().(*Camera); ok {
			*camera = d.cameraUnder(item)
		}
		d.decode(item, entry, at.index(i), "")
	}
	if len(n.items) == 0 {
		list = reflect.Zero(v.Type()) // so that equal settings are equal in memory
	}
	v.Set(list)
}

// cameraUnder returns what an entry of the list of cameras goes over: in a
// document the file's camera of its id, if there is one.
func (d *decoder) cameraUnder(entry node) Camera {
	for i, k := range entry.keys {
		if k.name != "id" || d.file == nil {
			continue
		}
		for _, c := range d.file.Cameras {
			if c.ID == entry.items[i].text {
				return c
			}
		}
	}
	return Camera{Fit: defaultCamera().Fit, Night: DefaultNight()} // id and source have no default in a list
}

func fieldOf(t reflect.Type, name string) (int, bool) {
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("json") == name && name != "" {
			return i, true
		}
	}
	return 0, false
}

func keysOf(t reflect.Type) []string {
	keys := make([]string, 0, t.NumField())
	for i := range t.NumField() {
		keys = append(keys, t.Field(i).Tag.Get("json"))
	}
	return keys
}

// suggest finds the key that was meant: a near one here, or the same one in
// another group.
func (d *decoder) suggest(t reflect.Type, name string) string {
	keys := keysOf(t)
	if d.file != nil && t == reflect.TypeFor[Settings]() {
		keys = append(keys, documentKeys...)
	}
	if near := nearest(name, keys); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	root := reflect.TypeFor[Settings]()
	for i := range root.NumField() {
		f := root.Field(i)
		group := f.Type
		if group.Kind() == reflect.Slice {
			group = group.Elem()
		}
		if f.Tag.Get("json") == name {
			return fmt.Sprintf("did you mean the key %s of the document itself?", name)
		}
		if group.Kind() != reflect.Struct {
			continue
		}
		if _, ok := fieldOf(group, name); ok {
			return fmt.Sprintf("did you mean %s.%s?", f.Tag.Get("json"), name)
		}
	}
	return "known keys: " + strings.Join(keys, ", ")
}

// checkTags checks ranges, values and forms of all fields below v.
func (d *decoder) checkTags(v reflect.Value, at path) {
	for i := range v.NumField() {
		f, value := v.Type().Field(i), v.Field(i)
		field := at.key(f.Tag.Get("json"))
		switch {
		case value.Kind() == reflect.Struct:
			d.checkTags(value, field)
		case value.Kind() == reflect.Slice:
			if outside(float64(value.Len()), f.Tag) {
				d.fail(field, strconv.Itoa(value.Len()), "wrong number of entries", allowed(value, f.Tag), "")
			}
			for j := range value.Len() {
				d.checkTags(value.Index(j), field.index(j))
			}
		default:
			d.checkScalar(value, field, f.Tag)
		}
	}
}

func (d *decoder) checkScalar(v reflect.Value, at path, tag reflect.StructTag) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	text := fmt.Sprint(v.Interface())
	switch {
	case v.Type() == reflect.TypeFor[Duration]():
		text = time.Duration(v.Int()).String()
		if outside(float64(v.Int()), tag) {
			d.fail(at, text, "out of range", allowed(v, tag), "")
		}
	case v.CanInt() && outside(float64(v.Int()), tag), v.CanFloat() && outside(v.Float(), tag):
		d.fail(at, text, "out of range", allowed(v, tag), "")
	}
	if values := tag.Get("enum"); values != "" && !oneOf(text, values) {
		remedy := ""
		if near := nearest(text, strings.Split(values, ",")); near != "" {
			remedy = fmt.Sprintf("did you mean %q?", near)
		}
		d.fail(at, text, "no such value", allowed(v, tag), remedy)
	}
	switch pattern := tag.Get("pattern"); {
	case v.Kind() == reflect.String && len(text) > maxText:
		d.fail(at, text, "too long", fmt.Sprintf("at most %d bytes", maxText), "")
	case pattern == "id" && !isID(text):
		d.fail(at, text, "no id", allowed(v, tag), "")
	case pattern == "size" && text != "" && !isSize(text):
		d.fail(at, text, "no size", allowed(v, tag), "")
	}
}

// isSize reports whether s is WIDTHxHEIGHT.
func isSize(s string) bool {
	w, h, ok := strings.Cut(s, "x")
	for _, n := range []string{w, h} {
		v, err := strconv.Atoi(n)
		ok = ok && err == nil && v > 0 && strconv.Itoa(v) == n
	}
	return ok
}

// maxText is the longest text, in bytes.
const maxText = 1024

func isID(s string) bool {
	for i := range len(s) {
		if !isIDByte(s[i]) {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

func oneOf(s, list string) bool {
	for v := range strings.SplitSeq(list, ",") {
		if v == s {
			return true
		}
	}
	return false
}

// outside reports whether f is no number, or beyond the tags min and max.
func outside(f float64, tag reflect.StructTag) bool {
	lo, hasLo := bound(tag, "min")
	hi, hasHi := bound(tag, "max")
	return math.IsNaN(f) || hasLo && f < lo || hasHi && f > hi
}

// bound returns a limit; one of a duration in nanoseconds.
func bound(tag reflect.StructTag, name string) (float64, bool) {
	text := tag.Get(name)
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return f, true
	}
	if d, err := time.ParseDuration(text); err == nil {
		return float64(d), true
	}
	return 0, false
}

// allowed says in words what a field may hold.
func allowed(v reflect.Value, tag reflect.StructTag) string {
	lo, hi := tag.Get("min"), tag.Get("max")
	switch {
	case tag.Get("enum") != "":
		return strings.ReplaceAll(tag.Get("enum"), ",", ", ")
	case tag.Get("pattern") == "id":
		return "1 to 64 of A-Z a-z 0-9 _ -"
	case tag.Get("pattern") == "size":
		return "WIDTHxHEIGHT, such as 640x480, or empty"
	case v.Kind() == reflect.Slice:
		return lo + " to " + hi + " entries"
	case lo != "":
		return strings.TrimSpace(lo + " to " + hi + " " + tag.Get("unit"))
	case v.Kind() == reflect.Bool:
		return "true, false"
	}
	return ""
}
