package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"nightseg/edge/frame"
	"nightseg/edge/message"
	"nightseg/edge/mqtt"
	"nightseg/edge/mqtt/mqtttest"
	"nightseg/edge/settings"
)

// patience bounds every wait of the tests for something that is sure to come.
const patience = 30 * time.Second

// receive waits for a value on a channel.
func receive[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	return mqtttest.Receive(t, ch, patience, what)
}

// program is nightseg at work in this process.
type program struct {
	out, err mqtttest.Buffer
	cancel   context.CancelFunc
	ended    chan int
}

// start runs nightseg until it ends or is stopped.
func start(t *testing.T, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &program{cancel: cancel, ended: make(chan int, 1)}
	go func() { p.ended <- execute(ctx, args, &p.out, &p.err) }()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("nightseg %s\n%s%s", strings.Join(args, " "), p.out.String(), p.err.String())
		}
		if p.ended != nil {
			p.stop(t)
		}
	})
	return p
}

// wait returns the exit code of a program that ends by itself.
func (p *program) wait(t *testing.T) int {
	t.Helper()
	code := receive(t, p.ended, "end of the program")
	p.ended = nil
	p.cancel()
	return code
}

// stop does what Ctrl-C does, and returns the exit code.
func (p *program) stop(t *testing.T) int {
	t.Helper()
	p.cancel()
	return p.wait(t)
}

// startBroker runs a broker in this process; an empty address means any.
func startBroker(t *testing.T, listen string) *mqtt.Broker {
	t.Helper()
	b, err := mqtt.StartBroker(mqtt.BrokerOptions{Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() }) // the test may have closed it
	return b
}

// seen is a mask that a subscriber got.
type seen struct {
	message.Header
	codec   message.Codec
	mask    frame.Mask
	payload []byte
	past    bool // it came on hist/
}

// observer is a subscriber to everything.
type observer struct {
	url    string
	t      *testing.T
	masks  chan seen
	states chan mqtt.Status
	acks   chan []byte
	others chan mqtt.Message // everything else
}

// observe subscribes, and returns when it has. Masks that nobody fetches are
// thrown away.
func observe(t *testing.T, url string) *observer {
	t.Helper()
	ob := &observer{
		url: url, t: t, masks: make(chan seen, 1024), states: make(chan mqtt.Status, 256), acks: make(chan []byte, 64),
		others: make(chan mqtt.Message, 1024),
	}
	ctx, cancel := context.WithCancel(context.Background())
	connected, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- mqtt.Watch(ctx, mqtt.WatchOptions{QoS: 1, Options: mqtt.Options{
			URL: url, BackoffMin: 10 * time.Millisecond, OnState: func(s mqtt.ConnectionState) {
				if s.Connected {
					offer(connected, struct{}{})
				}
			},
		}}, ob.message)
	}()
	t.Cleanup(func() {
		cancel()
		if err := receive(t, ended, "end of the subscriber"); err != nil {
			t.Error(err)
		}
	})
	receive(t, connected, "connection of the subscriber")
	return ob
}

func (ob *observer) message(m mqtt.Message) {
	switch {
	case strings.HasSuffix(m.Topic, "/mask"):
		s := seen{payload: m.Payload, codec: message.Sniff(m.Payload), past: strings.Contains(m.Topic, "/hist/")}
		var err error
		if s.Header, err = message.Parse(&s.mask, m.Payload); err != nil {
			ob.t.Error(err)
			return
		}
		offer(ob.masks, s)
	case strings.HasSuffix(m.Topic, "/status"):
		s, err := mqtt.ParseStatus(m.Payload)
		if err != nil {
			ob.t.Error(err)
			return
		}
		offer(ob.states, s)
	case strings.HasSuffix(m.Topic, "/ack"):
		offer(ob.acks, m.Payload)
	default:
		offer(ob.others, m)
	}
}

// answer waits for the next answer to a document.
func (ob *observer) answer() (a settings.Ack) {
	ob.t.Helper()
	if err := json.Unmarshal(receive(ob.t, ob.acks, "an answer"), &a); err != nil {
		ob.t.Fatal(err)
	}
	return a
}

