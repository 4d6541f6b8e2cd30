package synth_test

import (
	"fmt"
	"strings"
	"testing"

	"nightseg/camera/synth"
)

func TestParseQuery(t *testing.T) {
	std := synth.Params{W: 640, H: 480, Time: synth.Night, Layout: synth.LayoutAuto, Speed: 8, FPS: 30}
	for query, change := range map[string]func(*synth.SourceOptions){
		"":                          func(*synth.SourceOptions) {},
		"seed=1&size=64x48":         func(o *synth.SourceOptions) { o.Seed, o.W, o.H = 1, 64, 48 },
		"time=day&frames=12":        func(o *synth.SourceOptions) { o.Time, o.Frames = synth.Day, 12 },
		"fps=12.5&speed=0.5":        func(o *synth.SourceOptions) { o.FPS, o.Speed = 12.5, 0.5 },
		"layout=demo&loop=2":        func(o *synth.SourceOptions) { o.Layout, o.LoopFrames = synth.LayoutDemo, 2 },
		"seed=18446744073709551615": func(o *synth.SourceOptions) { o.Seed = 1<<64 - 1 },
	} {
		want := synth.SourceOptions{Params: std}
		change(&want)
		got, err := synth.ParseQuery(query)
		if err != nil || got != want {
			t.Errorf("ParseQuery(%q) = %+v, %v, want %+v", query, got, err, want)
		}
	}
}

func TestParseQueryRefuses(t *testing.T) {
	for query, want := range map[string]string{
		"sed=1":                           "did you mean seed?",
		"tiem=day":                        "did you mean time?",
		"Size=1x1":                        "did you mean size?",
		"rate=30":                         "known: seed, size, time",
		"time=nihgt":                      "did you mean night?",
		"layout=avenu":                    "did you mean avenue?",
		"seed=1&seed=2":                   "given 2 times",
		"seed=-1":                         "seed:",
		"size=640":                        "size:",
		"size=0x0":                        "size:",
		"size=640x480x3":                  "size:",
		"size=8x480":                      "size: width 8",
		"size=640x99999":                  "size: height 99999",
		"frames=-1":                       "frames:",
		"frames=many":                     "frames:",
		"fps=0":                           "fps:",
		"fps=NaN":                         "fps:",
		"fps=+Inf":                        "fps:",
		"speed=41":                        "speed:",
		"loop=1":                          "loop:",
		"loop=99999":                      "loop:",
		"seed=%zz":                        "invalid URL escape",
		"time=":                           "time:",
		strings.Repeat("x", 1<<12) + "=1": "is not a parameter",
	} {
		if o, err := synth.ParseQuery(query); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseQuery(%.40q) = %+v, %v, want an error with %q", query, o, err, want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	if s, err := synth.Open("sed=1", true); err == nil {
		s.Close()
		t.Error("Open took a query with an unknown parameter")
	}
	s, err := synth.Open("size=32x32&loop=5", true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if o := s.Options(); !o.Realtime || o.LoopFrames != 5 || o.W != 32 {
		t.Errorf("options %+v", o)
	}
}

func FuzzParseQuery(f *testing.F) {
	for _, q := range []string{
		"", "seed=1&size=640x480&time=night", "time=dusk&layout=demo&fps=29.97&speed=8&frames=3&loop=90",
		"sed=1", "seed=1&seed=1", "size=x", "fps=nan", "%", "a;b", "size=+16x+16",
	} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		o, err := synth.ParseQuery(query)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "synth: ") {
				t.Errorf("error does not name its stage: %v", err)
			}
			return
		}
		if o.W < synth.MinSide || o.W > synth.MaxSide || o.H < synth.MinSide || o.H > synth.MaxSide {
			t.Errorf("%q gives size %dx%d", query, o.W, o.H)
		}
		again := fmt.Sprintf("seed=%d&size=%dx%d&time=%s&frames=%d&fps=%v&layout=%s&speed=%v",
			o.Seed, o.W, o.H, o.Time, o.Frames, o.FPS, o.Layout, o.Speed)
		if o.LoopFrames != 0 {
			again += fmt.Sprintf("&loop=%d", o.LoopFrames)
		}
		// A number such as 1e+20 keeps its plus sign only when it is escaped.
		got, err := synth.ParseQuery(strings.ReplaceAll(again, "+", "%2B"))
		if err != nil || got != o {
			t.Errorf("%q gives %+v, written out and read again %+v, %v", query, o, got, err)
		}
	})
}
