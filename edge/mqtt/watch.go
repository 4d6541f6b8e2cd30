package mqtt

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// WatchOptions says what a subscriber wants. Of Options, those that say how to
// reach the broker apply, and OnState and Logger. An empty Fleet or Device means
// all; an empty ClientID a random one.
type WatchOptions struct {
	Options
	Filters []string // default: everything under Fleet and Device
	QoS     byte     // highest QoS asked for, 0 or 1
	// Session asks the broker to keep QoS 1 messages while we are away; it needs
	// a ClientID of ours, and a broker that keeps sessions.
	Session bool
}

// Message is what a subscriber gets.
type Message struct {
	Topic    string
	Payload  []byte
	Retained bool
	Received time.Time
}

// watchQueue is how many messages wait for a slow handler before the broker has
// to wait.
const watchQueue = 1024

// Watch subscribes and calls handle for every message, in order, from one
// goroutine, until ctx ends; it reconnects with back-off. It returns an error
// only for options that cannot work and for a broker that refuses us for good
// (a *ConnectError) before the first connection.
func Watch(ctx context.Context, o WatchOptions, handle func(Message)) error {
	if err := o.prepare(); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &watcher{o: o, queue: make(chan Message, watchQueue), cancel: cancel}
	var handler sync.WaitGroup
	handler.Go(func() {
		for {
			select {
			case m := <-w.queue:
				handle(m)
			case <-ctx.Done():
				return
			}
		}
	})
	keepConnected(ctx, &w.o.Options, newMover("", nil), nil, w.attempt, w.offline)
	handler.Wait()
	var refused *ConnectError
	if err := context.Cause(ctx); errors.As(err, &refused) {
		return fmt.Errorf("watch: %w", err)
	}
	return nil
}

func (o *WatchOptions) prepare() error {
	if o.Session && o.ClientID == "" {
		return errors.New("client_id: needed where the broker is to keep a session")
	}
	if o.ClientID == "" {
		o.ClientID = "nightseg-watch-" + rand.Text()[:12]
	}
	fleet, device := o.Fleet, o.Device
	if fleet == "" {
		fleet, o.Fleet = "+", "any"
	}
	if device == "" {
		device, o.Device = "+", "any"
	}
	if o.QoS > 1 {
		return fmt.Errorf("qos: %d is outside 0 to 1", o.QoS)
	}
	if len(o.Filters) == 0 {
		o.Filters = []string{Topics{Fleet: fleet, Device: device}.Base() + "/#"}
	}
	if o.PingTimeout == 0 {
		// A handler that is slower than the broker also delays the answer to our
		// ping, which stands behind the messages.
		o.PingTimeout = 30 * time.Second
	}
	if err := o.Options.Check(); err != nil {
		return err
	}
	o.Options.setDefaults()
	return nil
}

type watcher struct {
	o         WatchOptions
	queue     chan Message
	cancel    context.CancelCauseFunc
	connected bool // ever; used by the goroutine of Watch only
}

func (w *watcher) attempt(ctx context.Context, n uint64) (lived time.Duration, err error) {
	c, err := connect(ctx, &w.o.Options, func(po *paho.ClientOptions) {
		po.SetCleanSession(!w.o.Session)
		// All messages come this way: those of a kept session arrive before we
		// have subscribed.
		po.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { w.receive(ctx, m) })
	})
	if err != nil {
		var refused *ConnectError
		if !w.connected && errors.As(err, &refused) && refused.Permanent {
			w.cancel(err)
		}
		return 0, err
	}
	start := time.Now()
	filters := make(map[string]byte, len(w.o.Filters))
	for _, f := range w.o.Filters {
		filters[f] = w.o.QoS
	}
	if err := c.subscribe(ctx, filters, w.o.ConnectTimeout); err != nil {
		c.abandon()
		return time.Since(start), err
	}
	w.connected = true
	if w.o.OnState != nil {
		w.o.OnState(ConnectionState{Connected: true, Connection: n})
	}
	w.o.Logger.Info("watching", "url", w.o.URL, "connection", n)
	select {
	case <-c.lost:
		return time.Since(start), c.err
	case <-ctx.Done():
		c.disconnect()
		return time.Since(start), nil
	}
}

// receive runs on paho's goroutine; when the queue is full it makes the broker
// wait. paho acknowledges a QoS 1 message after it has returned.
func (w *watcher) receive(ctx context.Context, m paho.Message) {
	select {
	case w.queue <- Message{Topic: m.Topic(), Payload: m.Payload(), Retained: m.Retained(), Received: time.Now()}:
	case <-ctx.Done():
	}
}

func (w *watcher) offline(n uint64, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	if w.o.OnState != nil {
		w.o.OnState(ConnectionState{Connection: n, Err: err})
	}
	w.o.Logger.Warn("no connection to broker", "url", w.o.URL, "error", err)
}
