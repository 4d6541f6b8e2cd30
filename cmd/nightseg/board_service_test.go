package main

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nightseg/edge/frame"
	"nightseg/edge/mqtt"
	"nightseg/edge/settings"
)

// serviceBoard is a made-up board that is quick to shed and to come back.
const serviceBoard = `name: test
lines: {pin29: PQ.05, pin31: PQ.06}
i2c: {header: 7}
pwm: {pin33: {node: pwm@32c0000, channel: 0}}
zones: {tj: tj-thermal}
rails: {input: {hwmon: ina3221, label: VDD_IN}}
light: {front: {i2c: header, chip: bh1750, address: 0x23, interval: 200ms}}
outputs: {led: {line: pin29}, dimmer: {pwm: pin33, hertz: 1000, most: 80}}
status: led
governor:
  zones: [tj]
  warm: {up: 88, down: 85}
  hot: {up: 94.5, down: 93}
  critical: {up: 95, down: 94}
  shed: 1s
  recover: 1s
  rate: 0.9
`

// boardLines are lines of a settings file with a board that has these groups more.
func boardLines(t *testing.T, groups, use string) string {
	t.Helper()
	p := saveText(t, filepath.Join(t.TempDir(), "board.yaml"), serviceBoard+groups)
	return "board: {description: " + p + use + "}"
}

// heat sets the zone tj of a recorded Orin Nano.
func heat(t *testing.T, root, milli string) {
	t.Helper()
	saveText(t, filepath.Join(root, "sys/class/thermal/thermal_zone8/temp"), milli+"\n")
}

// boardDocument is health as a subscriber reads it.
type boardDocument struct {
	Board *struct {
		Light    map[string]struct{ Lux float64 }
		Governor struct{ Level int }
		Problems map[string]string
		Lamp     *struct {
			Level, Wish float64
			Restarts    uint64
			Problem     string
		}
	}
}

// TestRunOnAHotBoard: light comes with the masks; when it is hot the relight network, frames
// and the size are shed, told with the reason, and come back.
func TestRunOnAHotBoard(t *testing.T) {
	needEngine(t)
	b, root := startBroker(t, ""), boardRoot(t, "orin-nano")
	ob := observe(t, b.URL())
	start(t, "run", "--root", root, "--config", settingsFile(t, b.URL(), synthCamera, "relight: {mode: network}",
		"stats: {interval: 200ms}", boardLines(t, "", "")))
	m := ob.mask("with light", func(s *seen) bool { return s.Lux > 0 })
	if m.Lux < 34 || m.Lux > 39 || m.Relight != frame.RelightNetwork {
		t.Errorf("%v lx, relit by %s", m.Lux, m.Relight)
	}
	h := document(ob, "/health", func(d *boardDocument) bool { return d.Board != nil && len(d.Board.Light) > 0 })
	if len(h.Board.Problems) > 0 || h.Board.Light["front"].Lux != float64(m.Lux) && h.Board.Light["front"].Lux < 34 {
		t.Errorf("%+v", h.Board)
	}
	heat(t, root, "96000")
	ob.status(mqtt.Degraded, "because tj is hot")
	ob.mask("relit by gamma", func(s *seen) bool { return s.Relight == frame.RelightGamma })
	event := document(ob, "/event", func(e *boardEventDocument) bool { return e.Step != nil && e.Step.To.Small })
	if event.Run != m.Run || !strings.Contains(event.Step.Reason, "tj is") || event.Mono == 0 || event.Seq == 0 {
		t.Errorf("event %+v", event)
	}
	r := document(ob, "/config/reported", func(r *settings.Reported) bool { return r.Shed != nil && r.Shed.Cannot != "" })
	if r.Shed.Rate != 0.9 || !r.Shed.Gamma || r.Shed.Cannot != errNothingSmaller.Error() ||
		r.Settings.Relight.Mode != "network" {
		t.Errorf("reported %+v, settings %+v", r.Shed, r.Settings.Relight)
	}
	st := document(ob, "/cam/front/stats", func(s *statsDocument) bool { return s.Source["heat"] > 5 })
	if share := float64(st.Source["heat"]) / float64(st.Captured+st.Source["heat"]); share > 0.11 || st.Lux < 34 {
		t.Errorf("%v of the frames are left out, %v lx", share, st.Lux)
	}
	heat(t, root, "50000")
	ob.mask("relit by the network again", func(s *seen) bool { return s.Relight == frame.RelightNetwork })
	document(ob, "/config/reported", func(r *settings.Reported) bool { return r.Shed == nil })
	ob.status(mqtt.Online, "")
}

