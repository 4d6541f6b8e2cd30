package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"nightseg/edge/mqtt"
	"nightseg/edge/mqtt/mqtttest"
	"nightseg/edge/settings"
	"nightseg/firmware/update"
)

// fleet is who makes updates, and a server that has them.
type fleet struct {
	t              *testing.T
	dir, key, keys string
	url            string
	slots          string
	asked          chan string
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	dir := t.TempDir()
	f := &fleet{
		t: t, dir: dir, key: filepath.Join(dir, "keys", "maker"), keys: filepath.Join(dir, "keys"),
		slots: filepath.Join(dir, "slots"), asked: make(chan string, 64),
	}
	for _, d := range []string{f.keys, f.slots} {
		if err := os.Mkdir(d, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, errOut := command(t, "update", "keygen", f.key, "--no-password"); code != exitDone {
		t.Fatal(errOut)
	}
	files := http.FileServer(http.Dir(dir))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		f.asked <- q.URL.Path
		files.ServeHTTP(w, q)
	}))
	t.Cleanup(s.Close)
	f.url = s.URL
	t.Setenv("NIGHTSEG_SLOTS", f.slots)
	t.Setenv("NIGHTSEG_UPDATE_KEYS", f.keys)
	return f
}

// sign makes the update NAME.nsup.
func (f *fleet) sign(name string, args ...string) {
	f.t.Helper()
	args = append([]string{"update", "sign", "--key", f.key, "--out", filepath.Join(f.dir, name+".nsup")}, args...)
	if code, _, errOut := command(f.t, args...); code != exitDone {
		f.t.Fatal(errOut)
	}
}

// bundle makes an update of the small bundle, as another version.
func (f *fleet) bundle(version string) {
	f.t.Helper()
	dir := filepath.Join(f.dir, "bundle-"+version)
	copyBundle(f.t, dir, "tiny-3", "tiny")
	replaceInFile(f.t, filepath.Join(dir, "bundle.json"), `"0.1.0"`, `"`+version+`"`)
	f.sign(version, dir)
}

// ask sends a command, and returns its result in one of the states.
func (f *fleet) ask(url, id, file string) {
	f.t.Helper()
	o := mqtt.Options{URL: url, ClientID: "operator", Topics: mqtt.Topics{Fleet: "test", Device: "car1"}}
	text := fmt.Appendf(nil, `{"id":%q,"url":"%s/%s.nsup"}`, id, f.url, file)
	if err := mqtt.Send(f.t.Context(), o, testBase+"/cmd/update", text, false); err != nil {
		f.t.Fatal(err)
	}
}

// result waits for a job to come into a state; another end fails the test.
func (f *fleet) result(ob *observer, id string, want update.State) update.Job {
	f.t.Helper()
	return document(ob, "/cmd/update/result", func(j *update.Job) bool {
		if j.ID == id && j.State.Final() && j.State != want {
			f.t.Fatalf("%+v", j)
		}
		return j.ID == id && j.State == want
	})
}

// TestRunBringsABundle sends a bundle to a running service, and puts it into force.
func TestRunBringsABundle(t *testing.T) {
	needEngine(t)
	f := newFleet(t)
	b := startBroker(t, "")
	f.bundle("2.0.0")
	f.bundle("2.1.0")
	publish(t, b.URL(), testBase+"/cmd/update", fmt.Sprintf(`{"id":"old","url":"%s/2.0.0.nsup"}`, f.url)) // retained
	file := settingsFile(t, b.URL(), synthCamera, shortTrial)
	ob := observe(t, b.URL())
	p := start(t, "run", "--config", file)
	before := ob.anyMask()
	ob.status(mqtt.Online, "")
	f.ask(b.URL(), "1", "2.0.0")
	j := f.result(ob, "1", update.Installed)
	if j.Bundle != "tiny@2.0.0" || j.Kind != update.Bundle {
		t.Errorf("%+v", j)
	}
	publish(t, b.URL(), testBase+"/config/desired", `{"version":1,"bundle":"tiny@2.0.0"}`)
	for a := ob.answer(); a.Result != settings.ResultApplied; a = ob.answer() {
		if a.Result != settings.ResultTrial {
			t.Fatalf("%+v", a)
		}
	}
	f.result(ob, "1", update.Good)
	ob.mask("of the new bundle", func(s *seen) bool { return s.Bundle != before.Bundle })

	// Another one comes beside it; settings with which it does not do take it back.
	f.ask(b.URL(), "2", "2.1.0")
	f.result(ob, "2", update.Installed)
	if code := p.stop(t); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	p = start(t, "run", "--config", file)
	again := observe(t, b.URL())
	again.anyMask()
	f.ask(b.URL(), "1", "2.0.0") // repeated, after a restart
	f.ask(b.URL(), "3", "nothing")
	if j := f.result(again, "3", update.Failed); j.Reason != update.NotFetched {
		t.Errorf("%+v", j)
	}
	close(f.asked)
	var asked []string
	for path := range f.asked {
		asked = append(asked, path)
	}
	if got := strings.Join(asked, " "); got != "/2.0.0.nsup /2.1.0.nsup /nothing.nsup" {
		t.Errorf("fetched: %s", got)
	}
	f.asked = make(chan string, 64)
	if code := p.stop(t); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	var st updateStatus
	commandJSON(t, exitDone, &st, "update", "status", "--state-dir", os.Getenv("STATE_DIRECTORY"), "--slots", f.slots)
	if st.Bundles["a"].Title() != "tiny@2.0.0" || st.Bundles["b"].Title() != "tiny@2.1.0" || st.Job.ID != "3" {
		t.Errorf("%+v", st)
	}
}

