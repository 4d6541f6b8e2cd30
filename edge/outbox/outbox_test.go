package outbox

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"nightseg/edge/frame"
	"nightseg/edge/mqtt"
	"nightseg/edge/mqtt/mqtttest"
	"nightseg/edge/spool"
)

// run starts an outbox on a folder until the test ends.
func run(t *testing.T, o Options) *Outbox {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	start(t, b)
	return b
}

// start lets an outbox write until the test ends.
func start(t *testing.T, b *Outbox) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := receive(t, ended, "end of the outbox"); err != nil {
			t.Error(err)
		}
	})
}

func meta(camera string, seq uint64) *frame.Meta {
	return &frame.Meta{
		Camera: camera, Run: "r1", Seq: seq, Mono: time.Duration(seq) * 100 * time.Millisecond,
		WallOffset: 5, Flags: frame.FlagClock,
	}
}

// next waits for what is to be delivered.
func (b *Outbox) await(t *testing.T) (p mqtt.Past, s string) {
	t.Helper()
	for {
		if ok, _ := b.Next(&p, time.Now(), true); ok {
			return p, p.Camera + " " + string(p.Payload)
		}
		receive(t, b.Ready(), "something to deliver")
	}
}

// TestWhatIsWorthMore keeps one mask a second of each camera before the others. All
// are there before the first is written: what is written may be delivered.
func TestWhatIsWorthMore(t *testing.T) {
	b, err := New(Options{Dir: t.TempDir(), ReducedEvery: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for seq := range uint64(15) {
		b.Keep(meta("a", seq), []byte{'0' + byte(seq)})
		if seq%5 == 0 {
			b.Keep(meta("b", seq), []byte{'0' + byte(seq)})
		}
	}
	start(t, b)
	var got []string
	for range 18 {
		p, s := b.await(t)
		got = append(got, s)
		b.Confirm(p)
	}
	want := "a 0,b 0,a :,b :,a 1,a 2,a 3,a 4,a 5,b 5,a 6,a 7,a 8,a 9,a ;,a <,a =,a >"
	if s := strings.Join(got, ","); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}

func TestRemembered(t *testing.T) {
	b := run(t, Options{})
	for seq := range uint64(3) {
		b.Remember(meta("a", seq), []byte{'0' + byte(seq)})
	}
	early := b.Barrier()
	b.Remember(meta("b", 3), []byte("3"))
	var proven, kept []string
	b.Prove(early, func(c string) { proven = append(proven, c) })
	b.Spill(func(c string) { kept = append(kept, c) })
	if strings.Join(proven, "") != "aaa" || strings.Join(kept, "") != "b" {
		t.Errorf("proven %v, kept %v", proven, kept)
	}
	if _, s := b.await(t); s != "b 3" {
		t.Errorf("delivered %s", s)
	}
	var p mqtt.Past
	if ok, _ := b.Next(&p, time.Now(), true); ok {
		t.Errorf("delivered %+v", p)
	}
	b.Rewind()
	p, s := b.await(t)
	if b.Confirm(p); s != "b 3" {
		t.Errorf("delivered again: %s", s)
	}
}

// TestRate delivers 100 masks of 1 kB at 10 kB a second.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := New(Options{Dir: t.TempDir(), Rate: 10e3})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- b.Run(ctx) }()
		for seq := range uint64(100) {
			b.Keep(meta("a", seq), make([]byte, 1000))
		}
		start := time.Now()
		for n := 0; n < 100; {
			var p mqtt.Past
			ok, wait := b.Next(&p, time.Now(), true)
			switch {
			case ok:
				b.Confirm(p)
				n++
			case wait > 0:
				<-time.After(wait)
			default:
				<-b.Ready()
			}
		}
		if took := time.Since(start); took < 8500*time.Millisecond || took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestKeepingAllocatesNothing(t *testing.T) {
	b := run(t, Options{ReducedEvery: time.Second})
	m, payload := meta("a", 1), make([]byte, 5000)
	each := func(string) {}
	one := func() {
		b.Remember(m, payload)
		b.Prove(b.Barrier(), each)
	}
	one()
	if n := testing.AllocsPerRun(1000, one); n != 0 {
		t.Errorf("%v allocations to remember and prove", n)
	}
}

func TestBadOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"dir": {}, "rate": {Dir: "x", Rate: -1}, "every": {Dir: "x", ReducedEvery: -1}, "size": {Dir: "x", MaxBytes: 5},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// smallDisk mounts a file system of one megabyte.
func smallDisk(t *testing.T) (dir string, remount func(readOnly bool)) {
	t.Helper()
	dir = t.TempDir()
	const size = "size=1m"
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, size); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, func(readOnly bool) {
		flags := uintptr(unix.MS_REMOUNT)
		if readOnly {
			flags |= unix.MS_RDONLY
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", flags, size); err != nil {
			t.Error(err)
		}
	}
}

// TestBadDisks: whatever the disk does, live masks flow, the reason is told, and
// all are counted.
func TestBadDisks(t *testing.T) {
	for _, tt := range []struct {
		name, reason string
		max          int64 // of the spool
		spoil        func(t *testing.T, dir string, remount func(bool))
		heal         func(t *testing.T, dir string, remount func(bool))
	}{
		{
			"full", "disk full", 64 << 20,
			func(t *testing.T, dir string, _ func(bool)) {
				if err := os.WriteFile(filepath.Join(dir, "others"), make([]byte, 1000<<10), 0o600); err != nil {
					t.Fatal(err)
				}
			},
			func(t *testing.T, dir string, _ func(bool)) {
				if err := os.Remove(filepath.Join(dir, "others")); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			"read-only", "read-only", 64 << 20,
			func(_ *testing.T, _ string, remount func(bool)) { remount(true) },
			func(_ *testing.T, _ string, remount func(bool)) { remount(false) },
		},
		{"small bound", "", 64 << 10, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, remount := smallDisk(t)
			m := mqtttest.StartMosquitto(t, everything...)
			p := mqtttest.StartProxy(t, m.URL())
			c := startConsumer(t, m.URL())
			o := Options{Dir: filepath.Join(dir, "spool"), MaxBytes: tt.max, ReducedEvery: time.Second}
			o.Spool = spool.Options{SegmentBytes: 16 << 10, MaxPayload: 8 << 10, QueueRecords: 100, QueueBytes: 256 << 10}
			o.Spool.RetryMin, o.Spool.RetryMax = 50*time.Millisecond, 100*time.Millisecond
			if err := os.Mkdir(o.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if tt.spoil != nil {
				tt.spoil(t, dir, remount)
			}
			d := startDevice(t, p.URL(), o, 100, "front")
			c.liveAfter(0, d.cameras)
			p.Swallow()
			if tt.reason == "" {
				d.until("drops", func() bool { st := d.box.Stats(); return st.DroppedBy(spool.DropFull) > 0 })
			} else {
				d.until("the reason", func() bool { return strings.Contains(d.box.Degraded(), tt.reason) })
				d.until("drops", func() bool { st := d.box.Stats(); return st.DroppedBy(spool.DropDisk) > 0 })
			}
			p.Return()
			c.liveAfter(frame.Mono(), d.cameras)
			if tt.heal != nil {
				tt.heal(t, dir, remount)
				d.until("a well disk", func() bool { return d.box.Degraded() == "" })
			}
			d.stopCameras()
			d.delivered()
			d.stopAll()
			n, st, came := d.client.CameraCounters("front"), d.box.Stats(), c.distinct("front")
			dropped := n.DroppedQueue + n.DroppedThin + n.DroppedOffline + n.DroppedWrite
			var gone uint64
			for r := range spool.Reasons {
				gone += st.DroppedBy(r)
			}
			t.Logf("%d came, %d dropped, %d of the spool; %+v; %+v", came, dropped, gone, n, st)
			// What was written, not proven, and then dropped by the spool may have come all the same:
			// a second of it, at most.
			if all, sum := d.offered[0].Load(), came+dropped+gone; sum < all || sum > all+100 {
				t.Errorf("%d captured, but %d came, %d were dropped, and %d by the spool", all, came, dropped, gone)
			}
		})
	}
}

// until waits for a state that no channel tells of.
func (d *device) until(what string, holds func() bool) {
	d.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(2 * patience)
	for !holds() {
		if <-tick.C; time.Now().After(deadline) {
			d.t.Fatalf("waited in vain for %s: %+v", what, d.box.Stats())
		}
	}
}

// BenchmarkRemember is what the ring adds to a live mask of 5 kB, a proof for
// each 30 included.
func BenchmarkRemember(b *testing.B) {
	box, err := New(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	m, payload, n := meta("a", 1), make([]byte, 5000), 0
	each := func(string) {}
	b.ReportAllocs()
	for b.Loop() {
		box.Remember(m, payload)
		if n++; n%30 == 0 {
			box.Prove(box.Barrier(), each)
		}
	}
}
