package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nightseg/edge/mqtt"
	"nightseg/edge/mqtt/mqtttest"
)

// replayed runs a replay and a watch beside it at the same broker, and returns
// what both say at their end.
func replayed(t *testing.T, url string, masks int, args ...string) (replayReport, watchReport) {
	t.Helper()
	watch := start(t, "watch", "--broker", url, "--masks", fmt.Sprint(masks), "--fleet", "test", "--quiet", "--json")
	args = append([]string{
		"replay", "--bundle", tinyBundle(t), "--fleet", "test", "--device", "car1", "--rate", "max",
	}, args...)
	var r replayReport
	commandJSON(t, exitDone, &r, args...)
	if code := watch.wait(t); code != exitDone {
		t.Fatalf("watch: exit code %d: %s", code, watch.err.String())
	}
	var w watchReport
	if err := json.Unmarshal([]byte(watch.out.String()), &w); err != nil {
		t.Fatal(err)
	}
	return r, w
}

// connected waits until the subscriber of a started watch has connected.
func (p *program) connected(t *testing.T) {
	t.Helper()
	eventually(t, "watch connects", func() bool { return strings.Contains(p.err.String(), "connected to") })
}

func TestReplayArrives(t *testing.T) {
	needEngine(t)
	const frames = 8
	dir := drive(t, frames)
	var plain replayReport
	commandJSON(t, exitDone, &plain, "replay", dir, "--bundle", tinyBundle(t), "--rate", "max", "--broker", "none")
	if plain.Frames != frames || plain.Dropped != 0 || len(plain.Masks) != 64 {
		t.Fatalf("without a broker: %+v", plain)
	}
	for _, codec := range []string{"png", "rle-zstd"} {
		for run := range 2 {
			t.Run(fmt.Sprintf("%s, run %d", codec, run+1), func(t *testing.T) {
				listen := "127.0.0.1:" + mqtttest.FreePort(t)
				r, w := replayed(t, "mqtt://"+listen, frames, dir, "--broker", "embedded", "--listen", listen,
					"--codec", codec, "--await-subscriber", patience.String())
				if w.Masks != frames || w.Missing != 0 || w.Unreadable != 0 || r.Frames != frames {
					t.Errorf("%d frames; at the subscriber %+v", r.Frames, w)
				}
				if r.Masks != plain.Masks || w.Hash != plain.Masks {
					t.Errorf("masks_sha256 %s, at the subscriber %s, without a broker %s", r.Masks, w.Hash, plain.Masks)
				}
				if int(r.MaskBytes) != w.Bytes {
					t.Errorf("%d bytes sent, %d came", r.MaskBytes, w.Bytes)
				}
			})
		}
	}
	t.Run("another threshold gives other masks", func(t *testing.T) {
		var r replayReport
		commandJSON(t, exitDone, &r, "replay", dir, "--bundle", tinyBundle(t), "--rate", "max", "--threshold", "0.99")
		if r.Masks == plain.Masks {
			t.Error("the same masks_sha256")
		}
	})
	t.Run("some frames", func(t *testing.T) {
		var r replayReport
		commandJSON(t, exitDone, &r, "replay", dir, "--bundle", tinyBundle(t), "--rate", "max", "--frames", "3")
		if r.Frames != 3 || r.Masks == plain.Masks {
			t.Errorf("%d frames, %s", r.Frames, r.Masks)
		}
	})
}

func TestReplayOfFramesSideBySide(t *testing.T) {
	needEngine(t)
	dir := drive(t, 8)
	args := []string{"replay", dir, "--bundle", tinyBundle(t), "--rate", "max", "--loop", "--frames", "30", "--parallel"}
	var want replayReport
	commandJSON(t, exitDone, &want, append(args, "1")...)
	for _, n := range []int{2, 3} {
		var got replayReport
		commandJSON(t, exitDone, &got, append(args, fmt.Sprint(n))...)
		if got.Masks != want.Masks || got.Frames != 30 || got.Dropped != 0 || got.Parallel != n || want.Parallel != 1 {
			t.Errorf("--parallel %d: %+v, one at a time %+v", n, got, want)
		}
	}
	for _, bad := range [][]string{{"-1"}, {"9"}, {"2", "--out", t.TempDir()}} {
		if code, _, _ := command(t, append(args, bad...)...); code != exitUsage {
			t.Errorf("--parallel %v: exit code %d", bad, code)
		}
	}
}

func TestReplayThroughMosquitto(t *testing.T) {
	needEngine(t)
	m := startMosquitto(t)
	const frames = 8
	dir := drive(t, frames)
	watch := start(t, "watch", "--broker", m.URL(), "--masks", fmt.Sprint(frames), "--quiet", "--json")
	watch.connected(t)
	var r replayReport
	commandJSON(t, exitDone, &r, "replay", dir, "--bundle", tinyBundle(t), "--rate", "max", "--broker", m.URL(),
		"--device", "car1")
	if code := watch.wait(t); code != exitDone {
		t.Fatalf("watch: exit code %d: %s", code, watch.err.String())
	}
	var w watchReport
	if err := json.Unmarshal([]byte(watch.out.String()), &w); err != nil {
		t.Fatal(err)
	}
	if w.Masks != frames || w.Missing != 0 || w.Hash != r.Masks {
		t.Errorf("sent %s, came %+v", r.Masks, w)
	}
}