// TestRunTooHotToStart waits, says why, and starts when it is cooler.
func TestRunTooHotToStart(t *testing.T) {
	needEngine(t)
	b, root := startBroker(t, ""), boardRoot(t, "orin-nano")
	manager := startManager(t, 9*time.Second)
	ob := observe(t, b.URL())
	heat(t, root, "90000")
	start(t, "run", "--root", root, "--config", settingsFile(t, b.URL(), synthCamera, boardLines(t, "", "")))
	ob.status(mqtt.Degraded, "too hot to start: zone tj has 90.0 °C; it starts below 85.0 °C")
	manager.until(t, "EXTEND_TIMEOUT_USEC=")
	heat(t, root, "86000")
	ob.status(mqtt.Degraded, "zone tj has 86.0 °C")
	if len(ob.masks) > 0 {
		t.Error("masks while it is too hot")
	}
	heat(t, root, "60000")
	ob.status(mqtt.Online, "")
	ob.anyMask()
	manager.until(t, "READY=1")
}

// TestRunIsStoppedByItsBoard: by the battery, and by a button that is held.
func TestRunIsStoppedByItsBoard(t *testing.T) {
	needEngine(t)
	for name, c := range map[string]struct{ groups, why, event string }{
		"battery": {
			"battery: {rail: input, below: 5.5, for: 1s}\n", "the battery has been below 5.5 V", `"battery":"the battery`,
		},
		"button": {
			"buttons: {stop: {line: pin31, active_low: true, pull: up, debounce: 20ms, long: 1s}}\n",
			"the button stop was held", `"kind":"held"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, root := startBroker(t, ""), boardRoot(t, "orin-nano")
			ob := observe(t, b.URL())
			p := start(t, "run", "--root", root, "--config", settingsFile(t, b.URL(), synthCamera, boardLines(t, c.groups, "")))
			if code := p.wait(t); code != exitStopped {
				t.Errorf("exit code %d", code)
			}
			ob.status(mqtt.Stopped, c.why)
			events := ""
			for len(ob.others) > 0 {
				if m := <-ob.others; strings.HasSuffix(m.Topic, "/event") {
					events += string(m.Payload)
				}
			}
			if !strings.Contains(events, c.event) {
				t.Errorf("events %s", events)
			}
			if !strings.Contains(p.err.String(), c.why) {
				t.Errorf("it says %s", p.err.String())
			}
		})
	}
}

// TestRunUsesOfItsBoardWhatItIsTold turns light, governor and battery off.
func TestRunUsesOfItsBoardWhatItIsTold(t *testing.T) {
	needEngine(t)
	b, root := startBroker(t, ""), boardRoot(t, "orin-nano")
	ob := observe(t, b.URL())
	heat(t, root, "96000")
	p := start(t, "run", "--root", root, "--config", settingsFile(t, b.URL(), synthCamera, shortTrial,
		boardLines(t, "battery: {rail: input, below: 5.5, for: 1s}\n", ", light: false, governor: false, battery: false")))
	document(ob, "/health", func(d *boardDocument) bool { return d.Board != nil && d.Board.Governor.Level > 0 })
	for range 20 {
		if m := ob.anyMask(); m.Lux != 0 {
			t.Fatalf("%v lx", m.Lux)
		}
	}
	if s := ob.status(mqtt.Online, ""); s.Reason != "" {
		t.Errorf("%+v", s)
	}
	// Over MQTT the governor is turned on, and sheds at once what it wants to.
	publish(t, b.URL(), testBase+"/config/desired", `{"version": 1, "board": {"governor": true, "light": true}}`)
	if a := ob.answer(); a.Result != "applied" {
		t.Fatalf("%+v", a)
	}
	ob.status(mqtt.Degraded, "tj")
	ob.mask("with light", func(s *seen) bool { return s.Lux > 30 })
	if code := p.stop(t); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

// TestRunWithABadDescription goes on without a board.
func TestRunWithABadDescription(t *testing.T) {
	needEngine(t)
	b := startBroker(t, "")
	ob := observe(t, b.URL())
	file := settingsFile(t, b.URL(), synthCamera, "board: {description: /nowhere.yaml}")
	code, _, errOut := command(t, "run", "--config", file, "--strict")
	if code != exitUsage || !strings.Contains(errOut, "/nowhere.yaml") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	start(t, "run", "--config", file)
	ob.status(mqtt.Degraded, "board.description: open /nowhere.yaml")
	ob.anyMask()
}

// TestShrink goes on with the smallest shape of a bundle, and back.
func TestShrink(t *testing.T) {
	needEngine(t)
	needBundle(t)
	p, out, s := pipelineOf(t, nil, camera60)
	s.Bundle = "street-11"
	nets, err := p.open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	tiny := p.now().nets
	if err := p.adopt(t.Context(), arrangement{settings: s, version: 1, nets: nets}); err != nil {
		t.Fatal(err)
	}
	if err := tiny.engine.Close(); err != nil {
		t.Fatal(err)
	}
	if m := out.more("a", 3); m.W != 640 {
		t.Fatalf("%dx%d", m.W, m.H)
	}
	for _, c := range []struct {
		small bool
		w     int
	}{{true, 320}, {true, 320}, {false, 640}} {
		if err := p.shrink(t.Context(), c.small, ""); err != nil {
			t.Fatal(err)
		}
		if m := out.more("a", 3); m.W != c.w || m.Settings != 1 || p.now().small != c.small {
			t.Errorf("small %t: %dx%d, settings %d", c.small, m.W, m.H, m.Settings)
		}
	}
	p.nets.Lock() // a change is on trial
	if err := p.shrink(t.Context(), true, ""); !errors.Is(err, errBusy) {
		t.Error(err)
	}
	p.nets.Unlock()
	if err := p.shrink(t.Context(), true, tinyBundle(t)); err == nil || !strings.Contains(err.Error(), "other classes") {
		t.Error(err)
	}
	if m := out.more("a", 3); m.W != 640 {
		t.Errorf("%dx%d after what could not be done", m.W, m.H)
	}
}

func TestBoardLamp(t *testing.T) {
	file := saveText(t, filepath.Join(t.TempDir(), "board.yaml"), serviceBoard+lampGroup)
	code, out, errOut := command(t, "board", "lamp", "--board", file)
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); code != exitDone || err != nil || got["steady"] != 1.0 {
		t.Errorf("exit code %d, %v: %s%s", code, err, out, errOut)
	}
	none := saveText(t, filepath.Join(t.TempDir(), "board.yaml"), serviceBoard)
	code, _, errOut = command(t, "board", "lamp", "--board", none)
	if code != exitUsage || !strings.Contains(errOut, "has no lamp") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

func TestGettingOn(t *testing.T) {
	var p gettingOn
	now := time.Unix(1000, 0)
	step := func(masks uint64, d time.Duration) bool {
		now = now.Add(d)
		return p.alive(now, masks)
	}
	if step(0, time.Second) {
		t.Error("alive before the first mask")
	}
	for i := range uint64(50) {
		if !step(i+1, 33*time.Millisecond) {
			t.Fatal("30 masks a second are no life")
		}
	}
	if !step(50, 200*time.Millisecond) || step(50, 150*time.Millisecond) {
		t.Error("of a quick camera")
	}
	for i := range uint64(50) {
		step(51+i, 500*time.Millisecond)
	}
	if !step(100, 1400*time.Millisecond) || step(100, 200*time.Millisecond) {
		t.Error("of a slow camera")
	}
}