// debian makes a package nightseg whose program is a script.
func (f *fleet) debian(version, script string) string {
	f.t.Helper()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		f.t.Skip("no dpkg-deb")
	}
	dir := filepath.Join(f.dir, "deb-"+version)
	for _, d := range []string{"DEBIAN", "usr/bin", "usr/lib/systemd/system"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			f.t.Fatal(err)
		}
	}
	saveText(f.t, filepath.Join(dir, "DEBIAN", "control"), "Package: nightseg\nVersion: "+version+
		"\nArchitecture: amd64\nMaintainer: nobody <nobody@invalid>\nDescription: a test\n")
	saveText(f.t, filepath.Join(dir, "usr", "lib", "systemd", "system", "nightseg.service"), "not for a slot\n")
	program := saveText(f.t, filepath.Join(dir, programPath), "#!/bin/sh\n"+script+"\n")
	if err := os.Chmod(program, 0o755); err != nil {
		f.t.Fatal(err)
	}
	deb := filepath.Join(f.dir, version+".deb")
	c := exec.CommandContext(f.t.Context(), "dpkg-deb", "--root-owner-group", "-b", dir, deb)
	if out, err := c.CombinedOutput(); err != nil {
		f.t.Fatalf("%v: %s", err, out)
	}
	f.sign(version, deb)
	return deb
}

// launched is the service, started as the unit does.
type launched struct {
	*exec.Cmd
	said mqtttest.Buffer
}

func launch(t *testing.T, file string) *launched {
	t.Helper()
	args := append(selfInTest(), "update", "launch", "run", "--config", file)
	l := &launched{Cmd: exec.Command(args[0], args[1:]...)}
	l.Stdout, l.Stderr = &l.said, &l.said
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.Process.Kill() // may have ended
		_ = l.Wait()
		if t.Failed() {
			t.Log(l.said.String())
		}
	})
	return l
}

