package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestPublishesToASubscriber(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *server) {
		ob := observe(t, watchAll(b.url))
		c, stop := runClient(t, testOptions(b.url))
		c.SetMeta([]byte(`{"m":1}`))
		c.SetStatus(Online, "")
		waitConnected(t, c)
		if s := ob.status(t, Online); s.Run != "r1" || s.Connection != 1 {
			t.Errorf("status %+v", s)
		}
		for i := range 50 {
			want := fmt.Sprintf("mask %d", i)
			if !c.Offer("front", []byte(want)) {
				t.Fatal("not queued")
			}
			if m := ob.next(t, testTopics.Mask("front")); string(m.Payload) != want {
				t.Fatalf("got %q, want %q", m.Payload, want)
			}
		}
		stop()
		ob.status(t, Stopped)
		if n := c.Counters(); n.Sent != 50 || n.Connects != 1 || n.Connected {
			t.Errorf("counters %+v", n)
		}
	})
}

// TestEveryTopic sends one message of each kind.
func TestEveryTopic(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *server) {
		c, _ := runClient(t, testOptions(b.url))
		waitConnected(t, c)
		ob := observe(t, watchAll(b.url))
		base := "nightseg/v1/test/car1/"
		c.SetMeta([]byte("m"))
		c.SetSchema([]byte("s"))
		c.SetReported([]byte("r"))
		c.PublishHealth([]byte("h"))
		c.PublishStats("front", []byte("f"))
		c.Offer("front", []byte("mask"))
		if !c.Ack([]byte("a")) || !c.Result("ping", []byte("p")) {
			t.Error("answer refused")
		}
		want := map[string]string{
			base + "meta": "m", base + "config/schema": "s", base + "config/reported": "r", base + "health": "h",
			base + "cam/front/stats": "f", base + "cam/front/mask": "mask", base + "config/ack": "a",
			base + "cmd/ping/result": "p",
		}
		for len(want) > 0 {
			m := receive(t, ob.messages, fmt.Sprint(want))
			if text, ok := want[m.Topic]; ok && text == string(m.Payload) {
				delete(want, m.Topic)
			} else if m.Topic != base+"status" {
				t.Errorf("unexpected %s: %s", m.Topic, m.Payload)
			}
		}
		late := observe(t, watchAll(b.url))
		retained := map[string]bool{"status": true, "meta": true, "config/schema": true, "config/reported": true}
		for len(retained) > 0 {
			m := receive(t, late.messages, "retained messages")
			name := strings.TrimPrefix(m.Topic, base)
			if !m.Retained || !retained[name] {
				t.Errorf("unexpected %s, retained %v", m.Topic, m.Retained)
			}
			delete(retained, name)
		}
	})
}

func TestWillWhenTheCableIsCut(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *server) {
		p := startProxy(t, b.url)
		ob := observe(t, watchAll(b.url))
		c, _ := runClient(t, testOptions(p.url()))
		c.SetStatus(Online, "")
		c.SetMeta([]byte("m"))
		waitConnected(t, c)
		first := ob.status(t, Online)
		p.cut()
		gone := ob.status(t, Offline)
		if gone.Run != "r1" || gone.Connection != first.Connection {
			t.Errorf("will %+v after %+v", gone, first)
		}
		again := ob.status(t, Online)
		if again.Connection <= first.Connection || gone.Supersedes(again) {
			t.Errorf("status %+v after %+v", again, gone)
		}
		if m := ob.next(t, testTopics.Meta()); string(m.Payload) != "m" {
			t.Errorf("meta %s", m.Payload)
		}
		waitConnected(t, c)
		if n := c.Counters(); n.Connects < 2 {
			t.Errorf("counters %+v", n)
		}
	})
}

// TestBrokerRestarts kills the broker, which forgets everything, and starts it
// again: all that it should know must come back, and settings must arrive.
func TestBrokerRestarts(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *server) {
		o := testOptions(b.url)
		states := make(chan ConnectionState, 256)
		o.OnState = func(s ConnectionState) { states <- s }
		desired := make(chan string, 16)
		o.OnDesired = func(b []byte) { desired <- string(b) }
		c, _ := runClient(t, o)
		c.SetStatus(Degraded, "camera front: no frame")
		c.SetMeta([]byte("m"))
		waitConnected(t, c)
		b.kill()
		for receive(t, states, "loss").Connected {
		}
		before := c.Counters()
		if c.Offer("front", []byte("x")) {
			t.Error("a mask was queued without a connection")
		}
		if n := c.Counters(); n.DroppedOffline != before.DroppedOffline+1 || n.Sent != before.Sent || n.Connected {
			t.Errorf("counters %+v after %+v", n, before)
		}
		b.restart()
		ob := observe(t, watchAll(b.url))
		if s := ob.status(t, Degraded); s.Reason != "camera front: no frame" {
			t.Errorf("status %+v", s)
		}
		waitConnected(t, c)
		op, _ := runClient(t, Options{URL: b.url, Topics: testTopics, ClientID: "operator", Run: "op"})
		waitConnected(t, op)
		publishRaw(t, op, testTopics.Desired(), true, `{"version":1}`)
		if got := receive(t, desired, "settings"); got != `{"version":1}` {
			t.Errorf("got %s", got)
		}
	})
}

