package update

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"nightseg/edge/disk"
	"nightseg/edge/disk/disktest"
)

// What TestKilledChild is told by its environment.
const (
	killDir   = "NIGHTSEG_TEST_UPDATE"
	killURL   = "NIGHTSEG_TEST_UPDATE_URL"
	killState = "NIGHTSEG_TEST_UPDATE_STATE" // in which it stops and waits for its end; "": in none
	killKey   = "NIGHTSEG_TEST_UPDATE_KEY"
)

// real is a device whose folders are of the operating system.
type realDevice struct {
	dir, url string
	keys     Keys
	tell     func(Job)
	program  Choice
	restart  bool
}

func (d *realDevice) path(name string) string { return filepath.Join(d.dir, name) }

func (d *realDevice) read(dir string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(d.path(dir), name)) }
}

func (d *realDevice) state() (disk.FS, error) { return disk.Open(d.path("state")) }

func (d *realDevice) machine() *Machine {
	return New(Options{
		Open:     func() (disk.Tree, error) { return disk.OpenTreeLocked(d.path("state")) },
		Bundles:  func() (disk.Tree, error) { return disk.OpenTree(d.path("bundles")) },
		Programs: d.read("slots"),
		Keys:     func() (Keys, error) { return d.keys, nil }, Target: testTarget, Base: "1.0", Program: d.program.ID,
		InUse: func() Use { return Use{} },
		Tell:  d.tell, Restart: func() { d.restart = true }, HTTP: NewHTTP(),
		Logger: slog.New(slog.DiscardHandler), Now: time.Now,
	})
}

// turn does what comes next on the device: an installation, a start, a proof.
func (d *realDevice) turn(m *Machine) (*Machine, error) {
	for m.step(context.Background()) {
	}
	if _, err := os.Stat(d.path("state/request/" + RequestFile)); err == nil {
		if err := d.install(); err != nil {
			return m, err
		}
	}
	if d.restart {
		d.restart = false
		d.program = Launch(d.read("slots"), d.state, "1.0")
		m = d.machine()
		for m.step(context.Background()) {
		}
	}
	j, err := ReadJob(d.read("state"))
	if err == nil && j != nil && j.State == Trying {
		s, e := d.state()
		if e != nil {
			return m, e
		}
		err = errors.Join(MarkGood(s, d.program.ID), s.Close())
	}
	return m, err
}

func (d *realDevice) install() error {
	drop, err := disk.OpenTree(d.path("state/request"))
	if err != nil {
		return err
	}
	slots, err := disk.OpenTreeLocked(d.path("slots"))
	if err != nil {
		return err
	}
	i := &Installer{
		Drop: drop, Slots: slots, Keys: d.keys, Target: testTarget, Base: "1.0", Now: time.Now,
		Trials: func() (Trials, error) { return ReadTrials(d.read("state")) },
	}
	_, err = i.Apply(context.Background())
	return errors.Join(err, drop.Close(), slots.Close())
}

// TestKilledChild is the process that is killed: it updates itself from one version to
// the next, and says what state it is in.
func TestKilledChild(t *testing.T) {
	d := &realDevice{dir: os.Getenv(killDir), url: os.Getenv(killURL)}
	if d.dir == "" {
		t.Skip("only as a child of TestKill")
	}
	var err error
	if d.keys, err = LoadKeys(os.Getenv(killKey)); err != nil {
		t.Fatal(err)
	}
	stop := State(os.Getenv(killState))
	d.tell = func(j Job) {
		fmt.Printf("%s %s %s\n", j.ID, j.State, j.Version)
		if j.State == stop {
			select {} // until the kill
		}
	}
	d.program = Launch(d.read("slots"), d.state, "1.0")
	for m := d.machine(); ; {
		next := "1.1"
		if d.program.Name != "" {
			next = "1." + fmt.Sprint(minor(d.program.Version)+1)
		}
		if j, err := ReadJob(d.read("state")); err != nil {
			t.Fatal(err)
		} else if j == nil || j.State.Final() && j.Version != next {
			m.Offer(fmt.Appendf(nil, `{"id":%q,"url":%q}`, next, d.url+"/"+next))
			m.take(context.Background(), <-m.offers)
		}
		if m, err = d.turn(m); err != nil {
			t.Fatal(err)
		}
	}
}

func minor(version string) (n int) {
	_, _ = fmt.Sscanf(version, "1.%d", &n)
	return n
}

// killed is a device whose process is killed again and again.
type killed struct {
	t   *testing.T
	d   *realDevice
	env []string
}

