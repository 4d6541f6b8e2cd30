package update

import (
	"errors"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"nightseg/edge/disk"
)

// installed is a device that runs 1.1, with 1.2 in the other slot, never started.
func installed(t *testing.T) (*device, Slot) {
	t.Helper()
	d := newDevice(t)
	d.update("1.1")
	d.http = served(signed(t, Package, "1.2"))
	m := d.machine()
	d.ask(m, "new", "http://x/")
	if o, err := d.installer(); err != nil || o.Slot != "b" {
		t.Fatalf("%+v, %v", o, err)
	}
	d.steps(m)
	if !d.restart || d.job().State != Installed {
		t.Fatalf("restart %v, %+v", d.restart, d.job())
	}
	s, err := ReadSlots(d.read("slots"))
	if err != nil {
		t.Fatal(err)
	}
	return d, s.Slots["b"]
}

// TestReturnAfterThreeStarts starts a program that never proves itself.
func TestReturnAfterThreeStarts(t *testing.T) {
	d, _ := installed(t)
	for i := range MostStarts {
		if v, err := d.runs(d.launch()); v != "1.2" || err != nil {
			t.Fatalf("start %d: %q, %v", i+1, v, err)
		}
		d.steps(d.machine())
		if j := d.job(); j.State != Trying {
			t.Errorf("start %d: %+v", i+1, j)
		}
	}
	c := d.launch()
	if v, err := d.runs(c); v != "1.1" || err != nil || len(c.Notes) != 1 {
		t.Fatalf("%q, %v, %q", v, err, c.Notes)
	}
	m := d.machine()
	d.steps(m)
	if j := d.job(); j.State != Returned || j.Reason != NotStarted || !strings.Contains(j.Error, "3 starts") {
		t.Errorf("%+v", j)
	}
	// The same one is not tried again, a newer one is.
	if j := d.ask(m, "same", "http://x/"); j.State != Failed || j.Reason != NotStarted {
		t.Errorf("%+v", j)
	}
	d.update("1.3")
	if c := d.launch(); c.Version != "1.3" || c.Name != "b" {
		t.Errorf("%+v", c)
	}
}

