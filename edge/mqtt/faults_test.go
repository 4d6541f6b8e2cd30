package mqtt

import (
	"bytes"
	"context"
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"nightseg/edge/mqtt/mqtttest"
)

func TestWillWhenTheCableIsCut(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *server) {
		p := mqtttest.StartProxy(t, b.url)
		ob := observe(t, watchAll(b.url))
		c, _ := runClient(t, testOptions(p.URL()))
		c.SetStatus(Online, "")
		c.SetMeta([]byte("m"))
		waitConnected(t, c)
		first := ob.status(t, Online)
		p.Cut()
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
		masks := make(chan ConnectionState, 256)
		o.OnMasks = func(s ConnectionState) { masks <- s }
		desired := make(chan string, 16)
		o.OnDesired = func(b []byte) { desired <- string(b) }
		c, _ := runClient(t, o)
		c.SetStatus(Degraded, "camera front: no frame")
		c.SetMeta([]byte("m"))
		waitConnected(t, c)
		b.kill()
		for receive(t, states, "loss").Connected {
		}
		for receive(t, masks, "loss of the connection for masks").Connected {
		}
		before := c.Counters()
		if offer(c, "front", []byte("x")) {
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
		operator(t, b.url).publish(t, testTopics.Desired(), true, `{"version":1}`)
		if got := receive(t, desired, "settings"); got != `{"version":1}` {
			t.Errorf("got %s", got)
		}
	})
}

// TestSlowBrokerNeverBlocksOffer stops reading at the broker's end; a write
// would block for a minute, and Offer with it, if Offer did wait.
func TestSlowBrokerNeverBlocksOffer(t *testing.T) {
	p := mqtttest.StartProxy(t, startMochi(t).URL())
	o := testOptions(p.URL())
	o.WriteTimeout, o.PingTimeout = time.Minute, time.Minute
	c, stop := runClient(t, o)
	waitConnected(t, c)
	p.Stall()
	mask := make([]byte, 256<<10)
	const offered = 400 // 100 MB: more than socket buffers hold
	for range offered {
		if !offer(c, "front", mask) {
			t.Fatal("not queued")
		}
		runtime.Gosched()
	}
	n := c.Counters()
	if n.DroppedQueue+n.DroppedThin == 0 || n.Sent > offered/2 {
		t.Errorf("counters %+v", n)
	}
	stop() // the broker still does not read: StopTimeout must do
	n = c.Counters()
	if sum := n.total(); sum != offered {
		t.Errorf("%d masks offered, %d counted: %+v", offered, sum, n)
	}
}

// total is how many masks are counted.
func (n MaskCounters) total() uint64 {
	return n.Sent + n.Kept + n.DroppedOffline + n.DroppedQueue + n.DroppedThin + n.DroppedWrite + n.DroppedInvalid
}

// TestSilentBrokerIsGivenUp stops reading at the broker's end: the kernels take
// what is written for a while, so that only the missing answer to a ping tells.
func TestSilentBrokerIsGivenUp(t *testing.T) {
	p := mqtttest.StartProxy(t, startMochi(t).URL())
	o := testOptions(p.URL())
	o.PingTimeout = 500 * time.Millisecond
	states := make(chan ConnectionState, 256)
	o.OnMasks = func(s ConnectionState) { states <- s }
	c, stop := runClient(t, o)
	waitConnected(t, c)
	p.Stall()
	mask := make([]byte, 100<<10)
	offered, lost := uint64(0), ConnectionState{Connected: true}
	for tick := time.Tick(time.Millisecond); lost.Connected; offered++ {
		offer(c, "front", mask)
		select {
		case lost = <-states:
		case <-tick:
		}
	}
	if !strings.Contains(lost.Err.Error(), "no answer to a ping") && !errors.Is(lost.Err, os.ErrDeadlineExceeded) {
		t.Errorf("lost because: %v", lost.Err)
	}
	p.Pass()
	waitConnected(t, c)
	stop()
	if n := c.Counters(); n.total() != offered || n.MasksConnects < 2 {
		t.Errorf("%d masks offered; counters %+v", offered, n)
	}
}