// startMosquitto starts the broker in a process of its own, which keeps nothing.
func startMosquitto(t *testing.T) *mqtttest.Process {
	t.Helper()
	return mqtttest.StartMosquitto(t, "allow_anonymous true", "persistence false")
}

func TestReplayPictures(t *testing.T) {
	needEngine(t)
	dir, out := drive(t, 2), filepath.Join(t.TempDir(), "seen")
	code, text, errOut := command(t, "replay", dir, "--bundle", tinyBundle(t), "--rate", "max", "--out", out,
		"--relight", "network", "--gate", "always")
	if code != exitDone || !strings.Contains(text, "masks_sha256 ") || !strings.Contains(text, out) {
		t.Fatalf("exit code %d, %q, %s", code, text, errOut)
	}
	var names []string
	files, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, f.Name())
	}
	want := []string{
		"000000_frame.png", "000000_mask.png", "000000_overlay.png", "000000_relit.png",
		"000001_frame.png", "000001_mask.png", "000001_overlay.png", "000001_relit.png",
	}
	if !slices.Equal(names, want) {
		t.Fatalf("files %v", names)
	}
	if read := readPicture(t, filepath.Join(out, want[3])); samePixels(read, readPicture(t, filepath.Join(out, want[0]))) {
		t.Error("the relit picture is the frame")
	}
	if b := readPicture(t, filepath.Join(out, want[1])).Bounds(); b.Dx() != tinyW || b.Dy() != tinyH {
		t.Errorf("the mask has %v", b)
	}
}

func TestReplayRefuses(t *testing.T) {
	needEngine(t)
	dir := drive(t, 1)
	empty := t.TempDir()
	for name, c := range map[string]struct {
		code int
		text string
		args []string
	}{
		"no source":       {exitUsage, "arg", []string{"replay"}},
		"missing folder":  {exitFailed, "nowhere", []string{"replay", "nowhere", "--bundle", tinyBundle(t)}},
		"empty folder":    {exitFailed, "no pictures", []string{"replay", empty, "--bundle", tinyBundle(t)}},
		"rate":            {exitUsage, "--rate", []string{"replay", dir, "--rate", "fast"}},
		"publish":         {exitUsage, "--publish", []string{"replay", dir, "--publish", "maybe"}},
		"codec":           {exitUsage, "codec", []string{"replay", dir, "--codec", "gif"}},
		"relight":         {exitUsage, "relight", []string{"replay", dir, "--relight", "sun"}},
		"broker":          {exitUsage, "broker.url", []string{"replay", dir, "--broker", "somewhere"}},
		"device":          {exitUsage, "device", []string{"replay", dir, "--device", "a/b"}},
		"await what":      {exitUsage, "--await-subscriber", []string{"replay", dir, "--await-subscriber", "1s"}},
		"std of a bundle": {exitUsage, "std", []string{"replay", dir, "--bundle", tinyBundle(t), "--std", "0.99"}},
		"nobody subscribes": {exitFailed, "nobody subscribed", []string{
			"replay", dir, "--bundle", tinyBundle(t), "--broker", "embedded", "--listen", "127.0.0.1:0",
			"--await-subscriber", "10ms",
		}},
	} {
		code, _, errOut := command(t, c.args...)
		if code != c.code || !strings.Contains(errOut, c.text) {
			t.Errorf("%s: exit code %d, want %d; %q does not name %q", name, code, c.code, errOut, c.text)
		}
	}
}

func TestReplayInterrupted(t *testing.T) {
	needEngine(t)
	b := startBroker(t, "")
	ob := observe(t, b.URL())
	p := start(t, "replay", "synth://?seed=7&size=48x32", "--bundle", tinyBundle(t), "--rate", "max", "--broker", b.URL(),
		"--device", "car1", "--json")
	for range 3 {
		ob.anyMask()
	}
	if code := p.stop(t); code != exitFailed || !strings.Contains(p.err.String(), "interrupted after") {
		t.Errorf("exit code %d, %s", code, p.err.String())
	}
	ob.status(mqtt.Stopped, "")
	var r replayReport
	if err := json.Unmarshal([]byte(p.out.String()), &r); err != nil {
		t.Fatalf("%v in %q", err, p.out.String())
	}
	if came := uint64(3 + len(ob.masks)); r.Frames != came || r.Frames < 3 {
		t.Errorf("%d masks handed over, %d came", r.Frames, came)
	}
}

func TestWatchSavesMasks(t *testing.T) {
	needEngine(t)
	b := startBroker(t, "")
	dir, out := drive(t, 3), t.TempDir()
	watch := start(t, "watch", "--broker", b.URL(), "--masks", "3", "--out", out)
	watch.connected(t)
	var r replayReport
	commandJSON(t, exitDone, &r, "replay", dir, "--bundle", tinyBundle(t), "--rate", "max", "--broker", b.URL())
	if code := watch.wait(t); code != exitDone {
		t.Fatalf("exit code %d", code)
	}
	files, err := filepath.Glob(filepath.Join(out, "front_*_00000[012].png"))
	if err != nil || len(files) != 3 {
		t.Errorf("files %v, %v", files, err)
	}
	text := watch.out.String()
	for _, want := range []string{
		"cam/front/mask  seq 2", "3 masks, 0 missing", "masks_sha256 " + r.Masks, `"state":`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("watch does not say %q:\n%s", want, text)
		}
	}
}
