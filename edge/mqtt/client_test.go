package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"nightseg/edge/mqtt/mqtttest"
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
			if !offer(c, "front", []byte(want)) {
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
		offer(c, "front", []byte("mask"))
		if !c.Ack([]byte("a")) || !c.Result("ping", []byte("p")) {
			t.Error("answer refused")
		}
		want := map[string]string{
			base + "meta": "m", base + "config/schema": "s", base + "config/reported": "r", base + "health": "h",
			base + "cam/front/stats": "f", base + "cam/front/mask": "mask", base + "config/ack": "a",
			base + "cmd/ping/result": "p",
		}
		twice := map[string]bool{} // came as a kept message first
		for len(want) > 0 {
			m := receive(t, ob.messages, fmt.Sprint(want))
			if text, ok := want[m.Topic]; ok && text == string(m.Payload) {
				delete(want, m.Topic)
				twice[m.Topic] = m.Retained
			} else if m.Topic != base+"status" && !m.Retained && !twice[m.Topic] {
				// A broker may look for retained messages after it has granted the
				// subscription, and so send one twice: as a kept one and as a fresh
				// one, in either order.
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

// operator opens a connection that can publish anything.
func operator(t *testing.T, url string) *conn {
	t.Helper()
	op, err := connect(context.Background(), &Options{
		URL: url, ClientID: "raw-" + strconv.FormatInt(time.Now().UnixNano(), 10), KeepAlive: 5 * time.Second,
		PingTimeout: 5 * time.Second, ConnectTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second,
	}, noTune)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(op.disconnect)
	return op
}

// publish waits for the broker's acknowledgement.
func (c *conn) publish(t *testing.T, topic string, retained bool, payload string) {
	t.Helper()
	token := c.paho.Publish(topic, 1, retained, payload)
	receive(t, token.Done(), "acknowledgement")
	if err := token.Error(); err != nil {
		t.Fatal(err)
	}
}

func TestLosslessWaits(t *testing.T) {
	o := testOptions("mqtt://127.0.0.1:" + mqtttest.FreePort(t)) // nobody is there
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
		if !offer(c, "front", []byte(strconv.Itoa(i))) {
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

// TestCommands sends all from one connection: a broker keeps the order of what
// one client sends, and no other. The embedded one acknowledges before it
// distributes, so that waiting for the acknowledgement does not help.
func TestCommands(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *server) {
		o := testOptions(b.url)
		got := make(chan Command, 16)
		o.OnCommand = func(c Command) { got <- c }
		op := operator(t, b.url)
		op.publish(t, testTopics.Command("old"), true, `{"id":"0"}`) // waits at the broker, retained
		op.publish(t, "other", false, "")                            // now it has been distributed
		c, _ := runClient(t, o)
		waitConnected(t, c)
		for _, m := range []struct{ name, payload string }{
			{"ping", `{"id":"1"}`},
			{"ping", `{"id":"1"}`},
			{"ping", `{"id":"2","x":3}`},
			{"a.b", "{}"},
			{"stop", "text"},
		} {
			op.publish(t, testTopics.Command(m.name), false, m.payload)
		}
		for _, want := range []Command{
			{"ping", "1", []byte(`{"id":"1"}`)},
			{"ping", "2", []byte(`{"id":"2","x":3}`)},
			{"stop", "", []byte("text")},
		} {
			g := receive(t, got, "command")
			if g.Name != want.Name || g.ID != want.ID || !bytes.Equal(g.Payload, want.Payload) {
				t.Errorf("got %+v, want %+v", g, want)
			}
		}
	})
}

func TestMasksThatCannotBe(t *testing.T) {
	o := testOptions("mqtt://127.0.0.1:1")
	o.MaxPayload = 10
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	offer(c, "a/b", nil)
	offer(c, "front", make([]byte, 11))
	offer(c, "front", make([]byte, 10))
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

// TestBrokerCloseDelivers ends client and broker at once after the last
// acknowledgement: a subscriber must have everything all the same.
func TestBrokerCloseDelivers(t *testing.T) {
	b := startTestBroker(t)
	ob := observe(t, watchAll(b.URL()))
	c, stop := runClient(t, testOptions(b.URL()))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const masks = 500
	mask := make([]byte, 20_000)
	for i := range masks {
		if err := c.PublishMask(ctx, "front", strconv.AppendInt(mask[:0], int64(i), 10)[:20_000]); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range masks {
		m := ob.next(t, testTopics.Mask("front"))
		if want := strconv.Itoa(i); !strings.HasPrefix(string(m.Payload), want) {
			t.Fatalf("mask %s is missing", want)
		}
	}
	ob.status(t, Stopped)
}

// TestLastMasksBeforeStopped hands masks over and ends at once.
func TestLastMasksBeforeStopped(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *server) {
		ob := observe(t, watchAll(b.url))
		o := testOptions(b.url)
		o.Queue = 16
		c, stop := runClient(t, o)
		waitConnected(t, c)
		for i := range o.Queue {
			offer(c, "front", []byte(strconv.Itoa(i)))
		}
		stop()
		for want := 0; want < o.Queue; {
			m := receive(t, ob.messages, "mask")
			switch {
			case m.Topic == testTopics.Mask("front") && string(m.Payload) == strconv.Itoa(want):
				want++
			case bytes.Contains(m.Payload, []byte(Stopped)):
				t.Fatalf("stopped came before mask %d", want)
			}
		}
		ob.status(t, Stopped)
	})
}
