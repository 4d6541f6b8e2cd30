package main

import (
	"context"
	"encoding/binary"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/edge"
	"nightseg/edge/alive"
	"nightseg/edge/frame"
	"nightseg/edge/mqtt"
	"nightseg/edge/mqtt/mqtttest"
	"nightseg/edge/outbox"
	"nightseg/edge/settings"
	"nightseg/edge/spool"
)

const (
	hourRate  = 30               // frames a second
	hourMask  = 500              // bytes
	hourSpool = 8 << 20          // bytes: the hour brings six times as much
	hourDog   = 45 * time.Second // of the watchdog
	hourSigns = 3600 * 9 / 45    // signs of life in it: nine per time of the watchdog
)

// hourStages are all stages of a loop but the last; time is the bubble's.
type hourStages struct {
	begun time.Time
	tick  *time.Ticker
	seq   uint64
}

func (s *hourStages) Next(ctx context.Context, dst *frame.Frame) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.tick.C:
	}
	s.seq++
	dst.Reset(4, 2)
	dst.Meta = frame.Meta{Camera: "front", Run: "r1", Seq: s.seq, Mono: time.Since(s.begun)}
	return nil
}

func (*hourStages) Plan(_, src *frame.Frame) (*frame.Frame, error) { return src, nil }

func (*hourStages) Infer(dst *frame.Logits, src *frame.Frame) error {
	<-time.After(time.Second / hourRate / 2)
	dst.Reset(1, 1, 1)
	dst.Meta, dst.OutW, dst.OutH = src.Meta, src.W, src.H
	return nil
}

func (*hourStages) Decide(dst *frame.Mask, src *frame.Logits) error {
	dst.Reset(src.OutW, src.OutH)
	dst.Meta = src.Meta
	return nil
}

func (*hourStages) Append(dst []byte, m *frame.Mask) ([]byte, error) {
	dst = binary.BigEndian.AppendUint64(dst, m.Seq)
	return append(dst, make([]byte, hourMask-8)...), nil
}

// hourManager is a service manager that counts signs of life.
type hourManager struct {
	mu    sync.Mutex
	signs int
	line  string
}

func (m *hourManager) heard(state string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for line := range strings.SplitSeq(state, "\n") {
		if line == "WATCHDOG=1" {
			m.signs++
		}
		if text, ok := strings.CutPrefix(line, "STATUS="); ok && text != "stopping" {
			m.line = text
		}
	}
	return nil
}

func (m *hourManager) now() (signs int, line string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.signs, m.line
}

