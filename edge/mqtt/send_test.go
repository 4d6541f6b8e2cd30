package mqtt

import (
	"context"
	"errors"
	"testing"
)

func TestSend(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *server) {
		o := Options{URL: b.url, Topics: testTopics}
		if err := Send(t.Context(), o, testTopics.Desired(), []byte("kept"), true); err != nil {
			t.Fatal(err)
		}
		ob := observe(t, watchAll(b.url))
		if m := ob.next(t, testTopics.Desired()); string(m.Payload) != "kept" || !m.Retained {
			t.Errorf("got %q, retained %v", m.Payload, m.Retained)
		}
		if err := Send(t.Context(), o, testTopics.Command("x"), []byte("once"), false); err != nil {
			t.Fatal(err)
		}
		if m := ob.next(t, testTopics.Command("x")); string(m.Payload) != "once" || m.Retained {
			t.Errorf("got %q, retained %v", m.Payload, m.Retained)
		}
	})
	var refused *ConnectError
	o := Options{URL: "mqtt://127.0.0.1:1", Topics: testTopics}
	if err := Send(t.Context(), o, "a", nil, false); !errors.As(err, &refused) {
		t.Errorf("no broker: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Send(ctx, Options{URL: startTestBroker(t).URL(), Topics: testTopics}, "a", nil, false); err == nil {
		t.Error("sent after the end")
	}
	if err := Send(t.Context(), Options{URL: "http://x", Topics: testTopics}, "a", nil, false); err == nil {
		t.Error("sent to what is no broker")
	}
}
