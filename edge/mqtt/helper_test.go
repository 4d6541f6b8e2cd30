package mqtt

import (
	"context"
	"errors"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"nightseg/edge/frame"

	"nightseg/edge/mqtt/mqtttest"
)

// patience bounds every wait of the tests for something that is sure to come.
const patience = 20 * time.Second

var testTopics = Topics{Fleet: "test", Device: "car1"}

func testOptions(url string) Options {
	return Options{URL: url, Topics: testTopics, Run: "r1", BackoffMin: 10 * time.Millisecond}
}

func startTestBroker(t *testing.T) *Broker {
	t.Helper()
	b, err := StartBroker(BrokerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// runClient starts a client; the returned stop ends Run and waits for it.
func runClient(t *testing.T, o Options) (c *Client, stop func()) {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c, runThis(t, c)
}

// runThis starts a client that a test has made.
func runThis(t *testing.T, c *Client) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := receive(t, ended, "end of Run"); err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// offer hands over a live mask.
func offer(c *Client, camera string, payload []byte) bool {
	return c.Offer(&frame.Meta{Camera: camera}, payload)
}

func waitConnected(t *testing.T, c *Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.WaitConnected(ctx); err != nil {
		t.Fatal(err)
	}
}

// receive waits for a value on a channel.
func receive[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	return mqtttest.Receive(t, ch, patience, what)
}

// observer is a subscriber to everything.
type observer struct {
	messages chan Message
	states   chan ConnectionState
}

func observe(t *testing.T, o WatchOptions) *observer {
	t.Helper()
	ob := &observer{messages: make(chan Message, 4096), states: make(chan ConnectionState, 256)}
	o.OnState = func(s ConnectionState) {
		select {
		case ob.states <- s:
		default:
		}
	}
	if o.BackoffMin == 0 {
		o.BackoffMin = 10 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Watch(ctx, o, func(m Message) {
			select {
			case ob.messages <- m:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := receive(t, ended, "end of Watch"); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Watch: %v", err)
		}
	})
	ob.waitState(t, true)
	return ob
}

func (ob *observer) waitState(t *testing.T, connected bool) {
	t.Helper()
	for receive(t, ob.states, "connection state of the observer").Connected != connected {
	}
}

// next waits for the next message on a topic, and passes over others.
func (ob *observer) next(t *testing.T, topic string) Message {
	t.Helper()
	for {
		if m := receive(t, ob.messages, "message on "+topic); m.Topic == topic {
			return m
		}
	}
}

// status waits for a status of the given state.
func (ob *observer) status(t *testing.T, state State) Status {
	t.Helper()
	for {
		m := ob.next(t, testTopics.Status())
		s, err := ParseStatus(m.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if s.State == state {
			return s
		}
	}
}

func watchAll(url string) WatchOptions {
	return WatchOptions{Options: Options{URL: url}, QoS: 1}
}

func noTune(*paho.ClientOptions) {}
