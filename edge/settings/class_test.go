package settings

import (
	"reflect"
	"strings"
	"testing"
)

func TestEveryKeyHasAClass(t *testing.T) {
	var walk func(reflect.Type, string, Class)
	walk = func(typ reflect.Type, at string, group Class) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, class := join(at, f.Tag.Get("json")), classOf(f.Tag, group)
			switch {
			case changeWords[class] == "":
				t.Errorf("%s is of class %q: give it, or its group, the tag live", name, class)
			case f.Type.Kind() == reflect.Struct:
				walk(f.Type, name, class)
			case f.Type.Kind() == reflect.Slice:
				walk(f.Type.Elem(), name, class)
			}
		}
	}
	walk(reflect.TypeFor[Settings](), "", "")
}

func TestChanges(t *testing.T) {
	std := 0.2
	base := example()
	for _, c := range []struct {
		name   string
		change func(*Settings)
		want   Changed // without the list
		list   string  // its paths
	}{
		{"nothing", func(*Settings) {}, Changed{}, ""},
		{"a copy", func(s *Settings) { *s = s.Clone() }, Changed{}, ""},
		{"stage", func(s *Settings) {
			s.Relight.Dark, s.Reweight.Std, s.Publish.Rate, s.Log.Level = 3, &std, 5, "debug"
		}, Changed{Stage: true}, "relight.dark reweight.std publish.rate log.level"},
		{
			"networks", func(s *Settings) { s.Bundle, s.Engine.Threads = "x", 2 },
			Changed{Networks: true},
			"bundle engine.threads",
		},
		{
			"broker", func(s *Settings) { s.Broker.URL, s.Broker.ClientID = "mqtt://me:word@x", "x" },
			Changed{Broker: true},
			"broker.url broker.client_id",
		},
		{
			"service", func(s *Settings) { s.Broker.Trial, s.Log.Format, s.Probation.Frames = 1, "text", 7 },
			Changed{Service: true},
			"broker.trial log.format probation.frames",
		},
		{"file", func(s *Settings) { s.Device, s.Publish.Queue = "x", 9 }, Changed{File: true}, "device publish.queue"},
		{"cameras in another order", func(s *Settings) {
			s.Cameras[0], s.Cameras[1] = s.Cameras[1], s.Cameras[0]
		}, Changed{}, ""},
		{
			"a camera", func(s *Settings) { s.Cameras[1].Rotate = 0 },
			Changed{Cameras: []CameraChange{{ID: "rear", Reopen: true}}},
			"cameras[rear].rotate",
		},
		{
			"blank", func(s *Settings) { s.Cameras[1].Blank = nil },
			Changed{Stage: true, Cameras: []CameraChange{{ID: "rear", Blank: true}}},
			"cameras[rear].blank",
		},
		{
			"night", func(s *Settings) { s.Cameras[0].Night.Mode = "auto" },
			Changed{Stage: true, Cameras: []CameraChange{{ID: "front", Blank: true}}},
			"cameras[front].night.mode",
		},
		{
			"board", func(s *Settings) { s.Board.Lamp.Level, s.Board.Governor, s.Relight.DarkLux = 0.5, false, 9 },
			Changed{Stage: true, Service: true},
			"relight.dark_lux board.governor board.lamp.level",
		},
		{"another camera", func(s *Settings) { s.Cameras[1].ID = "left" }, Changed{Cameras: []CameraChange{
			{ID: "left", Added: true}, {ID: "rear", Removed: true},
		}}, "cameras[left] cameras[rear]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := base.Clone()
			c.change(&to)
			got := Changes(base, to)
			var paths []string
			for _, d := range got.List {
				paths = append(paths, d.Path)
				if strings.Contains(d.String(), "word") {
					t.Errorf("a password is shown: %s", d)
				}
			}
			got.List = nil
			if !reflect.DeepEqual(got, c.want) || strings.Join(paths, " ") != c.list {
				t.Errorf("got %+v, %v", got, paths)
			}
			if want := c.want.Stage || c.want.Networks || c.want.Broker || len(c.want.Cameras) > 0; got.Tried() != want {
				t.Errorf("tried: %v", got.Tried())
			}
		})
	}
	if s := example(); !reflect.DeepEqual(s, base) {
		t.Error("what was compared was changed")
	}
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"rtsp://me:word@host/a":              "rtsp://***@host/a",
		"rtsp://me:wo/rd@host/a":             "rtsp://***@host/a",
		"rtsp://host/a?user=me&password=w&x": "rtsp://host/a?user=***&password=***&x",
		"synth://?seed=1":                    "synth://?seed=1",
		"/data/a@b":                          "/data/a@b",
		"mqtts://me:word@host:8883":          "mqtts://***@host:8883",
	} {
		if got := redact(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	s := example()
	s.Cameras[0].Source = "rtsp://me:word@host/"
	if r := s.Redacted(); r.Cameras[0].Source != "rtsp://***@host/" || s.Cameras[0].Source != "rtsp://me:word@host/" {
		t.Errorf("%s, the settings themselves %s", r.Cameras[0].Source, s.Cameras[0].Source)
	}
}
