package mqtt

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
)

// TestSlowSubscriberGetsEverything lets the handler stand still until all is
// published: order and number must hold, through our queue, the connection and
// the broker's queue.
func TestSlowSubscriberGetsEverything(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *server) {
		const masks = 3 * watchQueue
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ready := make(chan struct{}, 1)
		goOn, got, ended := make(chan struct{}), make(chan string, masks), make(chan error, 1)
		w := watchAll(b.url)
		w.Filters = []string{testTopics.Mask("+")}
		w.OnState = func(s ConnectionState) {
			if s.Connected {
				ready <- struct{}{}
			}
		}
		go func() {
			ended <- Watch(ctx, w, func(m Message) {
				<-goOn
				got <- string(m.Payload)
			})
		}()
		receive(t, ready, "subscription")
		c, _ := runClient(t, testOptions(b.url))
		for i := range masks {
			if err := c.PublishMask(ctx, "front", []byte(strconv.Itoa(i))); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		close(goOn)
		for i := range masks {
			if text := receive(t, got, "mask"); text != strconv.Itoa(i) {
				t.Fatalf("got mask %s, want %d", text, i)
			}
		}
		cancel()
		if err := receive(t, ended, "end of Watch"); err != nil {
			t.Error(err)
		}
	})
}

func TestWatchReconnects(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *server) {
		ob := observe(t, watchAll(b.url))
		b.kill()
		ob.waitState(t, false)
		b.restart()
		ob.waitState(t, true)
		c, _ := runClient(t, testOptions(b.url))
		waitConnected(t, c)
		offer(c, "front", []byte("after"))
		if m := ob.next(t, testTopics.Mask("front")); string(m.Payload) != "after" {
			t.Errorf("got %s", m.Payload)
		}
	})
}

func TestWatchFilters(t *testing.T) {
	b := startTestBroker(t)
	o := watchAll(b.URL())
	o.Fleet = "other"
	other := observe(t, o)
	o.Fleet, o.Device = "test", "car1"
	ours := observe(t, o)
	c, _ := runClient(t, testOptions(b.URL()))
	waitConnected(t, c)
	offer(c, "front", []byte("x"))
	ours.next(t, testTopics.Mask("front"))
	if len(other.messages) > 0 {
		t.Errorf("got %v", <-other.messages)
	}
}

func TestWatchOptions(t *testing.T) {
	for want, o := range map[string]WatchOptions{
		"client_id": {Options: Options{URL: "mqtt://x"}, Session: true},
		"qos":       {Options: Options{URL: "mqtt://x"}, QoS: 2},
		"url":       {},
	} {
		err := Watch(t.Context(), o, func(Message) {})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := watchAll("mqtt://127.0.0.1:1")
	if err := Watch(ctx, o, func(Message) {}); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("ended before it began: %v", err)
	}
}
