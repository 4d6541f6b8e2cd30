package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"nightseg/edge"
	"nightseg/edge/frame"
	"nightseg/edge/message"
	"nightseg/edge/mqtt"
	"nightseg/edge/outbox"
	"nightseg/edge/settings"
	"nightseg/model"
)

// gatekeeper passes connections on to a broker, but for those of masks while it is
// told so.
func gatekeeper(t *testing.T, brokerURL string) (url string, refuse *atomic.Bool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refuse = new(atomic.Bool)
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				b := make([]byte, 512)
				n, err := c.Read(b)
				if err != nil || refuse.Load() && bytes.Contains(b[:n], []byte(mqtt.MasksSuffix)) {
					return
				}
				up, err := net.Dial("tcp", strings.TrimPrefix(brokerURL, "mqtt://"))
				if err != nil {
					return
				}
				defer func() { _ = up.Close() }()
				_, _ = up.Write(b[:n])
				wg.Go(func() { _, _ = io.Copy(c, up); _ = c.Close() })
				_, _ = io.Copy(up, c)
			})
		}
	})
	return "mqtt://" + l.Addr().String(), refuse
}

// openTestLink opens a link as run does.
func openTestLink(t *testing.T, url, dir string) (*link, *edge.Health) {
	t.Helper()
	broker := settings.Default().Broker
	broker.URL = url
	l, err := openLink(linkOptions{
		Broker: broker, sender: sender{"test", "car1", "r"}, queue: 8, logger: quietLog(),
		spool: outbox.Options{Dir: dir},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	health := edge.NewHealth(l.status)
	l.watch(health)
	l.status(false, "")
	return l, health
}

// oneMask publishes a mask, as a loop does.
func oneMask(t *testing.T, l *link) {
	t.Helper()
	bundle := &model.Bundle{SHA256: strings.Repeat("ab", 32)}
	bundle.Classes = []model.Class{{Name: "road"}}
	env, err := newEnvelope(bundle, sender{"test", "car1", "r"}, message.PNG)
	if err != nil {
		t.Fatal(err)
	}
	m := &frame.Mask{Meta: frame.Meta{Camera: "front", Run: "r", Seq: 1}, W: 1, H: 1, Class: []uint8{0}}
	b, err := env.Append(nil, m)
	if err == nil {
		err = l.outlet(edge.Live, 0).Publish(t.Context(), m, b)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestMasksThatCannotBeSent: the status says so, over the connection that there
// is, and masks are kept meanwhile.
func TestMasksThatCannotBeSent(t *testing.T) {
	b := startBroker(t, "")
	url, refuse := gatekeeper(t, b.URL())
	refuse.Store(true)
	ob := observe(t, b.URL())
	l, _ := openTestLink(t, url, filepath.Join(t.TempDir(), "spool"))
	ob.status(mqtt.Online, "")
	s := ob.status(mqtt.Degraded, partMasks)
	if !strings.Contains(s.Reason, "hung up") {
		t.Errorf("reason %q", s.Reason)
	}
	oneMask(t, l)
	refuse.Store(false)
	ob.status(mqtt.Online, "")
	eventually(t, "the mask is delivered", func() bool { return l.spool().Delivered == 1 })
	if n := l.counts("front"); n.Kept != 1 || n.Connects != 1 || n.Sent != 0 {
		t.Errorf("%+v", n)
	}
}

// TestSpoolThatCannotKeep: a folder that cannot be made is a reason to be
// degraded, and live masks flow.
func TestSpoolThatCannotKeep(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b := startBroker(t, "")
	ob := observe(t, b.URL())
	l, health := openTestLink(t, b.URL(), filepath.Join(file, "spool"))
	ob.status(mqtt.Degraded, partSpool)
	if _, reason := health.State(); !strings.Contains(reason, "spool") {
		t.Errorf("reason %q", reason)
	}
	if err := l.waitConnected(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	oneMask(t, l)
	eventually(t, "the broker has the mask", func() bool { return l.counts("front").Sent == 1 })
}

func TestSpoolOptions(t *testing.T) {
	for broker, want := range map[string]string{
		"mqtt://localhost": filepath.Join("state", "spool"), brokerEmbedded: "", brokerNone: "",
	} {
		s := settings.Default()
		s.Broker.URL = broker
		if o := spoolOptions(&s, "state"); o.Dir != want {
			t.Errorf("%s: %+v", broker, o)
		}
	}
	s := settings.Default()
	s.Spool.Dir, s.Spool.Size, s.Spool.Rate = "elsewhere", 5, 2
	if o := spoolOptions(&s, "state"); o.Dir != "elsewhere" || o.MaxBytes != 5<<20 || o.Rate != 2000 {
		t.Errorf("%+v", o)
	}
	s.Spool.Enabled = false
	if o := spoolOptions(&s, "state"); o.Dir != "" {
		t.Errorf("%+v", o)
	}
}
