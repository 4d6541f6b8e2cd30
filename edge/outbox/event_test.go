package outbox

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nightseg/edge/disk/disktest"
	"nightseg/edge/frame"
	"nightseg/edge/mqtt"
	"nightseg/edge/mqtt/mqtttest"
	"nightseg/edge/spool"
)

// happened hands over events with these numbers, as of ago.
func happened(t *testing.T, c *mqtt.Client, run string, ago time.Duration, from, to uint64) {
	t.Helper()
	for seq := from; seq <= to; seq++ {
		m := frame.Meta{Run: run, Seq: seq}
		m.Stamp()
		m.Mono -= ago
		if !c.Event(&m, fmt.Appendf(nil, "%s %d", run, seq)) {
			t.Fatalf("event %d was not taken", seq)
		}
	}
}

// away waits until a device has noticed that the broker is gone.
func (d *device) away() {
	d.t.Helper()
	d.until("the loss", func() bool { return !d.client.MasksState().Connected && !d.client.State().Connected })
}

// listener is who uses the key of events to leave doubles out.
type listener struct {
	t        *testing.T
	messages chan mqtt.Message
	seen     map[string]bool
}

// hearing subscribes to events and to history for as long as the test takes, also
// through restarts of the broker.
func hearing(t *testing.T, url string) *listener {
	t.Helper()
	messages, state := make(chan mqtt.Message, 8192), make(chan bool, 1024)
	o := mqtt.WatchOptions{
		Options: mqtt.Options{
			URL: url, ClientID: "listener", BackoffMax: 200 * time.Millisecond,
			OnState: func(s mqtt.ConnectionState) { state <- s.Connected },
		},
		QoS: 1, Session: true, Filters: []string{topics.Event(), topics.PastEvent(), topics.History("+")},
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mqtt.Watch(ctx, o, func(m mqtt.Message) { messages <- m }) }()
	t.Cleanup(func() {
		cancel()
		_ = receive(t, ended, "end of the listener")
	})
	for !receive(t, state, "connection of the listener") {
	}
	return &listener{t, messages, map[string]bool{}}
}

// events waits for n new events and says them in their order, each with its topic.
func (l *listener) events(n int) (got []string, masksBefore int) {
	l.t.Helper()
	for len(got) < n {
		m := receive(l.t, l.messages, fmt.Sprintf("event %d of %d", len(got)+1, n))
		topic := strings.TrimPrefix(m.Topic, topics.Base()+"/")
		switch key := string(m.Payload); {
		case strings.HasSuffix(topic, "/mask"):
			masksBefore++
		case !l.seen[key]:
			l.seen[key] = true
			got = append(got, topic+" "+key)
		}
	}
	return got, masksBefore
}

// said is what events should say.
func said(topic, run string, from, to uint64) (all []string) {
	for seq := from; seq <= to; seq++ {
		all = append(all, fmt.Sprintf("%s %s %d", topic, run, seq))
	}
	return all
}

func compare(t *testing.T, got []string, want ...[]string) {
	t.Helper()
	all := slices.Concat(want...)
	if len(got) != len(all) {
		t.Fatalf("%d events, want %d", len(got), len(all))
	}
	for i := range got {
		if got[i] != all[i] {
			t.Fatalf("event %d is %q, want %q", i, got[i], all[i])
		}
	}
}

