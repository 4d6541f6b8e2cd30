package mqtt

import (
	"fmt"
	"sync"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// pahoClient is a client of the library alone, for what ours never does.
func pahoClient(t *testing.T, b *Broker, id string) paho.Client {
	t.Helper()
	c := paho.NewClient(paho.NewClientOptions().AddBroker(b.URL()).SetClientID(id))
	done(t, c.Connect())
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func done(t *testing.T, token paho.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) || token.Error() != nil {
		t.Error("not done: ", token.Error())
	}
}

// TestRetainedWhileOthersSubscribe lets a client subscribe with wildcards again
// and again while another fills the topics with retained messages and empties
// every other one. Without the guard's lock the race detector ends it.
func TestRetainedWhileOthersSubscribe(t *testing.T) {
	const topics, filter = 200, "retained/+/x"
	b := startTestBroker(t)
	sender, reader := pahoClient(t, b, "sender"), pahoClient(t, b, "reader")
	var sending sync.WaitGroup
	defer sending.Wait()
	sent := make(chan struct{})
	sending.Go(func() {
		defer close(sent)
		for i := range topics {
			topic := fmt.Sprintf("retained/%d/x", i)
			done(t, sender.Publish(topic, 1, true, topic))
			if i%2 == 1 {
				done(t, sender.Publish(topic, 1, true, ""))
			}
		}
	})
	got := make(chan paho.Message, topics)
	for sending := true; sending; {
		select {
		case <-sent:
			sending = false
		default:
		}
		done(t, reader.Subscribe(filter, 0, func(paho.Client, paho.Message) {}))
		done(t, reader.Unsubscribe(filter))
	}
	done(t, pahoClient(t, b, "late").Subscribe(filter, 0, func(_ paho.Client, m paho.Message) { got <- m }))
	seen := map[string]bool{}
	for len(seen) < topics/2 {
		m := receive(t, got, "retained message")
		if !m.Retained() || string(m.Payload()) != m.Topic() || seen[m.Topic()] {
			t.Fatalf("got %q on %s, retained %v, before: %v", m.Payload(), m.Topic(), m.Retained(), seen[m.Topic()])
		}
		seen[m.Topic()] = true
	}
}
