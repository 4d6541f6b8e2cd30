package mqtt

import (
	"fmt"
	"testing"
)

func TestPublishesToASubscriber(t *testing.T) {
	b := startTestBroker(t)
	ob := observe(t, watchAll(b.URL()))
	o := testOptions(b.URL())
	c, stop := runClient(t, o)
	c.SetMeta([]byte(`{"m":1}`))
	c.SetStatus(Online, "")
	waitConnected(t, c)
	if s := ob.status(t, Online); s.Run != "r1" || s.Connection != 1 {
		t.Errorf("status %+v", s)
	}
	if m := ob.next(t, testTopics.Meta()); string(m.Payload) != `{"m":1}` {
		t.Errorf("meta %s", m.Payload)
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
	if n := c.Counters(); n.Sent != 50 || n.Connects != 1 {
		t.Errorf("counters %+v", n)
	}
}