// heap is the memory in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestHourWithoutBroker lets an hour of fake time pass at full rate, and then brings a
// broker, to which a second start of the service delivers what was kept.
func TestHourWithoutBroker(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	port := mqtttest.FreePort(t)
	var totals edge.Totals
	var sent mqtt.MaskCounters
	var first, last spool.Stats
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		clock := func() spool.Time { return spool.Time{Mono: time.Since(begun)} }
		l := hourLink(t, "mqtt://127.0.0.1:"+port, "r1", dir, clock)
		health, group, manager := edge.NewHealth(nil), new(alive.Group), &hourManager{}
		l.watch(health)
		s := &hourStages{begun: begun, tick: time.NewTicker(time.Second / hourRate)}
		defer s.tick.Stop()
		loop, err := edge.New(edge.Stages{
			Source: s, Relight: s, Infer: s, Decide: s, Encode: s, Publish: l.outlet(edge.Live, 0),
		}, edge.Options{Camera: "front", Health: health, Alive: group})
		if err != nil {
			t.Fatal(err)
		}
		p := newPulse(health, l, func() []*edge.Recorder { return []*edge.Recorder{loop.Stats()} })
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := loop.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() { alive.NewManager(manager.heard, hourDog).Run(ctx, group, p.text) })
		<-time.After(10 * time.Minute)
		early, threads := heap(), runtime.NumGoroutine()
		first = l.box.Stats()
		<-time.After(50*time.Minute + time.Second)
		signs, line := manager.now()
		if signs < hourSigns {
			t.Errorf("%d signs of life of %d", signs, hourSigns)
		}
		if !strings.HasPrefix(line, "degraded: broker: ") || !strings.Contains(line, "refused") {
			t.Errorf("the service says %q", line)
		}
		if grown := heap() - early; grown > 4<<20 {
			t.Errorf("memory has grown by %d bytes in 50 minutes", grown)
		}
		if n := runtime.NumGoroutine(); n > threads+4 { // an attempt to connect may be under way
			t.Errorf("%d goroutines, %d at 10 minutes", n, threads)
		}
		stop()
		wg.Wait()
		if err := l.close(); err != nil {
			t.Error(err)
		}
		totals, sent, last = loop.Stats().Totals(), l.client.CameraCounters("front"), l.box.Stats()
	})
	full := last.DroppedBy(spool.DropFull)
	t.Logf("%d captured, %d kept, %d dropped for want of room, %d bytes on the disk",
		totals.Captured, sent.Kept, full, last.Bytes)
	if first.DroppedBy(spool.DropFull) == 0 {
		t.Errorf("the spool is not full after 10 minutes: %+v", first)
	}
	if totals.Captured < 3600*hourRate || totals.Captured != sent.Kept || full == 0 || last.Bytes > hourSpool {
		t.Errorf("%+v, %+v, %+v", totals, sent, last)
	}
	afterTheHour(t, dir, sent.Kept, full)
}

// hourLink is the way to a broker as the service has it.
func hourLink(t *testing.T, url, run, dir string, clock func() spool.Time) *link {
	t.Helper()
	b := settings.Default().Broker
	b.URL = url
	l, err := openLink(linkOptions{
		Broker: b, sender: sender{"default", "car1", run}, queue: 4, logger: slog.New(slog.DiscardHandler),
		spool: outbox.Options{
			Dir: dir, MaxBytes: hourSpool, ReducedEvery: time.Second, Spool: spool.Options{Now: clock, Boot: 1},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// afterTheHour brings a broker, and holds what comes against what was captured: all
// that the spool has not counted as dropped, each once, in order by class.
func afterTheHour(t *testing.T, dir string, captured, dropped uint64) {
	t.Helper()
	m := mqtttest.StartMosquitto(t, "allow_anonymous true", "max_queued_messages 0")
	topics := mqtt.Topics{Fleet: "default", Device: "car1"}
	heard, on := make(chan uint64, captured), make(chan bool, 16)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- mqtt.Watch(ctx, mqtt.WatchOptions{
			Options: mqtt.Options{URL: m.URL(), OnState: func(s mqtt.ConnectionState) { on <- s.Connected }},
			QoS:     1, Filters: []string{topics.History("front")},
		}, func(m mqtt.Message) { heard <- binary.BigEndian.Uint64(m.Payload) })
	}()
	for !mqtttest.Receive(t, on, mqtttest.Patience, "connection") {
	}
	l := hourLink(t, m.URL(), "r2", dir, func() spool.Time { return spool.Time{Mono: time.Hour} })
	seen, newest := map[uint64]bool{}, uint64(0)
	for uint64(len(seen)) < captured-dropped {
		seq := mqtttest.Receive(t, heard, mqtttest.Patience, "kept masks")
		if seen[seq] {
			t.Errorf("%d came twice, without a loss of the connection", seq)
		}
		seen[seq], newest = true, max(newest, seq)
	}
	if err := l.close(); err != nil {
		t.Error(err)
	}
	cancel()
	if err := mqtttest.Receive(t, ended, mqtttest.Patience, "end"); err != nil {
		t.Error(err)
	}
	st := l.box.Stats()
	if st.Lost+st.DroppedBy(spool.DropFull)+uint64(len(heard)) != 0 || newest != captured {
		t.Errorf("%d came too many, the newest is %d of %d: %+v", len(heard), newest, captured, st)
	}
}
