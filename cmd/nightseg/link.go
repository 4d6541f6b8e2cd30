package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"nightseg/edge"
	"nightseg/edge/frame"
	"nightseg/edge/mqtt"
	"nightseg/edge/outbox"
	"nightseg/edge/settings"
)

// The words that stand for a broker's URL.
const (
	brokerEmbedded = "embedded"
	brokerNone     = "none"
)

// linkOptions say how masks reach a broker.
type linkOptions struct {
	settings.Broker
	sender
	qos       byte
	queue     int
	spool     outbox.Options // without Dir there is none
	onDesired func([]byte)
	onCommand func(mqtt.Command)
	logger    *slog.Logger
}

// sender names who sends: the fleet, the device and the start of the program.
type sender struct{ fleet, device, run string }

// addBroker adds the flags that say how to reach a broker; url says what may be named.
func addBroker(fs *pflag.FlagSet, b *settings.Broker, url string) {
	fs.StringVar(&b.URL, "broker", b.URL, url)
	fs.StringVar(&b.UsernameFile, "username-file", "", "file whose first line is the user name at the broker")
	fs.StringVar(&b.PasswordFile, "password-file", "", "file whose first line is the password")
	fs.StringVar(&b.CAFile, "ca-file", "", "PEM file of the authority of the broker's certificate")
	fs.StringVar(&b.CertFile, "cert-file", "", "PEM file of our certificate")
	fs.StringVar(&b.KeyFile, "key-file", "", "PEM file of our key")
}

// remoteBroker says what --broker may name where there must be one elsewhere.
const remoteBroker = "mqtt://host:1883 or mqtts://host:8883"

// endpointOf is the broker of the settings in the words of the client.
func endpointOf(b settings.Broker) mqtt.Endpoint {
	return mqtt.Endpoint{
		URL: b.URL, ClientID: b.ClientID, UsernameFile: b.UsernameFile, PasswordFile: b.PasswordFile,
		CAFile: b.CAFile, CertFile: b.CertFile, KeyFile: b.KeyFile, KeepAlive: time.Duration(b.KeepAlive),
	}
}

// link is the way to a broker, and the broker where that is in this process. With
// broker "none" it takes everything and sends nothing.
type link struct {
	broker *mqtt.Broker   // nil: elsewhere, or none
	client *mqtt.Client   // nil: none
	box    *outbox.Outbox // nil: masks that the broker cannot take are lost
	url    string
	stop   context.CancelFunc
	wg     sync.WaitGroup // the client, and who watches it
	end    context.CancelFunc
	keeper sync.WaitGroup // the outbox, which outlives them

	mu      sync.Mutex
	thinned map[string]*atomic.Uint64 // masks left out because of publish.rate, by camera
}

// openLink starts the broker where asked to, and the connection to it.
func openLink(o linkOptions) (*link, error) {
	l := &link{url: o.URL, stop: func() {}, end: func() {}, thinned: map[string]*atomic.Uint64{}}
	if o.URL == brokerNone {
		return l, nil
	}
	if o.URL == brokerEmbedded {
		b, err := mqtt.StartBroker(mqtt.BrokerOptions{
			Listen: o.Listen, AllowRemote: o.AllowRemote, Logger: atLeast(slog.LevelError, o.logger),
		})
		if err != nil {
			return nil, fmt.Errorf("%w (another program may use the address: give another with --listen, "+
				"or connect to it with --broker mqtt://%s)", err, o.Listen)
		}
		l.broker, l.url = b, b.URL()
	}
	kept, err := l.openBox(&o)
	if err != nil {
		return nil, usage(errors.Join(err, l.close()))
	}
	options := mqtt.Options{
		Topics: mqtt.Topics{Fleet: o.fleet, Device: o.device},
		Run:    o.run, QoS: o.qos, Queue: o.queue, Outbox: kept,
		OnDesired: o.onDesired, OnCommand: o.onCommand, Logger: o.logger,
	}
	endpointOf(o.Broker).Apply(&options)
	options.URL = l.url
	c, err := mqtt.New(options)
	if err != nil {
		return nil, usage(errors.Join(err, l.close()))
	}
	l.client = c
	ctx, stop := context.WithCancel(context.Background()) // outlives the loop, so that the last mask is sent
	l.stop = stop
	l.wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			o.logger.Error("broker connection", "error", err)
		}
	})
	return l, nil
}