// TestEventsThroughAnOutage: more than any queue in memory holds, in order, late ones
// on their own topic, and before the masks of the outage.
func TestEventsThroughAnOutage(t *testing.T) {
	m := mqtttest.StartMosquitto(t, everything...)
	heard := hearing(t, m.URL())
	d := startDevice(t, m.URL(), Options{Rate: 20e3}, 50, "front")
	happened(t, d.client, "r1", 0, 1, 3)
	got, _ := heard.events(3)
	compare(t, got, said("event", "r1", 1, 3))
	m.Stop()
	d.away()
	happened(t, d.client, "r1", time.Minute, 4, 200)
	happened(t, d.client, "r1", 0, 201, 300)
	d.until("masks of the outage", func() bool { st := d.box.Stats(); return st.Appended[spool.Live] > 100 })
	m.Start()
	got, masks := heard.events(297)
	compare(t, got, said("hist/event", "r1", 4, 200), said("event", "r1", 201, 300))
	if masks > 64 {
		t.Errorf("%d masks came before the last event", masks)
	}
	happened(t, d.client, "r1", 0, 301, 301)
	got, _ = heard.events(1)
	compare(t, got, said("event", "r1", 301, 301))
	d.stopCameras()
	d.until("all confirmed", func() bool { return d.box.Events() == 0 })
	if st := d.box.Stats(); st.Confirmed[spool.Event] != 301 {
		t.Errorf("%d of 301 confirmed", st.Confirmed[spool.Event])
	}
}

// TestEventsNotAcknowledged: what was written, and whose acknowledgement did not come,
// is sent again.
func TestEventsNotAcknowledged(t *testing.T) {
	m := mqtttest.StartMosquitto(t, everything...)
	heard := hearing(t, m.URL())
	p := mqtttest.StartProxy(t, m.URL())
	d := newDevice(t, p.URL(), "r1", Options{Dir: t.TempDir()})
	if err := d.client.WaitConnected(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Swallow()
	happened(t, d.client, "r1", 0, 1, 100)
	d.until("the loss", func() bool { return !d.client.MasksState().Connected })
	p.Return()
	got, _ := heard.events(100)
	for i := range got { // how long the loss took is the machine's
		got[i] = strings.TrimPrefix(got[i], "hist/")
	}
	compare(t, got, said("event", "r1", 1, 100))
}

// TestEventsThroughARestart: the service ends without having met the broker.
func TestEventsThroughARestart(t *testing.T) {
	m := mqtttest.StartMosquitto(t, everything...)
	heard := hearing(t, m.URL())
	m.Stop()
	dir := t.TempDir()
	d := newDevice(t, m.URL(), "r1", Options{Dir: dir})
	happened(t, d.client, "r1", 0, 1, 100)
	d.stopAll()
	d = newDevice(t, m.URL(), "r2", Options{Dir: dir})
	happened(t, d.client, "r2", 0, 1, 50)
	m.Start()
	got, _ := heard.events(150)
	compare(t, got, said("hist/event", "r1", 1, 100), said("event", "r2", 1, 50))
	d.until("all confirmed", func() bool { return d.box.Events() == 0 })
}

// TestTheLastEventIsSent: what ends the service is told before it ends.
func TestTheLastEventIsSent(t *testing.T) {
	m := mqtttest.StartMosquitto(t)
	heard := hearing(t, m.URL())
	d := newDevice(t, m.URL(), "r1", Options{Dir: t.TempDir()})
	if err := d.client.WaitConnected(t.Context()); err != nil {
		t.Fatal(err)
	}
	happened(t, d.client, "r1", 0, 1, 40)
	d.stopAll()
	if n := d.box.Events(); n != 0 {
		t.Errorf("%d events were left", n)
	}
	got, _ := heard.events(40)
	compare(t, got, said("event", "r1", 1, 40))
}

const eventsDir = "NIGHTSEG_TEST_EVENTS"

// TestEventsChild is the process that TestEventsThroughAKill kills.
func TestEventsChild(t *testing.T) {
	dir := os.Getenv(eventsDir)
	if dir == "" {
		t.Skip("only as a child of TestEventsThroughAKill")
	}
	d := newDevice(t, "mqtt://127.0.0.1:1", "r1", Options{Dir: dir})
	for seq := uint64(1); ; seq++ {
		happened(t, d.client, "r1", 0, seq, seq)
		if seq%50 == 0 {
			if err := d.box.spool.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			fmt.Printf("safe %d\n", seq)
		}
	}
}

// TestEventsThroughAKill: no broker, then kill -9, then a start with a broker.
func TestEventsThroughAKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	safe := uint64(0)
	disktest.RunKilled(t, "TestEventsChild", []string{eventsDir + "=" + dir}, func(line string) bool {
		if _, err := fmt.Sscanf(line, "safe %d", &safe); err != nil {
			t.Errorf("the child says %q", line)
		}
		return safe >= 500
	})
	m := mqtttest.StartMosquitto(t, everything...)
	heard := hearing(t, m.URL())
	d := newDevice(t, m.URL(), "r2", Options{Dir: dir})
	got, _ := heard.events(int(safe))
	compare(t, got, said("hist/event", "r1", 1, safe))
	d.until("all confirmed", func() bool { return d.box.Events() == 0 })
}

