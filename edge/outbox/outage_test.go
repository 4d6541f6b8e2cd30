package outbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nightseg/edge/frame"
	"nightseg/edge/mqtt"
	"nightseg/edge/mqtt/mqtttest"
	"nightseg/edge/spool"
)

const patience = mqtttest.Patience

// everything makes mosquitto lose nothing that it has taken, also of QoS 0, for a
// subscriber that it knows: what is missing then is our fault. Without nodelay a
// kernel holds small packets back for a while, and throws them away with a process
// that is killed.
var everything = []string{
	"allow_anonymous true", "set_tcp_nodelay true", "queue_qos0_messages true", "max_inflight_messages 0",
	"autosave_on_changes true", "autosave_interval 1",
}

var topics = mqtt.Topics{Fleet: "test", Device: "car1"}

// device is what a vehicle has: cameras, an outbox, a client.
type device struct {
	t       *testing.T
	client  *mqtt.Client
	box     *Outbox
	cameras []string
	offered []atomic.Uint64 // by camera

	stopCameras, stopAll func()
}

// startDevice offers rate masks a second of each camera, of 200 bytes to 2 kB.
func startDevice(t *testing.T, url string, o Options, rate int, cameras ...string) *device {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	d := newDevice(t, url, "r1", o)
	d.cameras, d.offered = cameras, make([]atomic.Uint64, len(cameras))
	d.stopCameras = d.start(func(ctx context.Context) error {
		var wg sync.WaitGroup
		defer wg.Wait()
		for i := range cameras {
			wg.Go(func() { d.play(ctx, i, rate) })
		}
		return nil
	})
	t.Cleanup(d.stopCameras)
	return d
}

// newDevice is a device without cameras.
func newDevice(t *testing.T, url, run string, o Options) *device {
	t.Helper()
	d := &device{t: t}
	var err error
	if d.box, err = New(o); err != nil {
		t.Fatal(err)
	}
	d.client, err = mqtt.New(mqtt.Options{URL: url, Topics: topics, Run: run, Outbox: d.box})
	if err != nil {
		t.Fatal(err)
	}
	stopBox, stopClient := d.start(d.box.Run), d.start(d.client.Run)
	d.stopAll = func() { stopClient(); stopBox() }
	t.Cleanup(d.stopAll)
	return d
}

// start runs what ends with its context, until stop is called, which waits.
func (d *device) start(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := receive(d.t, ended, "end"); err != nil {
			d.t.Error(err)
		}
	})
}

// play is one camera.
func (d *device) play(ctx context.Context, i, rate int) {
	r := rand.New(rand.NewPCG(uint64(i), 7))
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	padding := strings.Repeat("x", 2000)
	for seq := uint64(1); ; seq++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		m := &frame.Meta{Camera: d.cameras[i], Run: "r1", Seq: seq}
		m.Stamp()
		payload := fmt.Appendf(nil, "%s %s %d %d %s", m.Run, m.Camera, seq, m.Mono, padding[:200+r.IntN(1800)])
		d.client.Offer(m, payload)
		d.offered[i].Add(1)
	}
}

func receive[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	return mqtttest.Receive(t, ch, patience, what)
}

// mask is what names a mask: the key by which a consumer removes doubles.
type mask struct {
	run, camera string
	seq         uint64
}

// consumer subscribes to all masks, and keeps account.
type consumer struct {
	t     *testing.T
	mu    sync.Mutex
	seen  map[mask]int             // how often it came
	last  map[string]*[2]uint64    // by topic: the last new Seq of each class, the higher first
	fresh map[string]time.Duration // by camera: capture time of the newest mask of cam/
	past  int                      // messages of hist/
	news  chan struct{}            // capacity 1: something came
	state chan bool
	late  []time.Duration // from capture to arrival, of live masks
}