// TestRunBringsAProgram updates a service that was started by the launcher: the program
// comes over MQTT, the installer's command puts it into a slot, the service ends itself,
// starts as the new one, and is kept. The next one does not work, and is taken back.
func TestRunBringsAProgram(t *testing.T) {
	needEngine(t)
	t.Setenv(asProgram, "1")
	f := newFleet(t)
	b := startBroker(t, "")
	file := settingsFile(t, b.URL(), synthCamera, shortTrial)
	state := os.Getenv("STATE_DIRECTORY")
	self := strings.Join(selfInTest(), " ")
	f.debian("1.0.1", `exec `+self+` "$@"`)
	f.debian("1.0.2", `exit 1`)
	apply := func() (int, string) {
		code, _, errOut := command(t, "update", "apply", "--state-dir", state, "--slots", f.slots, "--keys", f.keys,
			"--config", file)
		return code, errOut
	}
	status := func() (st updateStatus) {
		commandJSON(t, exitDone, &st, "update", "status", "--state-dir", state, "--slots", f.slots)
		return st
	}
	ob := observe(t, b.URL())
	l := launch(t, file)
	ob.status(mqtt.Online, "")
	f.ask(b.URL(), "1", "1.0.1")
	f.result(ob, "1", update.Staged)
	if code, errOut := apply(); code != exitDone {
		t.Fatal(errOut)
	}
	f.result(ob, "1", update.Installed)
	if err := l.Wait(); err != nil { // by itself
		t.Errorf("%v: %s", err, l.said.String())
	}
	l = launch(t, file)
	f.result(ob, "1", update.Trying)
	f.result(ob, "1", update.Good)
	if st := status(); st.InForce != "nightseg@1.0.1" || !st.Trials.Of(st.Slots["a"].ID).Good {
		t.Errorf("%+v", st)
	}
	if exists(filepath.Join(f.slots, "a", "usr", "lib", "systemd")) {
		t.Error("a unit is in the slot")
	}

	f.ask(b.URL(), "2", "1.0.2")
	f.result(ob, "2", update.Staged)
	if code, errOut := apply(); code != exitDone {
		t.Fatal(errOut)
	}
	if err := l.Wait(); err != nil {
		t.Errorf("%v: %s", err, l.said.String())
	}
	for range update.MostStarts {
		if err := launch(t, file).Wait(); err == nil {
			t.Error("a program that ends with 1 was not started")
		}
	}
	launch(t, file)
	if j := f.result(ob, "2", update.Returned); !strings.Contains(j.Error, "3 starts") {
		t.Errorf("%+v", j)
	}
	if st := status(); st.InForce != "nightseg@1.0.1" {
		t.Errorf("%+v", st)
	}
	if code, _ := apply(); code != exitDone { // nothing is asked for
		t.Errorf("exit code %d", code)
	}
}

func TestUpdateCommands(t *testing.T) {
	f := newFleet(t)
	f.bundle("2.0.0")
	nsup := filepath.Join(f.dir, "2.0.0.nsup")
	var shown struct {
		Manifest update.Manifest
		Fits     bool
	}
	commandJSON(t, exitDone, &shown, "update", "verify", nsup, "--keys", f.keys)
	if shown.Manifest.Name != "tiny" || shown.Manifest.Version != "2.0.0" || !shown.Fits {
		t.Errorf("%+v", shown)
	}
	state := filepath.Join(f.dir, "state")
	if err := os.Mkdir(state, 0o750); err != nil {
		t.Fatal(err)
	}
	at := func(args ...string) []string {
		return append([]string{"update"}, append(args, "--state-dir", state, "--slots", f.slots, "--keys", f.keys)...)
	}
	short := saveText(t, filepath.Join(f.dir, "short.nsup"), "")
	b, err := os.ReadFile(nsup)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(short, b[:len(b)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		text string
		args []string
	}{
		{exitRefused, "no key is trusted", []string{"update", "verify", nsup, "--keys", t.TempDir()}},
		{exitRefused, "cut short", []string{"update", "verify", short, "--keys", f.keys}},
		{exitRefused, "cut short", at("stage", short)},
		{exitRefused, "404", at("stage", f.url+"/none.nsup")},
		{exitUsage, "--key is missing", []string{"update", "sign", filepath.Join(f.dir, "bundle-2.0.0")}},
		{exitFailed, "file exists", []string{"update", "keygen", f.key, "--no-password"}},
		{exitUsage, "no terminal", []string{"update", "keygen", f.key + "2"}},
		{exitRefused, "no update is in force", at("rollback")},
		{exitFailed, "neither a bundle", []string{"update", "sign", "--key", f.key, nsup}},
		{exitDone, "", at("stage", nsup)},
	} {
		if c.args[1] == "keygen" {
			stdin(t)
		}
		code, _, errOut := command(t, c.args...)
		if code != c.code || !strings.Contains(errOut, c.text) {
			t.Errorf("%v: exit code %d, want %d: %s", c.args, code, c.code, errOut)
		}
	}
	var st updateStatus
	commandJSON(t, exitDone, &st, "update", "status", "--state-dir", state, "--slots", f.slots)
	if st.Job.State != update.Verified || st.Job.Name != "tiny" {
		t.Errorf("%+v", st.Job)
	}
}

// stdin makes standard input no terminal for a test.
func stdin(t *testing.T) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	old := os.Stdin
	os.Stdin = r
	t.Cleanup(func() { os.Stdin = old })
}
