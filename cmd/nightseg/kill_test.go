package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"nightseg/edge/frame"
	"nightseg/edge/message"
	"nightseg/edge/mqtt"
	"nightseg/edge/mqtt/mqtttest"
	"nightseg/edge/settings"
)

// kills is how often TestKilledWhileSettingsChange kills the service; make kills
// asks for a thousand.
func kills(t *testing.T) int {
	n := 8
	if s := os.Getenv("NIGHTSEG_KILLS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatalf("NIGHTSEG_KILLS: %v", err)
		}
	}
	return n
}

// story is what a subscriber has heard of a service that is killed again and again.
type story struct {
	t       *testing.T
	bundles [2]string // identities, by version modulo 2; 0 is the file's

	mu       sync.Mutex
	masks    int
	run      string // of the last mask
	reported settings.Reported
	acked    int64 // highest version that was applied
	rejected []settings.Ack
	fault    string
}

// versionOf is the version that settings of the test are of: documents set a
// threshold by it.
func versionOf(threshold float64) int64 { return int64(math.Round(threshold * 1e4)) }

// bundleOf is the folder of the bundle that a version asks for.
func bundleOf(version int64) string { return "tiny-" + strconv.FormatInt(3+version%2, 10) }

// hear takes a message. Each mask names its settings and its bundle, and these two
// belong together.
func (s *story) hear(m mqtt.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case strings.HasSuffix(m.Topic, "/mask"):
		var mask frame.Mask
		h, err := message.Parse(&mask, m.Payload)
		if err != nil {
			s.fault = err.Error()
			return
		}
		if want := s.bundles[h.Settings%2]; h.Bundle != want {
			s.fault = fmt.Sprintf("a mask with settings %d of bundle %.8s, want %.8s", h.Settings, h.Bundle, want)
		}
		s.masks++
		s.run = h.Run
	case strings.HasSuffix(m.Topic, "/config/reported"):
		var r settings.Reported
		if err := json.Unmarshal(m.Payload, &r); err != nil {
			s.fault = err.Error()
			return
		}
		v, bundle := versionOf(r.Settings.Threshold), filepath.Base(r.Settings.Bundle)
		if v != r.Version || bundle != bundleOf(v) {
			s.fault = fmt.Sprintf("mixed: version %d with threshold %v and bundle %s", r.Version, r.Settings.Threshold, bundle)
		}
		if r.Run != s.reported.Run && r.Version < s.acked {
			s.fault = fmt.Sprintf("starts with version %d, but %d was applied: %+v", r.Version, s.acked, r)
		}
		s.reported = r
	case strings.HasSuffix(m.Topic, "/config/ack"):
		var a settings.Ack
		if err := json.Unmarshal(m.Payload, &a); err != nil {
			s.fault = err.Error()
			return
		}
		switch a.Result {
		case settings.ResultApplied:
			s.acked = max(s.acked, a.Version)
		case settings.ResultRejected, settings.ResultRolledBack:
			s.rejected = append(s.rejected, a)
		}
	}
}

// now returns what is known.
func (s *story) now() (masks int, run string, r settings.Reported, acked int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != "" {
		s.t.Fatal(s.fault)
	}
	return s.masks, s.run, s.reported, s.acked
}

// TestKilledWhileSettingsChange kills the service at random moments while documents
// change its settings and its bundle. It always starts again, with old settings or
// new ones, never mixed, and never with older ones than it has acknowledged.
func TestKilledWhileSettingsChange(t *testing.T) {
	needEngine(t)
	b := startBroker(t, "")
	dir := t.TempDir()
	s := &story{t: t}
	for i, name := range []string{"tiny-3", "tiny-4"} {
		copyBundle(t, filepath.Join(dir, name), "tiny-3", name)
		bundle, err := (&modelFlags{bundle: filepath.Join(dir, name)}).openBundle()
		if err != nil {
			t.Fatal(err)
		}
		s.bundles[i] = bundle.SHA256
	}
	listen(t, b.URL(), s.hear)
	t.Setenv(asProgram, "1")
	file := settingsFile(t, b.URL(), synthCamera, shortTrial)
	replaceInFile(t, file, tinyBundle(t), filepath.Join(dir, "tiny-3"))
	args := append(selfInTest(), "run", "--config", file)
	rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	version, falls, reached := int64(0), 0, 0
	for i := range kills(t) {
		c := exec.Command(args[0], args[1:]...)
		var said mqtttest.Buffer
		c.Stderr = &said
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		_, before, _, _ := s.now()
		wait := func(what string, ok func() bool) {
			t.Helper()
			for end := time.Now().Add(patience); !ok(); {
				if time.Now().After(end) {
					_ = c.Process.Kill()
					t.Fatalf("cycle %d: waited in vain for %s\n%s", i, what, said.String())
				}
				<-time.After(time.Millisecond)
			}
		}
		proven := func() bool { _, run, r, _ := s.now(); return r.Run == run && run != before && r.Figures != nil }
		if falls == 2 || i%4 == 0 { // three early ends in a row would set the settings aside, as they should
			wait("masks", func() bool { _, run, _, _ := s.now(); return run != before })
			wait("proof", proven)
		}
		version++
		if rnd.IntN(3) > 0 {
			publish(t, b.URL(), testBase+"/config/desired", fmt.Sprintf(`{"version":%d,"threshold":%v,"bundle":%q}`,
				version, float64(version)/1e4, filepath.Join(dir, bundleOf(version))))
		}
		<-time.After(time.Duration(rnd.IntN(4000)) * time.Millisecond)
		if proven() {
			falls, reached = 0, reached+1
		} else {
			falls++
		}
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
	}
	masks, _, r, acked := s.now()
	t.Logf("%d kills, %d after the start was proven; %d documents, %d applied at last, %d in force; %d masks",
		kills(t), reached, version, acked, r.Version, masks)
	if masks == 0 || reached == 0 {
		t.Error("nothing was tried")
	}
	for _, a := range s.rejected {
		if len(a.Errors) == 0 || a.Errors[0].Pointer != "/version" {
			t.Logf("refused: %+v", a)
		}
	}
}

// listen subscribes to everything of the device until the test ends.
func listen(t *testing.T, url string, hear func(mqtt.Message)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	connected, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- mqtt.Watch(ctx, mqtt.WatchOptions{QoS: 1, Options: mqtt.Options{
			URL: url, OnState: func(s mqtt.ConnectionState) {
				if s.Connected {
					offer(connected, struct{}{})
				}
			},
		}}, hear)
	}()
	t.Cleanup(func() {
		cancel()
		if err := receive(t, ended, "end of the subscriber"); err != nil {
			t.Error(err)
		}
	})
	receive(t, connected, "connection of the subscriber")
}

func replaceInFile(t *testing.T, name, from, to string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	saveText(t, name, strings.ReplaceAll(string(text), from, to))
}