// A start that was ended on purpose, as by a driver who switches off, counts nothing.
func TestStoppedStartsAreGivenBack(t *testing.T) {
	d, s := installed(t)
	for range 3 * MostStarts {
		if c := d.launch(); c.Version != "1.2" {
			t.Fatalf("%+v", c)
		}
		if err := GiveBack(d.m.Sub("state"), s.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := MarkGood(d.m.Sub("state"), s.ID); err != nil {
		t.Fatal(err)
	}
	n := d.m.Count()
	for range 3 * MostStarts {
		if c := d.launch(); c.Version != "1.2" {
			t.Fatalf("%+v", c)
		}
	}
	if d.m.Count() != n {
		t.Error("starts of a proven program write to the flash")
	}
}

func TestWhatIsNotCountedIsNotStarted(t *testing.T) {
	d, _ := installed(t)
	d.m.SetFault(func(op, _ string, n int) (int, error) {
		if op == "write" || op == "create" {
			return 0, syscall.EROFS
		}
		return n, nil
	})
	c := d.launch()
	if v, err := d.runs(c); v != "1.1" || err != nil || len(c.Notes) == 0 {
		t.Errorf("%q, %v, %q", v, err, c.Notes)
	}
	c = Launch(d.read("slots"), func() (disk.FS, error) { return nil, errors.New("no disk") }, d.base)
	if c.Name != "" || len(c.Notes) == 0 { // whether 1.1 was proven is not known either
		t.Errorf("%+v", c)
	}
}

func TestRollback(t *testing.T) {
	d, s := installed(t)
	d.launch()
	if err := Return(d.m.Sub("state"), s.ID, "by hand"); err != nil {
		t.Fatal(err)
	}
	if v, err := d.runs(d.launch()); v != "1.1" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
}

// What is installed with the system's own tools is what then runs.
func TestAnotherBaseTakesOver(t *testing.T) {
	d := newDevice(t)
	d.update("1.1")
	d.base = "1.0.5"
	if c := d.launch(); c.Name != "" {
		t.Errorf("%+v", c)
	}
	d.update("1.2")
	if c := d.launch(); c.Version != "1.2" {
		t.Errorf("%+v", c)
	}
}

func TestDamagedRecords(t *testing.T) {
	for file, want := range map[string]string{"slots/" + slotsFile: "1.0", "state/" + trialsFile: "1.1"} {
		d := newDevice(t)
		d.update("1.1")
		b := d.m.Bytes(file)
		(*b)[len(*b)/2] ^= 0x40
		c := d.launch()
		if v, err := d.runs(c); v != want || err != nil || len(c.Notes) == 0 {
			t.Errorf("%s: %q, %v, %q", file, v, err, c.Notes)
		}
		// It can be updated all the same.
		if want == "1.1" {
			if err := MarkGood(d.m.Sub("state"), d.program.ID); err != nil {
				t.Fatal(err)
			}
		}
		d.update("1.2")
	}
}

// While a program is on trial the slots are both needed: no other is taken.
func TestOneTrialAtATime(t *testing.T) {
	d, s := installed(t)
	d.launch()
	m := d.machine()
	d.steps(m)
	d.http = served(signed(t, Package, "1.3"))
	d.ask(m, "third", "http://x/")
	if j := d.told[len(d.told)-1]; j.ID != "third" || j.Reason != OnTrial {
		t.Errorf("%+v", j)
	}
	if o := d.drop(signed(t, Package, "1.3")); o.Reason != OnTrial {
		t.Errorf("%+v", o)
	}
	if j := d.job(); j.ID != "new" || j.State != Trying {
		t.Errorf("%+v", j)
	}
	if err := MarkGood(d.m.Sub("state"), s.ID); err != nil {
		t.Fatal(err)
	}
	d.update("1.3") // that 1.2 is good nobody has looked at yet
}

// The request is taken away, whatever happens: systemd would start the unit for ever.
func TestInstallerLeavesAWord(t *testing.T) {
	d := newDevice(t)
	d.http = served(signed(t, Package, "1.2"))
	m := d.machine()
	d.ask(m, "1", "http://x/")
	if j := d.job(); j.State != Staged {
		t.Fatalf("%+v", j)
	}
	d.m.SetFault(func(op, name string, n int) (int, error) {
		if op == "write" && strings.Contains(name, ".new/") {
			return n, syscall.EIO
		}
		return n, nil
	})
	if _, err := d.installer(); err != nil {
		t.Fatal(err)
	}
	d.m.SetFault(nil)
	d.steps(m)
	if j := d.job(); j.State != Failed || !strings.Contains(j.Error, "input/output") {
		t.Errorf("%+v", j)
	}
	if c := d.launch(); c.Name != "" {
		t.Errorf("%+v", c)
	}
	if err := d.m.RemoveAll("slots/" + outcomeFile); err != nil {
		t.Fatal(err)
	}
	d.ask(m, "2", "http://x/")
	if err := d.m.RemoveAll("state/" + RequestDir); err != nil {
		t.Fatal(err)
	}
	d.steps(m)
	if j := d.job(); j.State != Failed || !strings.Contains(j.Error, "journalctl") {
		t.Errorf("%+v", j)
	}
}

func TestCommands(t *testing.T) {
	d := newDevice(t)
	n := 0
	b := signed(t, Bundle, "1.1")
	d.http = &http.Client{Transport: roundTrip(func(q *http.Request) (*http.Response, error) {
		n++
		return served(b).Transport.RoundTrip(q)
	})}
	m := d.machine()
	d.ask(m, "1", "http://x/")
	d.ask(m, "1", "http://x/")
	if n != 1 || d.job().State != Installed {
		t.Errorf("%d fetches, %+v", n, d.job())
	}
	again := d.machine() // as after a restart, before Run has read the record
	d.ask(again, "1", "http://x/")
	if n != 1 {
		t.Errorf("%d fetches after a restart", n)
	}
	for _, bad := range []string{
		``, `{}`, `{"id":"2"}`, `{"id":"2","url":"/etc/passwd"}`, `{"id":"2","url":"http://x/","sha256":"abc"}`,
		`{"id":"2","url":"http://x/","force":true}`, `[1]`, `{"id":"2","url":"http://x/"} {}`,
	} {
		told := len(d.told)
		m.Offer([]byte(bad))
		if len(d.told) != told+1 || d.told[told].Reason != BadFormat || len(m.offers) != 0 {
			t.Errorf("%s: %+v", bad, d.told[told:])
		}
	}
	// The bundle in use stays, whatever comes.
	d.bundle = "street@1.1"
	for _, v := range []string{"1.2", "1.3", "1.4"} {
		b = signed(t, Bundle, v)
		if j := d.ask(m, v, "http://x/"); j.State != Installed || j.Bundle != "street@"+v {
			t.Errorf("%+v", j)
		}
		if v, err := d.whole("bundles/a/street@1.1"); v != "1.1" || err != nil {
			t.Errorf("in use: %q, %v", v, err)
		}
	}
	b, d.trial = signed(t, Bundle, "1.5"), true
	if j := d.ask(m, "1.5", "http://x/"); j.State != Verified {
		t.Errorf("while settings are on trial: %+v", j)
	}
	d.trial = false
	d.steps(m)
	if j := d.job(); j.State != Installed {
		t.Errorf("%+v", j)
	}
	b = signed(t, Bundle, "1.0")
	if j := d.ask(m, "down", "http://x/"); j.Reason != Downgrade {
		t.Errorf("%+v", j)
	}
	b = sign(t, testKey(), Bundle, "1.1", tree("other"), nil)
	if j := d.ask(m, "same", "http://x/"); j.Reason != Downgrade || !strings.Contains(j.Error, "a version of its own") {
		t.Errorf("%+v", j)
	}
}

func TestBundleThatIsTakenBack(t *testing.T) {
	d := newDevice(t)
	d.http = served(signed(t, Bundle, "1.1"))
	m := d.machine()
	d.ask(m, "1", "http://x/")
	for _, c := range []struct {
		event func()
		want  State
	}{
		{func() { m.Kept("mine") }, Installed}, // settings that name another bundle
		{func() { m.TakenBack("street@1.1", "was never tried") }, Installed},
		{func() { m.Tried("street@1.1") }, Trying},
		{func() { m.TakenBack("street@1.1", "one class all over") }, Returned},
		{func() { m.Tried("street@1.1") }, Returned}, // a job that has ended stays as it is
		{func() { m.Kept("street@1.1") }, Good},
		{func() { m.TakenBack("street@1.1", "by hand") }, Good},
	} {
		c.event()
		m.settle(<-m.events)
		if j := d.job(); j.State != c.want {
			t.Errorf("%+v, want %s", j, c.want)
		}
	}
	if j := d.told[len(d.told)-2]; j.State != Returned || j.Error != "one class all over" {
		t.Errorf("%+v", j)
	}
}
