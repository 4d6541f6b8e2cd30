package update

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// life is what happens on a device from the command to an update that has proven
// itself, in steps. It begins anywhere, with what is on the disk.
func (d *device) life(m *Machine) error {
	m.recall()
	for range 8 {
		d.steps(m)
		if _, err := d.installer(); err != nil && !errors.Is(err, ErrNoRequest) {
			return err
		}
		d.steps(m)
		last, err := ReadJob(d.read("state"))
		if err != nil || last == nil {
			return err
		}
		j := *last
		if j.Kind == Bundle && !j.State.Final() {
			m.Tried(j.Bundle)
			m.settle(<-m.events)
			m.Kept(j.Bundle)
			m.settle(<-m.events)
			d.bundle = j.Bundle
			continue
		}
		if d.restart {
			d.restart = false
			d.launch()
			m = d.machine()
			continue
		}
		if d.program.Name != "" && j.State == Trying {
			if err := MarkGood(d.m.Sub("state"), d.program.ID); err != nil {
				return err
			}
			continue
		}
		if j.State.Final() {
			return nil
		}
	}
	return errors.New("no end")
}

// crashes brings an update in, on a disk that is cut after every operation, and says
// what is wrong after that, and by state how often it was in it.
func crashes(t *testing.T, kind Kind, cuts int, lazy ...string) (wrong []string, states map[State]int) {
	rnd := rand.New(rand.NewPCG(7, 7))
	states = map[State]int{}
	d := newDevice(t)
	if kind == Package {
		d.update("1.1")
	} else {
		d.http = served(signed(t, Bundle, "1.1"))
		m := d.machine()
		d.ask(m, "old", "http://x/u")
		if err := d.life(m); err != nil {
			t.Fatal(err)
		}
	}
	d.m = d.m.Sealed()
	d.m.Lazy(lazy...)
	begun := d.m.Count()
	running := d.program
	d.http = served(signed(t, kind, "1.2"))
	m := d.machine()
	d.ask(m, "new", "http://x/u")
	if err := d.life(m); err != nil || d.job().State != Good {
		t.Fatalf("%v, %+v", err, d.job())
	}
	end := d.job()
	for at := begun; at <= d.m.Count(); at++ {
		for i := range 1 + cuts {
			c := newDevice(t)
			c.http, c.program, c.bundle = d.http, running, "street@1.1"
			if i == 0 {
				c.m = d.m.Killed(at, rnd.Float64()).Sealed()
			} else {
				c.m = d.m.Cut(at, rnd).Sealed()
			}
			j, err := ReadJob(c.read("state"))
			if err != nil {
				wrong = append(wrong, err.Error())
				continue
			}
			if j != nil {
				states[j.State]++
			}
			if err := c.after(kind, j, end); err != nil {
				wrong = append(wrong, fmt.Sprintf("after %d of %d (cut %d): %v", at, d.m.Count(), i, err))
			}
		}
	}
	return wrong, states
}

// after says what is wrong on a device that was started after a crash in the middle of
// an update to 1.2.
func (d *device) after(kind Kind, j *Job, end Job) error {
	look := func() (string, error) {
		if kind == Package {
			return d.runs(d.launch())
		}
		slots, err := ReadSlots(d.read("bundles"))
		if err != nil {
			return "", err
		}
		have := map[string]bool{}
		for name, s := range slots.Slots {
			v, err := d.whole("bundles/" + name + "/" + s.Title())
			if err != nil {
				return "", err
			}
			have[v] = true
		}
		if !have["1.1"] {
			return "", fmt.Errorf("the bundle in use is gone: %v", have)
		}
		if have["1.2"] {
			return "1.2", nil
		}
		return "1.1", nil
	}
	v, err := look()
	if err != nil {
		return err
	}
	if v != "1.1" && v != "1.2" {
		return fmt.Errorf("neither old nor new, but %s", v)
	}
	asked := j != nil && j.ID == "new"
	if err := d.life(d.machine()); err != nil {
		return err
	}
	if v, err = look(); err != nil {
		return err
	}
	if asked && (v != "1.2" || d.job().State != end.State) {
		return fmt.Errorf("the update was not gone on with: %s, %+v", v, d.job())
	}
	// What is asked again does nothing, and an update that came does not go again.
	n := d.m.Count()
	if asked {
		m := d.machine()
		m.recall()
		d.ask(m, "new", "http://x/u")
		if d.m.Count() != n {
			return errors.New("a repeated command did something")
		}
	}
	return nil
}

// TestCrashAtEveryOperation starts a device on what a killed process and a power cut
// leave after every operation on the disk, in every state of an update.
func TestCrashAtEveryOperation(t *testing.T) {
	for kind, must := range map[Kind][]State{
		Package: {Fetching, Verified, Staged, Installed, Trying, Good},
		Bundle:  {Fetching, Verified, Installed, Trying, Good},
	} {
		t.Run(string(kind), func(t *testing.T) {
			cuts := 6
			if testing.Short() {
				cuts = 1
			}
			wrong, states := crashes(t, kind, cuts)
			for _, s := range must {
				if states[s] == 0 {
					t.Errorf("never in state %s", s)
				}
			}
			if len(wrong) > 0 {
				t.Errorf("%d states are wrong, the first: %s", len(wrong), wrong[0])
			}
			t.Logf("crashes by state: %v", states)
		})
	}
}

// The test above is worth what it finds.
func TestCrashesAreFoundWithoutSync(t *testing.T) {
	for _, kind := range []string{"sync", "syncdir"} {
		wrong, _ := crashes(t, Package, 6, kind)
		if len(wrong) == 0 {
			t.Errorf("without %s all is well", kind)
			continue
		}
		t.Logf("without %s: %d are wrong: %s", kind, len(wrong), wrong[0])
	}
}