// publishRaw lets a client send anything: it is the operator of the tests.
func publishRaw(t *testing.T, c *Client, topic string, retained bool, payload string) {
	t.Helper()
	conn, err := connect(context.Background(), &Options{
		URL: c.o.URL, ClientID: "raw-" + strconv.Itoa(int(time.Now().UnixNano())), KeepAlive: 5 * time.Second,
		PingTimeout: 5 * time.Second, ConnectTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second,
	}, noTune)
	if err != nil {
		t.Fatal(err)
	}
	token := conn.paho.Publish(topic, 1, retained, payload)
	receive(t, token.Done(), "acknowledgement")
	if err := token.Error(); err != nil {
		t.Fatal(err)
	}
	conn.disconnect()
}

// TestSlowBrokerNeverBlocksOffer stops reading at the broker's end; a write
// would block for a minute, and Offer with it, if Offer did wait.
func TestSlowBrokerNeverBlocksOffer(t *testing.T) {
	b := startTestBroker(t)
	p := startProxy(t, b.URL())
	o := testOptions(p.url())
	o.WriteTimeout, o.PingTimeout = time.Minute, time.Minute
	c, stop := runClient(t, o)
	waitConnected(t, c)
	p.stall()
	mask := make([]byte, 256<<10)
	const offered = 400 // 100 MB: more than socket buffers hold
	for range offered {
		if !c.Offer("front", mask) {
			t.Fatal("not queued")
		}
		runtime.Gosched()
	}
	n := c.Counters()
	if n.DroppedQueue == 0 || n.Sent >= offered-n.DroppedQueue+1 {
		t.Errorf("counters %+v", n)
	}
	stop() // the broker still does not read: StopTimeout must do
	n = c.Counters()
	if sum := n.Sent + n.DroppedQueue + n.DroppedOffline + n.DroppedWrite; sum != offered {
		t.Errorf("%d masks offered, %d counted: %+v", offered, sum, n)
	}
}

func TestWriteTimeoutGivesTheConnectionUp(t *testing.T) {
	b := startTestBroker(t)
	p := startProxy(t, b.URL())
	o := testOptions(p.url())
	o.WriteTimeout = 200 * time.Millisecond
	states := make(chan ConnectionState, 256)
	o.OnState = func(s ConnectionState) { states <- s }
	c, _ := runClient(t, o)
	waitConnected(t, c)
	p.stall()
	mask := make([]byte, 1<<20)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for c.Counters().Connected && t.Context().Err() == nil {
			c.Offer("front", mask)
			runtime.Gosched()
		}
	}()
	receive(t, ended, "loss of the connection")
	p.pass()
	waitConnected(t, c)
	if n := c.Counters(); n.DroppedWrite != 1 {
		t.Errorf("counters %+v", n)
	}
}

func TestLosslessSurvivesARestart(t *testing.T) {
	m := startMosquitto(t)
	w := watchAll(m.url())
	w.Session, w.ClientID = true, "observer"
	ob := observe(t, w)
	c, stop := runClient(t, testOptions(m.url()))
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	const masks = 600
	half := make(chan struct{})
	sent := make(chan error, 1)
	go func() {
		for i := range masks {
			if i == masks/2 {
				close(half)
			}
			if err := c.PublishMask(ctx, "front", []byte(strconv.Itoa(i))); err != nil {
				sent <- err
				return
			}
		}
		sent <- c.Flush(ctx)
	}()
	receive(t, half, "half of the masks")
	m.stop()
	m.start()
	if err := receive(t, sent, "end of publishing"); err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for next := 0; next < masks; {
		i, err := strconv.Atoi(string(ob.next(t, testTopics.Mask("front")).Payload))
		switch {
		case err != nil:
			t.Fatal(err)
		case seen[i]: // QoS 1: at least once
		case i != next:
			t.Fatalf("mask %d came before mask %d", i, next)
		default:
			seen[i] = true
			next++
		}
	}
	stop()
	if n := c.Counters(); n.Sent != masks || n.Connects < 2 {
		t.Errorf("counters %+v", n)
	}
	if err := c.PublishMask(ctx, "front", nil); !errors.Is(err, ErrStopped) {
		t.Errorf("after the end: %v", err)
	}
}

