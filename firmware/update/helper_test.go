package update

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"nightseg/edge/disk"
	"nightseg/edge/disk/disktest"
)

var (
	testTarget = Target{Arch: "amd64", Fleet: "yard", Device: "car7", Board: "pc"}
	testTime   = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	testKey    = sync.OnceValue(func() *Key {
		k, err := NewKey()
		if err != nil {
			panic(err)
		}
		return k
	})
)

// tree is a program, or a bundle, each of whose files says which version it is of.
func tree(version string) fstest.MapFS {
	f := func(mode fs.FileMode) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(strings.Repeat(version+"\n", 9)), Mode: mode}
	}
	return fstest.MapFS{
		"usr/bin/nightseg":          f(0o755),
		"usr/lib/nightseg/lib.so.1": f(0o644),
		"usr/lib/nightseg/lib.so":   {Data: []byte("lib.so.1"), Mode: fs.ModeSymlink | 0o777},
		"bundle.json":               f(0o644),
	}
}

// sign makes an update of a folder; change may change the manifest before it is signed.
func sign(t testing.TB, k *Key, kind Kind, version string, files fs.FS, change func(*Manifest)) []byte {
	t.Helper()
	var payload bytes.Buffer
	n, unpacked, err := Pack(&payload, files, func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(payload.Bytes())
	m := &Manifest{
		Schema: Schema, Kind: kind, Name: "nightseg", Version: version, Created: testTime,
		Payload: Payload{hex.EncodeToString(sum[:]), int64(payload.Len()), unpacked, n},
		For:     For{Arch: []string{"amd64"}},
	}
	if kind == Bundle {
		m.Name = "street"
	}
	if change != nil {
		change(m)
	}
	var out bytes.Buffer
	if err := Make(&out, m, k, &payload); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func signed(t testing.TB, kind Kind, version string) []byte {
	t.Helper()
	return sign(t, testKey(), kind, version, tree(version), nil)
}

// device is a device on a disk that keeps a journal.
type device struct {
	t       testing.TB
	m       *disktest.FS
	base    string
	program Choice // that runs
	bundle  string // in use, as settings call it
	trial   bool   // of other settings
	told    []Job
	restart bool
	http    *http.Client
	change  func(*Options)
}

func newDevice(t testing.TB) *device {
	d := &device{t: t, m: disktest.New(), base: "1.0", http: http.DefaultClient}
	for _, dir := range []string{"state", "slots", "bundles"} {
		if err := d.m.Mkdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	d.m = d.m.Sealed()
	return d
}

// machine is the service's part, as after a start.
func (d *device) machine() *Machine {
	o := Options{
		Open:     func() (disk.Tree, error) { return d.m.Sub("state"), nil },
		Bundles:  func() (disk.Tree, error) { return d.m.Sub("bundles"), nil },
		Programs: d.read("slots"),
		Keys:     func() (Keys, error) { return testKey().Keys(), nil },
		Target:   testTarget, Base: d.base, Program: d.program.ID,
		InUse: func() Use {
			name, version, _ := strings.Cut(d.bundle, "@")
			return Use{Setting: d.bundle, Name: name, Version: version, Trial: d.trial}
		},
		Tell:    func(j Job) { d.told = append(d.told, j) },
		Restart: func() { d.restart = true },
		HTTP:    d.http, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return testTime },
		Limits: Limits{Pause: time.Microsecond, Tries: 5},
	}
	if d.change != nil {
		d.change(&o)
	}
	return New(o)
}

func (d *device) read(dir string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) { return disk.ReadFile(d.m.Sub(dir), name, maxRecord) }
}

// steps lets a machine work until it waits for others.
func (d *device) steps(m *Machine) {
	for m.step(context.Background()) {
	}
}

// ask sends a command and lets the machine work.
func (d *device) ask(m *Machine, id, url string) Job {
	d.t.Helper()
	m.Offer(fmt.Appendf(nil, `{"id":%q,"url":%q}`, id, url))
	select {
	case c := <-m.offers:
		m.take(context.Background(), c)
		d.steps(m)
	default:
	}
	return d.job()
}

func (d *device) job() Job {
	d.t.Helper()
	j, err := ReadJob(d.read("state"))
	if err != nil {
		d.t.Fatal(err)
	}
	if j == nil {
		return Job{}
	}
	return *j
}

// installer does what root does when a request is there.
func (d *device) installer() (Outcome, error) {
	if !d.m.IsDir("state/" + RequestDir) {
		return Outcome{}, ErrNoRequest
	}
	i := &Installer{
		Drop: d.m.Sub("state/" + RequestDir), Slots: d.m.Sub("slots"), Keys: testKey().Keys(), Target: testTarget,
		Base: d.base, Now: func() time.Time { return testTime },
		Trials: func() (Trials, error) { return ReadTrials(d.read("state")) },
	}
	return i.Apply(context.Background())
}

// launch starts the service.
func (d *device) launch() Choice {
	d.program = Launch(d.read("slots"), func() (disk.FS, error) { return d.m.Sub("state"), nil }, d.base)
	return d.program
}

// whole says what version all files of a folder are of, and what is wrong with them.
func (d *device) whole(dir string) (version string, err error) {
	seen := 0
	for _, name := range d.m.Names() {
		rest, ok := strings.CutPrefix(name, dir+"/")
		if !ok {
			continue
		}
		seen++
		text := string(*d.m.Bytes(name))
		if rest == "usr/lib/nightseg/lib.so" {
			if text != disktest.LinkMark+"lib.so.1" {
				return "", fmt.Errorf("%s is %q", name, text)
			}
			continue
		}
		line, _, _ := strings.Cut(text, "\n")
		if text != strings.Repeat(line+"\n", 9) || version != "" && line != version {
			return "", fmt.Errorf("mixed: %s has %q beside version %s", name, text, version)
		}
		version = line
	}
	if seen != len(tree("")) {
		return "", fmt.Errorf("%s has %d files of %d", dir, seen, len(tree("")))
	}
	return version, nil
}

// runs is the version of the program that the choice stands for, whole.
func (d *device) runs(c Choice) (string, error) {
	if c.Name == "" {
		return d.base, nil
	}
	v, err := d.whole("slots/" + c.Name)
	if err == nil && v != c.Version {
		err = fmt.Errorf("slot %s is said to hold %s, but holds %s", c.Name, c.Version, v)
	}
	return v, err
}

// served is a client to whom every URL is answered with a file, without a network.
func served(b []byte) *http.Client {
	return &http.Client{Transport: roundTrip(func(q *http.Request) (*http.Response, error) {
		var at int
		code := http.StatusOK
		h := http.Header{"Etag": {`"x"`}}
		if n, _ := fmt.Sscanf(q.Header.Get("Range"), "bytes=%d-", &at); n == 1 {
			code = http.StatusPartialContent
			h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", at, len(b)-1, len(b)))
		}
		return &http.Response{
			StatusCode: code, Header: h, Body: io.NopCloser(bytes.NewReader(b[at:])), ContentLength: int64(len(b) - at),
		}, nil
	})}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

// update brings a program in, until it has proven itself.
func (d *device) update(version string) {
	d.t.Helper()
	d.http = served(signed(d.t, Package, version))
	m := d.machine()
	d.ask(m, "to-"+version, "http://x/u")
	if _, err := d.installer(); err != nil {
		d.t.Fatal(err)
	}
	d.steps(m)
	if c := d.launch(); c.Version != version {
		d.t.Fatalf("%+v is launched, want %s", c, version)
	}
	m = d.machine()
	d.steps(m)
	if err := MarkGood(d.m.Sub("state"), d.program.ID); err != nil {
		d.t.Fatal(err)
	}
	d.steps(m)
	if j := d.job(); j.State != Good {
		d.t.Fatalf("%+v", j)
	}
}
