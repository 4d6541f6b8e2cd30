package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nightseg/edge/settings"
)

// TestCamerasComeAndGo changes the list of cameras and what they show.
func TestCamerasComeAndGo(t *testing.T) {
	p, out, s := pipelineOf(t, nil, camera60)
	seq := out.more("a", 3).Seq
	a := s.Cameras[0]
	steps := []struct {
		name    string
		cameras []settings.Camera
		check   func()
	}{
		{"one more", []settings.Camera{a, {ID: "b", Source: camera60}}, func() { out.more("b", 3) }},
		{"blank", []settings.Camera{with(a, func(c *settings.Camera) {
			c.Blank = []settings.Region{{X0: 0, Y0: 0.5, X1: 1, Y1: 1}}
		})}, func() {
			if out.more("a", 3); out.unknown != 0.5 {
				t.Errorf("%.2f of the mask is unknown", out.unknown)
			}
		}},
		{"turned", []settings.Camera{with(a, func(c *settings.Camera) { c.FlipH = true })}, func() {
			if m := out.more("a", 3); m.ToSource.A >= 0 || out.unknown != 0 {
				t.Errorf("to source %+v, %.2f unknown", m.ToSource, out.unknown)
			}
		}},
		{"another source", []settings.Camera{with(a, func(c *settings.Camera) {
			c.Source = "synth://?seed=8&size=96x64&fps=60&loop=8"
		})}, func() {
			eventually(t, "frames of the other source", func() bool { return out.more("a", 1).SourceW == 96 })
		}},
		{"the other one only", []settings.Camera{{ID: "b", Source: camera60}}, func() { out.more("b", 3) }},
	}
	for i, step := range steps {
		next := s
		next.Cameras = step.cameras
		if err := p.change(t, next, int64(i+1)); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		step.check()
		if n := len(p.all()); n != len(step.cameras) {
			t.Errorf("%s: %d cameras", step.name, n)
		}
	}
	for i, m := range out.of("a") {
		if i > 0 && m.Seq <= seq {
			t.Fatalf("frame %d after %d", m.Seq, seq)
		}
		seq = m.Seq
	}
	if bad, reason := p.health.State(); bad {
		t.Errorf("degraded: %s", reason)
	}
	next := s
	next.Cameras = []settings.Camera{{ID: "b", Source: "nothing://at all"}}
	_, bad := p.Prepare(t.Context(), settings.Desired{Version: 9, Settings: next})
	if len(bad) != 1 || bad[0].Pointer != "/cameras/0/source" {
		t.Errorf("%v", bad)
	}
}

func with(c settings.Camera, change func(*settings.Camera)) settings.Camera {
	change(&c)
	return c
}

// TestNewCameraMustGiveMasks adds cameras that give nothing.
func TestNewCameraMustGiveMasks(t *testing.T) {
	p, out, s := pipelineOf(t, nil, camera60)
	out.more("a", 5)
	next := s
	next.Cameras = append(slices.Clone(s.Cameras), settings.Camera{ID: "b", Source: filepath.Join(t.TempDir(), "none")})
	if err := p.change(t, next, 1); err == nil || !strings.Contains(err.Error(), "camera b: 0 of 5 masks") {
		t.Errorf("%v", err)
	}
	if n := len(p.all()); n != 1 {
		t.Errorf("%d cameras", n)
	}
	if bad, reason := p.health.State(); bad {
		t.Errorf("degraded: %s", reason)
	}
	out.more("a", 5)
}