func TestLosslessWaits(t *testing.T) {
	o := testOptions("mqtt://127.0.0.1:" + freePort(t)) // nobody is there
	o.Window = 2
	c, stop := runClient(t, o)
	for range o.Window {
		if err := c.PublishMask(t.Context(), "front", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.PublishMask(ctx, "front", []byte("x")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := c.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("flush: got %v", err)
	}
	blocked := make(chan error, 1)
	go func() { blocked <- c.Flush(context.Background()) }()
	stop()
	if err := receive(t, blocked, "end of Flush"); !errors.Is(err, ErrStopped) {
		t.Errorf("flush: got %v", err)
	}
	if err := c.PublishMask(t.Context(), "a/b", nil); err == nil {
		t.Error("a camera that is no id was taken")
	}
}

func TestLiveAtQoS1(t *testing.T) {
	b := startTestBroker(t)
	ob := observe(t, watchAll(b.URL()))
	o := testOptions(b.URL())
	o.QoS, o.Queue = 1, 128
	c, stop := runClient(t, o)
	waitConnected(t, c)
	for i := range 100 {
		if !c.Offer("front", []byte(strconv.Itoa(i))) {
			t.Fatal("not queued")
		}
	}
	for i := range 100 {
		if m := ob.next(t, testTopics.Mask("front")); string(m.Payload) != strconv.Itoa(i) {
			t.Fatalf("got %s, want %d", m.Payload, i)
		}
	}
	stop()
	if n := c.Counters(); n.Sent != 100 {
		t.Errorf("counters %+v", n)
	}
}

// TestLateWill puts a will of an older connection where our status is, as a
// broker does that notices late that a connection was lost.
func TestLateWill(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *server) {
		p := startProxy(t, b.url)
		c, _ := runClient(t, testOptions(p.url()))
		c.SetStatus(Online, "")
		ob := observe(t, watchAll(b.url))
		p.cut()
		for ob.status(t, Online).Connection < 2 {
		}
		late := Status{State: Offline, Run: "r1", Connection: 1}
		publishRaw(t, c, testTopics.Status(), true, string(late.json()))
		ob.status(t, Offline)
		ob.status(t, Online)
		other := Status{State: Offline, Run: "r0", Connection: 9}
		publishRaw(t, c, testTopics.Status(), true, string(other.json()))
		ob.status(t, Offline)
		c.SetStatus(Degraded, "x")
		if m := ob.next(t, testTopics.Status()); !bytes.Contains(m.Payload, []byte("degraded")) {
			t.Errorf("answered the will of another run with %s", m.Payload)
		}
	})
}

func TestCommands(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *server) {
		o := testOptions(b.url)
		got := make(chan Command, 16)
		o.OnCommand = func(c Command) { got <- c }
		op, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		publishRaw(t, op, testTopics.Command("old"), true, `{"id":"0"}`) // waits at the broker, retained
		c, _ := runClient(t, o)
		waitConnected(t, c)
		for _, m := range []struct{ name, payload string }{
			{"ping", `{"id":"1"}`}, {"ping", `{"id":"1"}`}, {"ping", `{"id":"2","x":3}`}, {"a.b", "{}"}, {"stop", "text"},
		} {
			publishRaw(t, c, testTopics.Command(m.name), false, m.payload)
		}
		for _, want := range []Command{
			{"ping", "1", []byte(`{"id":"1"}`)}, {"ping", "2", []byte(`{"id":"2","x":3}`)}, {"stop", "", []byte("text")},
		} {
			g := receive(t, got, "command")
			if g.Name != want.Name || g.ID != want.ID || !bytes.Equal(g.Payload, want.Payload) {
				t.Errorf("got %+v, want %+v", g, want)
			}
		}
	})
}

// TestDuplicateClientID lets two clients throw each other out: each must say so,
// and wait longer from time to time (see TestShortConnectionsBackOff for how
// long).
func TestDuplicateClientID(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *server) {
		states := make(chan ConnectionState, 1024)
		o := testOptions(b.url)
		o.OnState = func(s ConnectionState) { states <- s }
		runClient(t, o)
		runClient(t, o)
		for {
			s := receive(t, states, "loss")
			if !s.Connected && strings.Contains(s.Err.Error(), `another client may use the client_id "car1"`) {
				return
			}
		}
	})
}

func TestRunEndsWithItsGoroutines(t *testing.T) {
	b := startTestBroker(t)
	p := startProxy(t, b.URL())
	for _, fault := range []func(){func() {}, p.cut, p.stall} {
		c, stop := runClient(t, testOptions(p.url()))
		waitConnected(t, c)
		fault()
		stop()
		p.pass()
		if err := c.Run(t.Context()); err == nil {
			t.Error("Run a second time")
		}
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(patience)
	for range tick.C {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if !bytes.Contains(stacks, []byte("paho.mqtt.golang")) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("goroutines of paho are left:\n%s", stacks)
		}
	}
}

func TestMasksThatCannotBe(t *testing.T) {
	o := testOptions("mqtt://127.0.0.1:1")
	o.MaxPayload = 10
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	c.Offer("a/b", nil)
	c.Offer("front", make([]byte, 11))
	c.Offer("front", make([]byte, 10))
	if n := c.Counters(); n.DroppedInvalid != 2 || n.DroppedOffline != 1 {
		t.Errorf("counters %+v", n)
	}
	if err := c.PublishMask(t.Context(), "front", make([]byte, 11)); err == nil {
		t.Error("a mask that is too large was taken")
	}
	for range 64 {
		if !c.Ack(nil) {
			t.Fatal("answer refused")
		}
	}
	if c.Ack(nil) || c.Result("a/b", nil) || c.Counters().DroppedAnswers != 2 {
		t.Error("answers are without bound")
	}
}