// mask waits for a mask that fits.
func (ob *observer) mask(what string, fits func(*seen) bool) seen {
	ob.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	var last seen
	for n := 0; ; n++ {
		select {
		case last = <-ob.masks:
			if fits(&last) {
				return last
			}
		case <-limit.C:
			ob.t.Fatalf("waited %v in vain for a mask: %s; %d others came, the last with %+v", patience, what, n, last.Header)
		}
	}
}

// anyMask waits for the next mask.
func (ob *observer) anyMask() seen { return ob.mask("any", func(*seen) bool { return true }) }

// status waits for a state whose reason holds a text.
func (ob *observer) status(state mqtt.State, reason string) mqtt.Status {
	ob.t.Helper()
	for {
		s := receive(ob.t, ob.states, fmt.Sprintf("status %s, %q", state, reason))
		if s.State == state && strings.Contains(s.Reason, reason) {
			return s
		}
	}
}

// document waits for a document that fits, on a topic that ends with suffix.
func document[T any](ob *observer, suffix string, fits func(*T) bool) T {
	ob.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	last := "none"
	for {
		select {
		case m := <-ob.others:
			if !strings.HasSuffix(m.Topic, suffix) {
				continue
			}
			var doc T
			if err := json.Unmarshal(m.Payload, &doc); err != nil {
				ob.t.Fatalf("%s: %v", m.Topic, err)
			}
			if fits == nil || fits(&doc) {
				return doc
			}
			last = string(m.Payload)
		case <-limit.C:
			ob.t.Fatalf("waited %v in vain for a document on %s; the last: %s", patience, suffix, last)
		}
	}
}

// lastStats returns the latest figures of those that have come.
func (ob *observer) lastStats() (st statsDocument) {
	ob.t.Helper()
	for len(ob.others) > 0 {
		m := <-ob.others
		if !strings.HasSuffix(m.Topic, "/stats") {
			continue
		}
		st = statsDocument{}
		if err := json.Unmarshal(m.Payload, &st); err != nil {
			ob.t.Fatal(err)
		}
	}
	return st
}

// drive writes n pictures of a made-up street by night, as the command does.
func drive(t *testing.T, n int) (dir string) {
	t.Helper()
	out := t.TempDir()
	code, _, errOut := command(t, "synth", "--out", out, "--frames", fmt.Sprint(n), "--size", "96x64",
		"--times", "night", "--seed", "7", "--fps", "10", "--split", "val", "--workers", "1")
	if code != exitDone {
		t.Fatal(errOut)
	}
	return filepath.Join(out, "rgb_anon")
}

// settingsFile writes a settings file for the tiny bundle; more are further lines.
func settingsFile(t *testing.T, url string, more ...string) string {
	t.Helper()
	t.Setenv("STATE_DIRECTORY", filepath.Join(t.TempDir(), "state"))
	lines := append([]string{
		"fleet: test", "device: car1", "bundle: " + tinyBundle(t),
		"broker: {url: \"" + url + "\"}",
	}, more...)
	return saveText(t, filepath.Join(t.TempDir(), "nightseg.yaml"), strings.Join(lines, "\n")+"\n")
}

// synthCamera is a line of a settings file: a camera that never fails.
const synthCamera = `cameras: [{id: front, source: "synth://?seed=7&size=48x32&fps=60&loop=8"}]`

// needBundle skips a test where the bundle that ships is not there.
func needBundle(t *testing.T) {
	t.Helper()
	if _, err := findBundle(""); err != nil {
		t.Skip(err)
	}
}

// publish sends one retained document; an empty one takes it away.
func publish(t *testing.T, url, topic, text string) {
	t.Helper()
	c := paho.NewClient(paho.NewClientOptions().AddBroker(strings.Replace(url, "mqtt://", "tcp://", 1)))
	for _, do := range []func() paho.Token{
		c.Connect, func() paho.Token { return c.Publish(topic, 1, true, text) },
	} {
		if token := do(); !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatalf("publish on %s: %v", topic, token.Error())
		}
	}
	c.Disconnect(100)
}

// eventually waits until a condition holds that no channel tells of.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}
