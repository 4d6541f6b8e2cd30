package mqtt

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"nightseg/edge/mqtt/mqtttest"
)

// TestRedirect moves a client to another broker, to one that is not there, and back.
func TestRedirect(t *testing.T) {
	eachBroker(t, func(t *testing.T, first *server) {
		second, err := StartBroker(BrokerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = second.Close() })
		here, there := observe(t, watchAll(first.url)), observe(t, watchAll(second.URL()))
		c, stop := runClient(t, testOptions(first.url))
		c.SetMeta([]byte("m"))
		c.SetStatus(Online, "")
		waitConnected(t, c)
		here.status(t, Online)
		offer(c, "front", []byte("1"))
		here.next(t, testTopics.Mask("front"))

		if err := c.Redirect(Endpoint{URL: "mqtt://"}); err == nil {
			t.Error("an endpoint without a host is taken")
		}
		move := func(url string, want error) {
			t.Helper()
			if err := c.Redirect(Endpoint{URL: url}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if err := c.WaitMoved(ctx); !errors.Is(err, want) {
				t.Fatalf("moved to %s: %v, want %v", url, err, want)
			}
		}
		move(second.URL(), nil)
		if s := here.status(t, Stopped); !strings.Contains(s.Reason, "another broker") {
			t.Errorf("status at the broker that was left: %+v", s)
		}
		there.status(t, Online)
		if m := there.next(t, testTopics.Meta()); string(m.Payload) != "m" {
			t.Errorf("meta %q", m.Payload)
		}
		offer(c, "front", []byte("2"))
		there.next(t, testTopics.Mask("front"))

		move("mqtt://127.0.0.1:"+mqtttest.FreePort(t), context.DeadlineExceeded)
		there.status(t, Stopped)
		offer(c, "front", []byte("nobody hears it"))
		move(first.url, nil)
		here.status(t, Online)
		if !c.Ack([]byte("a")) {
			t.Error("answer refused")
		}
		here.next(t, testTopics.Ack())
		if n := c.Counters(); n.Sent != 2 || n.DroppedOffline != 1 || n.Connects != 3 {
			t.Errorf("counters %+v", n)
		}
		stop()
		here.status(t, Stopped)
	})
}
