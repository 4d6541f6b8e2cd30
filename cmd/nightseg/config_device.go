package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"nightseg/edge/mqtt"
	"nightseg/edge/settings"
)

// deviceFlags say which device is meant, and how to reach it.
type deviceFlags struct {
	broker  settings.Broker
	fleet   string
	device  string
	timeout time.Duration
}

func (f *deviceFlags) add(fs *pflag.FlagSet, timeout time.Duration) {
	addBroker(fs, &f.broker, remoteBroker)
	fs.StringVar(&f.fleet, "fleet", "", "its fleet (default: any)")
	fs.StringVar(&f.device, "device", "", "its device id (default: the only one there)")
	fs.DurationVar(&f.timeout, "timeout", timeout, "how long to wait for the device")
}

// settle is how long after the first device others may be found, too: retained
// messages come at once.
const settle = 500 * time.Millisecond

// remote is a device as its retained documents tell.
type remote struct {
	mqtt.Topics
	reported settings.Reported
	text     json.RawMessage // of what is reported
	schema   []byte          // of documents; nil: not published
	options  mqtt.Options
	messages <-chan mqtt.Message
}

// name is fleet and device.
func (r *remote) name() string { return r.Fleet + "/" + r.Device }

// base is what documents for the device go over: its settings file.
func (r *remote) base() settings.Settings {
	if r.reported.File != nil {
		return *r.reported.File
	}
	return r.reported.Settings
}

// withDevice finds the device, subscribes to its answers, and calls do.
func withDevice(ctx context.Context, f *deviceFlags, do func(context.Context, *remote) error) error {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	options := mqtt.Options{
		Topics: mqtt.Topics{Fleet: f.fleet, Device: f.device}, Logger: slog.New(slog.DiscardHandler),
	}
	endpointOf(f.broker).Apply(&options)
	var away atomic.Pointer[error] // why there is no connection
	options.OnState = func(s mqtt.ConnectionState) {
		if s.Err != nil {
			away.Store(&s.Err)
		}
	}
	any := mqtt.Topics{Fleet: orAny(f.fleet), Device: orAny(f.device)}
	watch := mqtt.WatchOptions{Options: options, QoS: 1, Filters: []string{any.Reported(), any.Schema(), any.Ack()}}
	messages := make(chan mqtt.Message, 64)
	var watcher sync.WaitGroup
	var refused error
	watcher.Go(func() {
		defer close(messages)
		refused = mqtt.Watch(ctx, watch, func(m mqtt.Message) {
			select {
			case messages <- m:
			case <-ctx.Done():
			}
		})
	})
	r, err := find(ctx, f, messages)
	if err == nil {
		r.options = options
		r.options.OnState, r.options.Topics = nil, r.Topics
		err = do(ctx, r)
	}
	cancel()
	watcher.Wait()
	if why := away.Load(); why != nil && refused == nil && errors.Is(err, errNoAnswer) {
		err = fmt.Errorf("%w: %w", err, *why)
	}
	return errors.Join(refused, err)
}

func orAny(id string) string {
	if id == "" {
		return "+"
	}
	return id
}

// errNoAnswer says that a device has not said what was waited for.
var errNoAnswer = errors.New("no answer")

// find waits for the device that the flags mean, and for what it has published.
func find(ctx context.Context, f *deviceFlags, messages <-chan mqtt.Message) (*remote, error) {
	found := map[string]*remote{}
	wait := time.NewTimer(f.timeout)
	defer wait.Stop()
	for {
		select {
		case m, ok := <-messages:
			if !ok {
				return nil, noDevice(f)
			}
			if took(found, m) && len(found) == 1 {
				wait.Reset(settle)
			}
			if r := found[f.fleet+"/"+f.device]; r != nil && r.text != nil && r.schema != nil {
				r.messages = messages
				return r, nil
			}
		case <-wait.C:
			maps.DeleteFunc(found, func(_ string, r *remote) bool { return r.text == nil })
			if names := slices.Sorted(maps.Keys(found)); len(names) > 1 {
				return nil, usage(fmt.Errorf("%s: several devices: choose one with --fleet and --device: %s",
					f.broker.URL, strings.Join(names, ", ")))
			}
			for _, r := range found {
				r.messages = messages
				return r, nil
			}
			return nil, noDevice(f)
		case <-ctx.Done():
			return nil, noDevice(f)
		}
	}
}

func noDevice(f *deviceFlags) error {
	return fmt.Errorf("%w: no device %s/%s at %s has told its settings (config/reported) within %v",
		errNoAnswer, orAny(f.fleet), orAny(f.device), f.broker.URL, f.timeout)
}

// took puts a message to the device that it is of.
func took(found map[string]*remote, m mqtt.Message) bool {
	levels := strings.Split(m.Topic, "/")
	if len(levels) != 6 {
		return false
	}
	t := mqtt.Topics{Fleet: levels[2], Device: levels[3]}
	r := found[t.Fleet+"/"+t.Device]
	if r == nil {
		r = &remote{Topics: t}
	}
	switch m.Topic {
	case t.Schema():
		r.schema = m.Payload
	case t.Reported():
		if json.Unmarshal(m.Payload, &r.reported) != nil {
			return false
		}
		r.text = m.Payload
	default:
		return false
	}
	found[r.name()] = r
	return true
}

// checkSchema refuses a device that reads other documents than this program writes.
func (r *remote) checkSchema() error {
	if r.schema == nil {
		return usage(fmt.Errorf("%s publishes no config/schema: is it a nightseg?", r.name()))
	}
	var s struct {
		Properties struct {
			Schema struct {
				Const int `json:"const"`
			} `json:"schema"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(r.schema, &s); err != nil {
		return usage(fmt.Errorf("config/schema of %s: %w", r.name(), err))
	}
	if got := s.Properties.Schema.Const; got != settings.DocumentSchema {
		return usage(fmt.Errorf("%s reads documents of schema %d, this program writes %d: use the nightseg of its version",
			r.name(), got, settings.DocumentSchema))
	}
	return nil
}