func newKilled(t *testing.T) *killed {
	t.Helper()
	if testing.Short() {
		t.Skip("starts processes")
	}
	k := &killed{t: t, d: &realDevice{dir: t.TempDir(), keys: testKey().Keys(), tell: func(Job) {}}}
	for _, dir := range []string{"state", "slots"} {
		if err := os.Mkdir(k.d.path(dir), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	keys := t.TempDir()
	if err := SaveKey(keys+"/k", testKey(), ""); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		version := strings.TrimPrefix(q.URL.Path, "/")
		b := sign(t, testKey(), Package, version, many(version), nil)
		http.ServeContent(w, q, "", time.Unix(1, 0), strings.NewReader(string(b)))
	}))
	t.Cleanup(s.Close)
	k.env = []string{killDir + "=" + k.d.dir, killURL + "=" + s.URL, killKey + "=" + keys}
	return k
}

// many is a tree with files enough for a kill in between.
func many(version string) fstest.MapFS {
	files := tree(version)
	for i := range 20 {
		files[fmt.Sprintf("usr/share/nightseg/%d", i)] = files["bundle.json"]
	}
	return files
}

// run lets the process work until kill says so of a line that it wrote.
func (k *killed) run(state State, kill func(line string) bool) (last string) {
	k.t.Helper()
	killed := false
	env := append(slices.Clone(k.env), killState+"="+string(state))
	disktest.RunKilled(k.t, "TestKilledChild", env, func(line string) bool {
		switch {
		case killed: // it was quicker than the kill
		case !strings.HasPrefix(line, "1."):
			k.t.Errorf("the child says %q", line)
			killed = true
		default:
			last = line
			killed = kill(line)
		}
		return killed
	})
	return last
}

// whole says which version a start would run, and fails where it is not whole.
func (k *killed) whole() string {
	k.t.Helper()
	s, err := ReadSlots(k.d.read("slots"))
	if err != nil {
		k.t.Fatal(err)
	}
	trials, err := ReadTrials(k.d.read("state"))
	if err != nil {
		k.t.Fatal(err)
	}
	c := Choose(s, trials, "1.0")
	if c.Name == "" {
		return "1.0"
	}
	n := 0
	root := os.DirFS(k.d.path("slots/" + c.Name))
	err = fs.WalkDir(root, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		n++
		b, err := fs.ReadFile(root, name)
		if err == nil && string(b) != strings.Repeat(c.Version+"\n", 9) {
			err = fmt.Errorf("mixed: %s in %s", name, c.Version)
		}
		return err
	})
	if want := len(many("")) - 1; err != nil || n != want {
		k.t.Fatalf("slot %s with %s: %d files of %d, %v", c.Name, c.Version, n, want, err)
	}
	return c.Version
}

// TestKilledInEveryState kills the process in each state of an update. It ends in the
// new version after the next start.
func TestKilledInEveryState(t *testing.T) {
	for _, state := range []State{Fetching, Verified, Staged, Installed, Trying, Good} {
		t.Run(string(state), func(t *testing.T) {
			k := newKilled(t)
			k.run("", func(line string) bool { return line == "1.1 good 1.1" })
			k.run(state, func(line string) bool { return strings.HasPrefix(line, "1.2 "+string(state)) })
			want := map[State]string{Installed: "1.2", Trying: "1.2", Good: "1.2"}[state]
			if got := k.whole(); want != "" && got != want || got != "1.1" && got != "1.2" {
				t.Errorf("%s after the kill", got)
			}
			k.run("", func(line string) bool { return strings.HasPrefix(line, "1.2 good") || strings.HasPrefix(line, "1.3") })
			if got := k.whole(); minor(got) < 2 {
				t.Errorf("%s at the end", got)
			}
		})
	}
}

// TestKilledAtRandom kills the process at random moments, again and again.
func TestKilledAtRandom(t *testing.T) {
	k := newKilled(t)
	r := rand.New(rand.NewPCG(3, 3))
	last, before := 0, 0
	for i := range 15 {
		lines, most := 0, 2+r.IntN(9)
		line := k.run("", func(line string) bool {
			if strings.Contains(line, " good ") {
				last = max(last, minor(line[:strings.Index(line, " ")]))
			}
			lines++
			if lines == most {
				<-time.After(time.Duration(r.IntN(3000)) * time.Microsecond)
			}
			return lines >= most
		})
		got := minor(k.whole())
		if got < last || got > max(last, before)+1 {
			t.Errorf("kill %d after %q: 1.%d, but 1.%d was good", i, line, got, last)
		}
		before = got // it may have become good without its line having come
	}
	t.Logf("15 kills, 1.%d at the end", last)
	if last < 5 {
		t.Errorf("1.%d only", last)
	}
}