func startConsumer(t *testing.T, url string) *consumer {
	t.Helper()
	c := &consumer{
		t: t, seen: map[mask]int{}, last: map[string]*[2]uint64{}, fresh: map[string]time.Duration{},
		news: make(chan struct{}, 1), state: make(chan bool, 1024),
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	o := mqtt.WatchOptions{
		Options: mqtt.Options{
			URL: url, ClientID: "consumer", BackoffMax: 200 * time.Millisecond,
			OnState: func(s mqtt.ConnectionState) { c.state <- s.Connected },
		},
		QoS: 1, Session: true, Filters: []string{topics.Mask("+"), topics.History("+")},
	}
	go func() { ended <- mqtt.Watch(ctx, o, c.take) }()
	t.Cleanup(func() {
		cancel()
		_ = receive(t, ended, "end of the consumer")
	})
	c.connected()
	return c
}

func (c *consumer) connected() {
	c.t.Helper()
	for !receive(c.t, c.state, "connection of the consumer") {
	}
}

func (c *consumer) take(m mqtt.Message) {
	var k mask
	var mono time.Duration
	if _, err := fmt.Sscanf(string(m.Payload), "%s %s %d %d", &k.run, &k.camera, &k.seq, &mono); err != nil {
		c.t.Errorf("%s: %v", m.Topic, err)
		return
	}
	past := strings.Contains(m.Topic, "/hist/")
	c.mu.Lock()
	defer c.mu.Unlock()
	if !past {
		c.fresh[k.camera] = max(c.fresh[k.camera], mono)
		c.late = append(c.late, frame.Mono()-mono)
	} else {
		c.past++
	}
	// Doubles may come at any time; new ones come in order.
	if c.seen[k] == 0 && !c.inOrder(m.Topic, k.seq, past) {
		c.t.Errorf("%s: %d came after %d", m.Topic, k.seq, *c.last[m.Topic])
	}
	c.seen[k]++
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// inOrder reports whether a Seq is above the last one of its topic; for history,
// where two classes come in turn, above the last one of either.
func (c *consumer) inOrder(topic string, seq uint64, past bool) bool {
	last := c.last[topic]
	if last == nil {
		last = new([2]uint64)
		c.last[topic] = last
	}
	switch {
	case seq > last[0]:
		last[0] = seq
	case past && seq > last[1]:
		last[1] = seq
	default:
		return false
	}
	return true
}

// liveAfter waits until each camera has a mask of cam/ that was captured after a
// moment.
func (c *consumer) liveAfter(at time.Duration, cameras []string) {
	c.t.Helper()
	for {
		c.mu.Lock()
		all := true
		for _, cam := range cameras {
			all = all && c.fresh[cam] > at
		}
		c.mu.Unlock()
		if all {
			return
		}
		receive(c.t, c.news, "live masks")
	}
}

// distinct is how many masks of a camera have come.
func (c *consumer) distinct(camera string) (n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.seen {
		if k.camera == camera {
			n++
		}
	}
	return n
}

// missing lists the masks of a camera, from 1 to last, that have not come.
func (c *consumer) missing(camera string, last uint64) (seqs []uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for seq := uint64(1); seq <= last; seq++ {
		if c.seen[mask{"r1", camera, seq}] == 0 {
			seqs = append(seqs, seq)
		}
	}
	return seqs
}

// delivered waits until the outbox has nothing left.
func (d *device) delivered() {
	d.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(3 * patience)
	for range tick.C {
		st := d.box.Stats()
		left := uint64(0)
		for c := range spool.Classes {
			left += st.Records[c]
		}
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("history is not delivered: %+v", st)
		}
	}
}

// TestOutages loses the broker in every way that there is, again and again. Then
// each mask that was captured must have come, or have been counted as dropped.
func TestOutages(t *testing.T) {
	m := mqtttest.StartMosquitto(t, everything...)
	p := mqtttest.StartProxy(t, m.URL())
	c := startConsumer(t, m.URL())
	m.Stop() // what it knows of the consumer is on its disk from now on
	m.Start()
	c.connected()
	d := startDevice(t, p.URL(), Options{ReducedEvery: 500 * time.Millisecond}, 40, "front", "rear")
	c.liveAfter(0, d.cameras)
	outages := []struct {
		name  string
		begin func()
		end   func()
	}{
		{"stop", m.Stop, func() { m.Start(); c.connected() }},
		{"kill", m.Kill, func() { m.Start(); c.connected() }},
		{"swallow", p.Swallow, p.Return},
		{"cut", p.Cut, func() {}},
		{"cut in the middle of a write", func() { p.CutAfter(1 + rand.IntN(3000)) }, func() {}},
		{"stall", p.Stall, p.Pass},
	}
	rounds := 24
	if testing.Short() {
		rounds = len(outages)
	}
	for i := range rounds {
		o := outages[i%len(outages)]
		o.begin()
		<-time.After(time.Duration(rand.Int64N(int64(1500 * time.Millisecond)))) // the outage
		back := frame.Mono()
		o.end()
		c.liveAfter(back, d.cameras)
		took := frame.Mono() - back
		t.Logf("%s: live masks %v after the return, at mask %d", o.name, took.Round(time.Millisecond), d.offered[0].Load())
		if took > 6*time.Second {
			t.Errorf("%s: live masks came %v after the return", o.name, took)
		}
	}
	d.settle(c)
}

// settle ends the cameras and compares what was captured with what came.
func (d *device) settle(c *consumer) {
	t := d.t
	t.Helper()
	d.stopCameras()
	d.delivered()
	d.stopAll()
	st := d.box.Stats()
	doubles, kept := 0, uint64(0)
	for i, cam := range d.cameras {
		n, came := d.client.CameraCounters(cam), c.distinct(cam)
		dropped := n.DroppedOffline + n.DroppedQueue + n.DroppedThin + n.DroppedWrite + n.DroppedInvalid
		t.Logf("%s: %d captured, %d came, %d dropped: %+v", cam, d.offered[i].Load(), came, dropped, n)
		if d.offered[i].Load() != came+dropped {
			t.Errorf("%s: %d captured, but %d came and %d were dropped; not here, those among them: %d", cam,
				d.offered[i].Load(), came, dropped, c.missing(cam, d.offered[i].Load()))
		}
		if n.DroppedOffline+n.DroppedWrite+n.DroppedInvalid > 0 {
			t.Errorf("%s: masks were not kept: %+v", cam, n)
		}
		kept += n.Kept
	}
	for _, n := range c.seen {
		doubles += n - 1
	}
	t.Logf("%d kept, %d delivered as history, %d doubles; spool %+v", kept, c.past, doubles, st)
	if kept == 0 || c.past == 0 {
		t.Error("nothing was kept: there was no outage")
	}
	for r := range spool.Reasons {
		if n := st.DroppedBy(r); n > 0 {
			t.Errorf("the spool dropped %d: %v", n, r)
		}
	}
}
