package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

func TestTopics(t *testing.T) {
	topics := Topics{Fleet: "f", Device: "d"}
	for got, want := range map[string]string{
		topics.Status(): "status", topics.Meta(): "meta", topics.Health(): "health",
		topics.Mask("c"): "cam/c/mask", topics.Stats("c"): "cam/c/stats", topics.History("c"): "hist/cam/c/mask",
		topics.Desired(): "config/desired", topics.Reported(): "config/reported", topics.Schema(): "config/schema",
		topics.Event(): "event", topics.PastEvent(): "hist/event",
		topics.Ack(): "config/ack", topics.Command("x"): "cmd/x", topics.Result("x"): "cmd/x/result",
	} {
		if got != "nightseg/v1/f/d/"+want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for id, ok := range map[string]bool{
		"car-1_A": true, "": false, "a/b": false, "+": false, "#": false, "a b": false, "\u00e9": false,
		strings.Repeat("x", 64): true, strings.Repeat("x", 65): false, "a\n": false,
	} {
		if (CheckID(id) == nil) != ok {
			t.Errorf("%q: %v", id, CheckID(id))
		}
	}
}

// TestPacketIsWhatPahoReads builds packets around every change in the length of
// the header.
func TestPacketIsWhatPahoReads(t *testing.T) {
	const topic = "nightseg/v1/f/d/cam/c/mask"
	var p packet
	for _, around := range []int{0, 1 << 7, 1 << 14, 1 << 21} {
		for n := max(0, around-len(topic)-10); n <= around+1; n++ {
			payload, id := bytes.Repeat([]byte{byte(n)}, n), uint16(n&1)*0x1234
			p.fill(topic, id, payload)
			cp, err := packets.ReadPacket(bytes.NewReader(p.buf))
			if err != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
			got, ok := cp.(*packets.PublishPacket)
			if !ok || got.TopicName != topic || !bytes.Equal(got.Payload, payload) || got.Retain ||
				got.MessageID != id || got.Qos != byte(n&1) {
				t.Fatalf("%d bytes: got %v", n, cp)
			}
			if !bytes.Equal(p.payload(), payload) {
				t.Fatalf("%d bytes: the payload is not where it is said to be", n)
			}
		}
	}
}

func TestRing(t *testing.T) {
	r := newRing(3, 8)
	var p packet
	var cameras [5]cameraMasks
	if taken, _, _ := r.push("t", nil, nil, nil); taken || r.pop(&p) {
		t.Error("a closed ring took a packet")
	}
	r.open()
	for i := range 5 {
		taken, lost, of := r.push("t", &cameras[i], nil, []byte{byte(i)})
		if !taken || lost != (i >= 3) || lost && of != &cameras[i-3] {
			t.Errorf("packet %d: taken %v, lost %v", i, taken, lost)
		}
	}
	for want := byte(2); want < 4; want++ {
		if !r.pop(&p) || p.payload()[0] != want {
			t.Errorf("got %v, want %d", p.payload(), want)
		}
	}
	r.seal()
	if taken, _, _ := r.push("t", nil, nil, nil); taken || r.empty() {
		t.Error("a sealed ring takes or has lost packets")
	}
	if n := r.close(); n != 1 || !r.empty() {
		t.Errorf("lost %d", n)
	}
}

func TestBackoff(t *testing.T) {
	const base, most = 100 * time.Millisecond, 5 * time.Second
	different := map[time.Duration]bool{}
	for seed := range uint64(50) {
		b := newBackoff(base, most, seed)
		for range 2 {
			limit := base
			for range 20 {
				got := b.next()
				if got < limit/2 || got > limit {
					t.Fatalf("got %v, want %v to %v", got, limit/2, limit)
				}
				different[got] = true
				limit = min(2*limit, most)
			}
			b.reset()
		}
	}
	if len(different) < 1000 {
		t.Errorf("%d different waits of 2000: no jitter", len(different))
	}
}

// TestShortConnectionsBackOff runs the loop in fake time against a broker that
// throws us out after 50 ms, as it does where two clients have one id.
func TestShortConnectionsBackOff(t *testing.T) {
	tests := []struct {
		name     string
		lives    time.Duration
		min, max int // attempts in ten minutes
	}{
		{"no connection", 0, 120, 250},
		{"short connections", 50 * time.Millisecond, 118, 250},
		{"long connections", 11 * time.Second, 53, 55},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := Options{ClientID: "car1"}
				o.setDefaults()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				attempts := 0
				lost := errors.New("lost")
				keepConnected(ctx, &o, newMover("", nil), nil, func(ctx context.Context, n uint64) (time.Duration, error) {
					attempts++
					if n != uint64(attempts) {
						t.Errorf("attempt %d is numbered %d", attempts, n)
					}
					start := time.Now()
					timer := time.NewTimer(tt.lives)
					defer timer.Stop()
					select {
					case <-timer.C:
					case <-ctx.Done():
					}
					return time.Since(start), lost
				}, func(_ uint64, err error) {
					short := tt.lives > 0 && tt.lives < o.StableAfter
					if ctx.Err() == nil && (!errors.Is(err, lost) || short != strings.Contains(err.Error(), "car1")) {
						t.Errorf("reported: %v", err)
					}
				})
				if attempts < tt.min || attempts > tt.max {
					t.Errorf("%d attempts, want %d to %d", attempts, tt.min, tt.max)
				}
			})
		})
	}
}

