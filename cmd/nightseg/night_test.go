package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/camera/control"
	"nightseg/edge"
	"nightseg/edge/frame"
	"nightseg/edge/settings"
)

// webcam is a camera with controls, of which it is noted what is done to it.
type webcam struct {
	mu                   sync.Mutex
	opened, closed, sets int
	values               control.Values
	fails                error
}

func (w *webcam) open(string) (*nightCamera, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fails != nil {
		return nil, w.fails
	}
	w.opened++
	return &nightCamera{
		Camera: control.Camera{
			ShortestExposure: 300 * time.Microsecond, LongestExposure: 200 * time.Millisecond,
			Unit: 100 * time.Microsecond, HasGain: true,
		},
		now: control.Values{Exposure: 25 * time.Millisecond, Gain: 20},
		set: func(v control.Values) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.values = v
			w.sets++
			return w.fails
		},
		close: func() error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.closed++
			return nil
		},
	}, nil
}

// luma is that of the camera's pictures of a dark street.
func (w *webcam) luma() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.values.Exposure.Seconds() * 1000 * (1 + w.values.Gain/10)
}

// fail makes it fail, or well again.
func (w *webcam) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fails = err
}

// nightCameraOf is a camera of the settings.
func nightCameraOf(mode string) settings.Camera {
	n := settings.DefaultNight()
	n.Mode = mode
	return settings.Camera{ID: "front", Source: "v4l2:///dev/video7", Night: n}
}

// TestNightControl drives a camera by its pictures, through other settings and a plug that
// is pulled, and gives it back at the end.
func TestNightControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, cam := edge.NewHealth(nil), &webcam{}
		n := newNightControl(nightCameraOf(settings.NightOff), h)
		n.open = cam.open
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { n.run(ctx); close(done) }()
		// pass lets frames come for a while, 30 a second.
		pass := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); {
				time.Sleep(33 * time.Millisecond) //nolint:forbidigo // fake time
				n.see(cam.luma())
			}
			synctest.Wait()
		}
		pass(time.Second)
		if e, g := n.values(); cam.opened > 0 || e != 0 || g != 0 {
			t.Errorf("off: %+v, %v, %v", cam, e, g)
		}
		n.change(nightCameraOf(settings.NightAuto))
		pass(10 * time.Second)
		if l := cam.luma(); l < 50 || l > 72 || cam.values.Exposure != 16*time.Millisecond {
			t.Errorf("auto: luma %v with %+v", l, cam.values)
		}
		if e, g := n.values(); e != cam.values.Exposure || g != float32(cam.values.Gain) {
			t.Errorf("%v and %v are told of %+v", e, g, cam.values)
		}
		sets := cam.sets
		pass(20 * time.Second)
		if again := cam.sets - sets; again < 3 || again > 6 {
			t.Errorf("set %d times in 20 s of rest", again)
		}

		cam.fail(errors.New("no such device"))
		pass(6 * time.Second)
		if why := h.Of("front"); !strings.Contains(why, "no such device") || cam.closed != 1 {
			t.Errorf("pulled out: %q, closed %d", why, cam.closed)
		}
		if e, _ := n.values(); e != 0 {
			t.Errorf("pulled out: an exposure of %v is told", e)
		}
		cam.fail(nil)
		pass(5 * time.Second)
		if why := h.Of("front"); why != "" || cam.opened != 2 {
			t.Errorf("plugged in: %q", why)
		}

		manual := nightCameraOf(settings.NightManual)
		manual.Night.Exposure, manual.Night.Gain = 8, 30
		n.change(manual)
		pass(time.Second)
		if want := (control.Values{Exposure: 8 * time.Millisecond, Gain: 30}); cam.values != want || cam.opened != 2 {
			t.Errorf("manual: %+v", cam)
		}
		n.change(nightCameraOf(settings.NightOff))
		pass(time.Second)
		if cam.closed != 2 {
			t.Error("off: it is not given back")
		}
		n.change(manual)
		pass(time.Second)
		cancel()
		<-done
		if cam.closed != 3 {
			t.Error("at the end it is not given back")
		}
	})
}

// TestNightWithoutControls: cameras of other kinds, and those of which a part cannot be set.
func TestNightWithoutControls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := edge.NewHealth(nil)
		c := nightCameraOf(settings.NightAuto)
		c.Source = "csi://0"
		n := newNightControl(c, h)
		n.open = func(string) (*nightCamera, error) {
			return &nightCamera{
				Camera: control.Camera{HasGain: true},
				set:    func(control.Values) error { return nil }, close: func() error { return nil },
			}, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { n.run(ctx); close(done) }()
		synctest.Wait()
		if why := h.Of("front"); !strings.Contains(why, "V4L2 cameras alone") {
			t.Error(why)
		}
		n.change(nightCameraOf(settings.NightAuto))
		synctest.Wait()
		if why := h.Of("front"); !strings.Contains(why, "not its exposure") {
			t.Error(why)
		}
		n.change(nightCameraOf(settings.NightOff))
		synctest.Wait()
		if why := h.Of("front"); why != "" {
			t.Error(why)
		}
		cancel()
		<-done
	})
	bad := checkCameras(settings.Settings{Cameras: []settings.Camera{
		nightCameraOf(settings.NightAuto),
		{ID: "b", Source: "csi://0", Night: settings.Night{Mode: settings.NightManual}},
		{ID: "c", Source: "csi://0"},
	}})
	if len(bad) != 1 || bad[0].Pointer != "/cameras/1/night/mode" {
		t.Errorf("%+v", bad)
	}
}

// TestOutlook leaves out as many frames as it is told to, and says so.
func TestOutlook(t *testing.T) {
	around := &surroundings{}
	src := &numbered{fail: -1}
	o := &outlook{Source: src, inner: src, around: around, night: newNightControl(nightCameraOf(""), edge.NewHealth(nil))}
	around.setRate(0.6)
	around.setLux(3)
	out := 0
	for range 60 {
		var f frame.Frame
		if err := o.Next(t.Context(), &f); err != nil {
			t.Fatal(err)
		}
		if out += int(f.DroppedBefore); f.Lux != 3 {
			t.Fatalf("%v lx", f.Lux)
		}
	}
	if out < 39 || out > 40 || o.Counters()["heat"] < 39 || o.Counters()["lost"] != 2 {
		t.Errorf("%d of 100 frames are left out, %v", out, o.Counters())
	}
	around.setRate(1)
	var f frame.Frame
	if n := testing.AllocsPerRun(100, func() { _ = o.Next(t.Context(), &f) }); n > 0 {
		t.Errorf("%v allocations a frame", n)
	}
}
