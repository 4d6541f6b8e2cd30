package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nightseg/camera/capture/ring"
	"nightseg/edge/frame"
)

// The test binary is also the capture process, with a device that does what the
// query of its address says, and the parent that is killed.
const (
	roleEnv    = "NIGHTSEG_CAPTURE_TEST_ROLE"
	roleFake   = roleEnv + "=fake"
	roleParent = roleEnv + "=parent"
	lateEnv    = "NIGHTSEG_CAPTURE_TEST_LATE" // how long the fake takes until it begins
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "fake":
		if late, err := time.ParseDuration(os.Getenv(lateEnv)); err == nil {
			<-time.After(late) // as a loader does that reads from a slow card
		}
		if err := ring.Serve(openFake); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "parent":
		os.Exit(beParent())
	}
	os.Exit(m.Run())
}

const fakeW, fakeH = 33, 25

// fake is a device. Every picture has its number in the first bytes and in all
// others, so that a mixed one is seen.
type fake struct {
	q    url.Values
	n    int
	skip uint64
	gate *os.File // gives a byte for each picture, where it is named
}

func openFake(c *ring.Config) (ring.Device, ring.Info, error) {
	q, err := url.ParseQuery(c.Address)
	if err != nil {
		return nil, ring.Info{}, err
	}
	d := &fake{q: q, skip: c.Skip}
	if path := q.Get("gone"); path != "" { // opens only while this file exists
		if _, err := os.Stat(path); err != nil {
			return nil, ring.Info{}, errors.New("no such camera")
		}
	}
	if q.Has("hang-open") {
		select {}
	}
	if path := q.Get("gate"); path != "" {
		if d.gate, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
			return nil, ring.Info{}, err
		}
	}
	return d, ring.Info{FPS: 29.97, Total: uint64(max(d.at("frames"), 0))}, nil
}

// at returns the number that the address gives for a word; -1: none.
func (d *fake) at(word string) int {
	n, err := strconv.Atoi(d.q.Get(word))
	if err != nil {
		return -1
	}
	return n
}

// Read implements ring.Device. Words that end in "-once" hold only in the first
// process of a recording.
func (d *fake) Read(dst []byte) (ring.Shot, error) {
	if d.gate != nil {
		if _, err := io.ReadFull(d.gate, make([]byte, 1)); err != nil {
			return ring.Shot{}, err
		}
	}
	now := func(word string) bool { return d.n == d.at(word) || d.skip == 0 && d.n == d.at(word+"-once") }
	switch {
	case now("frames"):
		return ring.Shot{}, io.EOF
	case now("hang"):
		select {}
	case now("die"):
		fmt.Fprintf(os.Stderr, "some noise\npanic: the codec crashed\nmain.go:1\n")
		os.Exit(3)
	case now("garbage"):
		_, _ = os.NewFile(ring.RecordsFD, "records").Write(bytes.Repeat([]byte("what? "), 100))
	case now("fail"):
		return ring.Shot{}, errors.New("the cable is out")
	}
	if dst != nil {
		for i := range dst[:3*fakeW*fakeH] {
			dst[i] = byte(d.n)
		}
		binary.LittleEndian.PutUint64(dst, uint64(d.n))
	}
	d.n++
	return ring.Shot{W: fakeW, H: fakeH, Sensor: time.Duration(d.n) * time.Second}, nil
}

// Close implements ring.Device. It leaves a note, where the address names one.
func (d *fake) Close() error {
	if path := d.q.Get("note"); path != "" {
		return os.WriteFile(path, []byte("closed"), 0o600)
	}
	return nil
}

// number returns that of a picture of the fake.
func number(t *testing.T, f *frame.Frame) int {
	t.Helper()
	if f.W != fakeW || f.H != fakeH || f.SourceW != fakeW || f.SourceH != fakeH || len(f.Pix) != 3*fakeW*fakeH {
		t.Fatalf("picture of %dx%d (source %dx%d)", f.W, f.H, f.SourceW, f.SourceH)
	}
	n := binary.LittleEndian.Uint64(f.Pix)
	for i, b := range f.Pix[8:] {
		if b != byte(n) {
			t.Fatalf("picture %d has %d at byte %d: another picture's", n, b, 8+i)
		}
	}
	if want := time.Duration(n+1) * time.Second; f.Sensor != want {
		t.Errorf("picture %d has sensor time %v, want %v", n, f.Sensor, want)
	}
	return int(n)
}

// quick are limits for tests: short where one is waited for, long elsewhere.
func quick() limits {
	l := defaultLimits
	l.silence, l.open, l.read = time.Minute, time.Minute, time.Minute
	l.pause, l.maxPause = time.Millisecond, 10*time.Millisecond
	return l
}

func openFakeSource(t *testing.T, opt Options, lim limits) *Source {
	t.Helper()
	s, err := tryFake(t, opt, lim)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryFake(t *testing.T, opt Options, lim limits) (*Source, error) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s, err := open(t.Context(), opt, []string{exe}, []string{roleFake}, lim)
	if err == nil {
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return s, err
}

func recording(address string) Options { return Options{Kind: ring.KindFile, Address: address} }

// pid returns that of the process of the source.
func (s *Source) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.child.cmd.Process.Pid
}

// alive reports whether a process exists; a zombie does, unless it is nobody's
// child here.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// runs reports whether a process exists that is not a zombie.
func runs(pid int) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

func signalTo(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}

// eventually polls until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after a minute: still not %s", what)
		}
	}
}

// gate is the far end of a fake's gate: open lets n pictures pass.
type gate struct {
	path string
	f    *os.File
}

func newGate(t *testing.T) *gate {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gate")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return &gate{path, f}
}

func (g *gate) open(t *testing.T, n int) {
	t.Helper()
	if _, err := g.f.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
}

// drain reads to the end, checks that the pictures are those from "from" on, each
// once, and returns how many there are in all. each is called before each.
func drain(t *testing.T, s *Source, from int, each func(n int)) (int, error) {
	t.Helper()
	var f frame.Frame
	for n := from; ; n++ {
		if each != nil {
			each(n)
		}
		if err := s.Next(t.Context(), &f); err != nil {
			return n, err
		}
		if got := number(t, &f); got != n {
			t.Fatalf("picture %d came where %d was due", got, n)
		}
		if f.DroppedBefore != 0 {
			t.Errorf("picture %d says that %d were lost", n, f.DroppedBefore)
		}
	}
}

// wantCounts checks all counters.
func wantCounts(t *testing.T, s *Source, want map[string]uint64) {
	t.Helper()
	got := s.Counters()
	var words []string
	for k := range got {
		words = append(words, k)
	}
	for k := range want {
		words = append(words, k)
	}
	slices.Sort(words)
	for _, k := range slices.Compact(words) {
		if got[k] != want[k] {
			t.Errorf("%s = %d, want %d", k, got[k], want[k])
		}
	}
}