func TestStatusSupersedes(t *testing.T) {
	last := Status{State: Online, Run: "b", Connection: 3}
	for s, want := range map[Status]bool{
		{State: Offline, Run: "b", Connection: 2}: false,
		{State: Offline, Run: "b", Connection: 3}: true,
		{State: Online, Run: "b", Connection: 4}:  true,
		{State: Online, Run: "c", Connection: 1}:  true,
	} {
		if s.Supersedes(last) != want {
			t.Errorf("%+v", s)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add(Status{State: Online, Run: "r", Connection: 1, Reason: "x"}.json())
	for _, s := range []string{"", "{}", `{"state":"on"}`, `{"state":"offline","connection":-1}`, "[]", "null"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseStatus(b)
		if err != nil {
			return
		}
		if again, err := ParseStatus(s.json()); err != nil || again != s {
			t.Errorf("got %+v, %v after %+v", again, err, s)
		}
	})
}

func FuzzInbox(f *testing.F) {
	f.Add("ping", []byte(`{"id":"1"}`))
	f.Add("a/b", []byte(`{"id":2}`))
	f.Add("", []byte(nil))
	f.Fuzz(func(t *testing.T, name string, payload []byte) {
		b := newInbox()
		b.command(name, payload)
		b.desired(payload)
		select {
		case c := <-b.commands:
			if CheckID(c.Name) != nil || !bytes.Equal(c.Payload, payload) {
				t.Errorf("took %+v", c)
			}
		default:
		}
		if len(b.newest) > MaxDocument+1 {
			t.Errorf("keeps %d bytes", len(b.newest))
		}
	})
}

func TestBrokerListensOnLoopbackOnly(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:1883", "nonsense", "localhost"} {
		if b, err := StartBroker(BrokerOptions{Listen: listen}); err == nil {
			t.Errorf("%s: listens on %s", listen, b.Addr())
			_ = b.Close()
		}
	}
	b, err := StartBroker(BrokerOptions{Listen: ":0", AllowRemote: true})
	if err != nil {
		t.Fatal(err)
	}
	addr := b.Addr()
	if _, err := StartBroker(BrokerOptions{Listen: addr, AllowRemote: true}); err == nil {
		t.Error("two brokers on one port")
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		_ = c.Close()
		t.Error("still listens after Close")
	}
}

func TestConnectErrorText(t *testing.T) {
	err := connectError(&Options{URL: "mqtt://x"}, fmt.Errorf("read: %w", io.EOF))
	if !errors.Is(err, io.EOF) || err.Permanent || !strings.Contains(err.Error(), "mqtt://x") {
		t.Errorf("got %v", err)
	}
}
