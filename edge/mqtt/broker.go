package mqtt

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// BrokerOptions says where the broker in this process listens.
type BrokerOptions struct {
	Listen      string // host:port; default 127.0.0.1:0, any free port
	AllowRemote bool   // needed for an address that other machines can reach
	// Username and Password, where set, are asked of every client; without them
	// every client may do everything.
	Username, Password string
	Logger             *slog.Logger // default: no log
}

// Broker is an MQTT broker in this process, for demonstrations, tests and
// single machines. It keeps nothing on disk.
type Broker struct {
	server   *mochi.Server
	guard    *guard
	listener net.Listener
	once     sync.Once
	err      error
}

// StartBroker starts a broker that runs until Close.
func StartBroker(o BrokerOptions) (*Broker, error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := checkListen(o); err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	capabilities := mochi.NewDefaultServerCapabilities()
	capabilities.MaximumPacketSize = 64 << 20
	// A subscriber that falls behind by more than this loses messages, whatever
	// their QoS: mochi does not make the publisher wait.
	capabilities.MaximumClientWritesPending = 32 << 10
	capabilities.MaximumInflight = 32 << 10
	s := mochi.New(&mochi.Options{
		Capabilities:             capabilities,
		Logger:                   o.Logger,
		ClientNetReadBufferSize:  32 << 10,
		ClientNetWriteBufferSize: 32 << 10,
		SysTopicResendInterval:   1 << 30, // seconds: nobody reads the broker's own figures
	})
	b := &Broker{server: s, listener: l}
	if err := b.start(o); err != nil {
		return nil, fmt.Errorf("embedded broker: %w", errors.Join(err, l.Close()))
	}
	return b, nil
}

func (b *Broker) start(o BrokerOptions) error {
	b.guard = newGuard(b.server, o)
	if err := b.server.AddHook(b.guard, nil); err != nil {
		return err
	}
	if err := b.server.AddListener(listeners.NewNet("tcp", b.listener)); err != nil {
		return err
	}
	return b.server.Serve()
}

// checkListen refuses addresses that other machines reach, unless told.
func checkListen(o BrokerOptions) error {
	host, _, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return fmt.Errorf("listen address: %w", err)
	}
	if o.AllowRemote {
		if o.Username == "" {
			o.Logger.Warn("embedded broker takes anyone who reaches it", "listen", o.Listen)
		}
		return nil
	}
	ip := net.ParseIP(host)
	if host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("listen address %q can be reached from other machines: use 127.0.0.1, or allow it explicitly",
		o.Listen)
}

// Addr returns host:port of the listener.
func (b *Broker) Addr() string { return b.listener.Addr().String() }

// URL returns the address as a client's Options.URL.
func (b *Broker) URL() string { return "mqtt://" + b.Addr() }

// Limits of Close.
const (
	drainStall = time.Second      // without progress
	drainLimit = 10 * time.Second // in all
)

// Close waits for subscribers with QoS 1 to take what is on its way to them,
// for as long as they go on taking, ends all connections and waits for them. It
// may be called twice.
func (b *Broker) Close() error {
	b.once.Do(func() {
		b.drain()
		for _, cl := range b.server.Clients.GetAll() {
			cl.Stop(packets.ErrServerShuttingDown) // mochi would first wait for each to read a farewell
		}
		b.err = b.server.Close()
	})
	return b.err
}

// drain waits until nothing that was acknowledged to its sender is still to be
// acknowledged by those who get it.
func (b *Broker) drain() {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	start := time.Now()
	least, since := math.MaxInt, start
	for now := start; now.Sub(start) < drainLimit && now.Sub(since) < drainStall; now = <-tick.C {
		n := b.guard.busy()
		for _, cl := range b.server.Clients.GetAll() {
			if !cl.Closed() {
				n += cl.State.Inflight.Len()
			}
		}
		if n == 0 {
			return
		}
		if n < least {
			least, since = n, now
		}
	}
}

// Subscribed reports whether a client of this broker has subscribed to topic.
func (b *Broker) Subscribed(topic string) bool {
	return len(b.server.Topics.Subscribers(topic).Subscriptions) > 0
}