// close sends what is queued and the status "stopped", and ends the connections,
// the outbox and the broker. It may be called twice.
func (l *link) close() error {
	l.stop()
	l.wg.Wait()
	l.end()
	l.keeper.Wait()
	if l.broker == nil {
		return nil
	}
	return l.broker.Close()
}

// waitConnected waits for the broker for at most d.
func (l *link) waitConnected(ctx context.Context, d time.Duration) error {
	if l.client == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if err := l.client.WaitConnected(ctx); err != nil {
		return fmt.Errorf("broker %s: %w", l.url, err)
	}
	return nil
}

// flush waits until the broker has every mask of a lossless replay.
func (l *link) flush(ctx context.Context) error {
	if l.client == nil {
		return nil
	}
	return l.client.Flush(ctx)
}

// status tells the broker how the service is.
func (l *link) status(degraded bool, reason string) {
	switch {
	case l.client == nil:
	case degraded:
		l.client.SetStatus(mqtt.Degraded, reason)
	default:
		l.client.SetStatus(mqtt.Online, "")
	}
}

// answer sends an answer to a document; without a broker there is nobody to answer.
func (l *link) answer(a settings.Ack) {
	if l.client != nil && !l.client.Ack(a.JSON()) {
		slog.Warn("config/ack: the broker does not take answers", "version", a.Version)
	}
}

// report tells what settings are in force.
func (l *link) report(r settings.Reported) {
	if l.client != nil {
		l.client.SetReported(r.JSON())
	}
}

// away says why the broker does not hear of us, nothing where it does.
func (l *link) away() string {
	if l.client == nil {
		return ""
	}
	s := l.client.State()
	switch {
	case s.Connected:
		return ""
	case s.Err != nil:
		return "broker: " + s.Err.Error()
	}
	return "broker: " + l.url + " does not answer yet"
}

// outlet returns the last stage of a loop: lossless masks wait for the broker,
// live ones never do. rate, if not 0, is the most masks per second.
func (l *link) outlet(p edge.Policy, rate float64) edge.Publisher {
	switch {
	case l.client == nil:
		return noOutlet{}
	case p == edge.Lossless:
		return losslessOutlet{l.client}
	}
	o := &liveOutlet{client: l.client, thinnedOf: l.thinnedOf}
	o.limit(rate)
	return o
}

// noOutlet sends nothing.
type noOutlet struct{}

// Publish implements edge.Publisher.
func (noOutlet) Publish(context.Context, *frame.Mask, []byte) error { return nil }

// losslessOutlet makes the loop wait for the broker.
type losslessOutlet struct{ client *mqtt.Client }

// Publish implements edge.Publisher.
func (o losslessOutlet) Publish(ctx context.Context, m *frame.Mask, payload []byte) error {
	return o.client.PublishMask(ctx, m.Camera, payload)
}

// liveOutlet hands masks over and goes on; the client counts those that the
// broker did not take in time.
type liveOutlet struct {
	client    offerer
	period    time.Duration // 0: every mask is sent
	due       time.Duration // Mono of the next mask to send
	thinnedOf func(camera string) *atomic.Uint64
}

// offerer takes a mask at once, or counts it as lost.
type offerer interface {
	Offer(m *frame.Meta, payload []byte) bool
}

// limit sets the most masks per second; 0: all. It belongs between two masks.
func (o *liveOutlet) limit(rate float64) {
	o.period = 0
	if rate > 0 {
		o.period = time.Duration(float64(time.Second) / rate)
	}
}

// Publish implements edge.Publisher.
func (o *liveOutlet) Publish(_ context.Context, m *frame.Mask, payload []byte) error {
	if o.period > 0 {
		// A quarter of a period of slack: 15 of 30 frames a second are every second one.
		if m.Mono < o.due-o.period/4 {
			o.thinnedOf(m.Camera).Add(1)
			return nil
		}
		o.due = max(o.due+o.period, m.Mono)
	}
	o.client.Offer(&m.Meta, payload)
	return nil
}

// thinnedOf counts the masks of a camera that publish.rate leaves out.
func (l *link) thinnedOf(camera string) *atomic.Uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.thinned[camera]
	if n == nil {
		n = new(atomic.Uint64)
		l.thinned[camera] = n
	}
	return n
}