func TestLosslessSurvivesARestart(t *testing.T) {
	m := mqtttest.StartMosquitto(t)
	w := watchAll(m.URL())
	w.Session, w.ClientID = true, "observer"
	ob := observe(t, w)
	c, stop := runClient(t, testOptions(m.URL()))
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
	m.Stop()
	m.Start()
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

// TestLateWill puts a will of an older connection where our status is, as a
// broker does that notices late that a connection was lost. Brokers keep the
// order of one sender only: the answer may come before the will.
func TestLateWill(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *server) {
		p := mqtttest.StartProxy(t, b.url)
		o := testOptions(p.URL())
		states := make(chan ConnectionState, 256)
		o.OnState = func(s ConnectionState) { states <- s }
		c, _ := runClient(t, o)
		c.SetStatus(Online, "")
		waitConnected(t, c)
		ob := observe(t, watchAll(b.url))
		ob.status(t, Online)
		p.Cut()
		for s := (ConnectionState{}); s.Connection < 2 || !s.Connected; {
			s = receive(t, states, "second connection")
		}
		for ob.status(t, Online).Connection < 2 {
		}
		op := operator(t, b.url)
		late := Status{State: Offline, Run: "r1", Connection: 1}
		op.publish(t, testTopics.Status(), true, string(late.json()))
		for seen := map[State]bool{}; !seen[Offline] || !seen[Online]; {
			s, err := ParseStatus(ob.next(t, testTopics.Status()).Payload)
			if err != nil {
				t.Fatal(err)
			}
			seen[s.State] = true
		}
	})
}

// TestWhichWillsAreAnswered: only those of older connections of this run. It
// asks the session itself, as on the wire an answer that should not be and one
// to the broker's own will look the same.
func TestWhichWillsAreAnswered(t *testing.T) {
	c, err := New(testOptions("mqtt://127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	s := &session{Client: c, n: 2}
	for _, tt := range []struct {
		name   string
		doc    string
		answer bool
	}{
		{"older connection", string(Status{State: Offline, Run: "r1", Connection: 1}.json()), true},
		{"this connection", string(Status{State: Offline, Run: "r1", Connection: 2}.json()), false},
		{"another run", string(Status{State: Offline, Run: "r0", Connection: 1}.json()), false},
		{"not a will", string(Status{State: Online, Run: "r1", Connection: 1}.json()), false},
		{"not a status", "{", false},
	} {
		before := s.docVersion[docStatus]
		s.checkStatus([]byte(tt.doc))
		if got := s.docVersion[docStatus] != before; got != tt.answer {
			t.Errorf("%s: answered %v, want %v", tt.name, got, tt.answer)
		}
	}
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
	p := mqtttest.StartProxy(t, startMochi(t).URL())
	for _, fault := range []func(){func() {}, p.Cut, p.Stall} {
		c, stop := runClient(t, testOptions(p.URL()))
		waitConnected(t, c)
		fault()
		stop()
		p.Pass()
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

// TestSubscriptionsOutliveReconnects cuts the connection again and again: a
// broker may still be clearing away the last one when the next one subscribes.
func TestSubscriptionsOutliveReconnects(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *server) {
		p := mqtttest.StartProxy(t, b.url)
		states, got := make(chan ConnectionState, 256), make(chan string, 16)
		o := testOptions(p.URL())
		o.BackoffMin = time.Millisecond
		o.StableAfter = time.Nanosecond // no back-off: it is the broker that is tested
		o.OnState = func(s ConnectionState) { states <- s }
		o.OnCommand = func(c Command) { got <- c.ID }
		runClient(t, o)
		op := operator(t, b.url)
		for i := range 25 {
			for !receive(t, states, "connection").Connected {
			}
			id := strconv.Itoa(i)
			op.publish(t, testTopics.Command("ping"), false, `{"id":"`+id+`"}`)
			if g := receive(t, got, "command"); g != id {
				t.Fatalf("got command %s, want %s", g, id)
			}
			p.Cut()
		}
	})
}
