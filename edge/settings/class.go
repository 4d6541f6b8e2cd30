package settings

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
)

// Class says what has to be done to change a setting: the tag live of its field,
// or of the group that it is in.
type Class string

// The classes.
const (
	ClassStage    Class = "stage"    // between two frames
	ClassNetworks Class = "networks" // other networks, or another engine, are loaded
	ClassCamera   Class = "camera"   // that camera is opened anew
	ClassBroker   Class = "broker"   // a new connection, which is gone back from if it does not come about
	ClassService  Class = "service"  // nothing that frames meet
	ClassFile     Class = "file"     // only in the settings file: who the device is, and where it listens
)

// classOf is the class of a field, given that of its group.
func classOf(tag reflect.StructTag, group Class) Class {
	if c := tag.Get("live"); c != "" {
		return Class(c)
	}
	return group
}

// Changed says how two settings differ.
type Changed struct {
	Stage, Networks, Broker, Service, File bool
	Cameras                                []CameraChange // those to do something about
	List                                   []Difference   // every key
}

// CameraChange says what becomes of a camera.
type CameraChange struct {
	ID      string
	Added   bool
	Removed bool
	Reopen  bool // it is there in both, but not in the same way
	Blank   bool // only other parts are blanked, or its exposure is another: it need not be opened anew
}

// Difference is a key with two values.
type Difference struct {
	Path  string `json:"path"` // as in the file; cameras by their id: cameras[front].rate
	From  string `json:"from"`
	To    string `json:"to"`
	Class Class  `json:"class"`
}

// String is one line.
func (d Difference) String() string {
	return fmt.Sprintf("%s: %s -> %s (%s)", d.Path, d.From, d.To, d.Class)
}

// Tried reports whether the change can show in masks, or in their way to the
// broker, so that it must prove itself.
func (c Changed) Tried() bool { return c.Stage || c.Networks || c.Broker || len(c.Cameras) > 0 }

// Changes compares two settings. The order of cameras does not matter.
func Changes(from, to Settings) (c Changed) {
	c.compare(reflectOf(&from), reflectOf(&to), "", "")
	byID := func(list []Camera, id string) int {
		return slices.IndexFunc(list, func(c Camera) bool { return c.ID == id })
	}
	for _, cam := range to.Cameras {
		at := "cameras[" + cam.ID + "]"
		i := byID(from.Cameras, cam.ID)
		if i < 0 {
			c.note(at, "", redact(cam.Source), ClassCamera)
			c.Cameras = append(c.Cameras, CameraChange{ID: cam.ID, Added: true})
			continue
		}
		old, before := from.Cameras[i], len(c.List)
		c.compare(reflectOf(&old), reflectOf(&cam), at, ClassCamera)
		change := CameraChange{ID: cam.ID}
		for _, d := range c.List[before:] {
			change.Reopen = change.Reopen || d.Class == ClassCamera
			change.Blank = change.Blank || d.Class == ClassStage
		}
		if change.Reopen || change.Blank {
			c.Cameras = append(c.Cameras, change)
		}
	}
	for _, cam := range from.Cameras {
		if byID(to.Cameras, cam.ID) < 0 {
			c.note("cameras["+cam.ID+"]", redact(cam.Source), "", ClassCamera)
			c.Cameras = append(c.Cameras, CameraChange{ID: cam.ID, Removed: true})
		}
	}
	return c
}

func (c *Changed) compare(from, to reflect.Value, at string, group Class) {
	for i := range from.NumField() {
		f := from.Type().Field(i)
		name, class := join(at, f.Tag.Get("json")), classOf(f.Tag, group)
		switch a, b := from.Field(i), to.Field(i); {
		case f.Type == reflect.TypeFor[[]Camera]():
		case f.Type.Kind() == reflect.Struct:
			c.compare(a, b, name, class)
		case !reflect.DeepEqual(a.Interface(), b.Interface()):
			c.note(name, plainText(a), plainText(b), class)
		}
	}
}

func (c *Changed) note(path, from, to string, class Class) {
	c.List = append(c.List, Difference{Path: path, From: from, To: to, Class: class})
	switch class {
	case ClassStage:
		c.Stage = true
	case ClassNetworks:
		c.Networks = true
	case ClassBroker:
		c.Broker = true
	case ClassService:
		c.Service = true
	case ClassFile:
		c.File = true
	case ClassCamera: // told of one by one
	}
}

// plainText is a value as people read it, without secrets.
func plainText(v reflect.Value) string {
	if v.Kind() != reflect.Slice {
		return redact(yamlScalar(v))
	}
	b, err := json.Marshal(v.Interface())
	if err != nil { // cannot be: numbers
		return err.Error()
	}
	return string(b)
}