// TestEventsOnAFullDisk: the oldest make room for the newest, and are counted.
func TestEventsOnAFullDisk(t *testing.T) {
	dir, _ := smallDisk(t)
	m := mqtttest.StartMosquitto(t, everything...)
	heard := hearing(t, m.URL())
	m.Stop()
	if err := os.WriteFile(filepath.Join(dir, "others"), make([]byte, 1000<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{Dir: filepath.Join(dir, "spool"), MaxBytes: 64 << 20}
	o.Spool = spool.Options{SegmentBytes: 64 << 10, MaxPayload: 8 << 10, QueueRecords: 100, QueueBytes: 256 << 10}
	o.Spool.RetryMin, o.Spool.RetryMax = 50*time.Millisecond, 100*time.Millisecond
	d := newDevice(t, m.URL(), "r1", o)
	n := uint64(0)
	d.until("drops", func() bool {
		n++
		happened(t, d.client, "r1", 0, n, n)
		return d.box.Stats().Dropped[spool.Event][spool.DropDisk] >= 50
	})
	m.Start()
	d.until("delivery", func() bool { return d.box.Events() == 0 })
	d.stopAll()
	st := d.box.Stats()
	var gone uint64
	for r := range spool.Reasons {
		gone += st.Dropped[spool.Event][r]
	}
	got, _ := heard.events(int(n - gone))
	if got[len(got)-1] != fmt.Sprintf("event r1 %d", n) {
		t.Errorf("the last is %s of %d", got[len(got)-1], n)
	}
	if st.Confirmed[spool.Event]+gone != n || gone < 50 {
		t.Errorf("%d happened, %d confirmed, %d dropped", n, st.Confirmed[spool.Event], gone)
	}
}

// TestEventsPassTheBound: the rate is for masks, and masks can be left where they are.
func TestEventsPassTheBound(t *testing.T) {
	b := run(t, Options{Rate: 1000})
	for seq := range uint64(3) {
		b.Keep(meta("a", seq), make([]byte, 3000))
	}
	first, _ := b.await(t)
	b.KeepEvent(&frame.Meta{Run: "r1", Seq: 7, Mono: frame.Mono() - time.Minute}, []byte("hot"))
	var p mqtt.Past
	ok, wait := b.Next(&p, time.Now(), true)
	for ; !ok; ok, wait = b.Next(&p, time.Now(), true) {
		receive(t, b.Ready(), "the event")
	}
	if !p.Event || string(p.Payload) != "hot" || p.Run != "r1" || p.Age < time.Minute || wait != 0 || b.Events() != 1 {
		t.Errorf("%+v, wait %v, %d events", p, wait, b.Events())
	}
	b.Confirm(p)
	if ok, wait = b.Next(&p, time.Now(), true); ok || wait == 0 {
		t.Errorf("a mask above the bound: %v, wait %v", ok, wait)
	}
	if ok, wait = b.Next(&p, time.Now(), false); ok || wait != 0 || b.Events() != 0 {
		t.Errorf("%+v where there is no event, wait %v, %d events", p, wait, b.Events())
	}
	b.Confirm(first)
}
