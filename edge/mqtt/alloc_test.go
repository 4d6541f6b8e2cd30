package mqtt

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// sink is the least broker: it accepts, grants every subscription, acknowledges
// QoS 1 and throws masks away, without allocating for them. It says when size
// bytes have come.
func sink(t testing.TB, size int64) (url string, masks <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan struct{}, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				answers := 0
				for {
					cp, err := packets.ReadPacket(c)
					if err != nil {
						return
					}
					switch p := cp.(type) {
					case *packets.ConnectPacket:
						_, _ = c.Write([]byte{0x20, 2, 0, 0})
						answers++
					case *packets.SubscribePacket:
						_, _ = c.Write([]byte{0x90, 3, byte(p.MessageID >> 8), byte(p.MessageID), 1})
						answers++
					case *packets.PublishPacket:
						if p.Qos == 1 {
							_, _ = c.Write([]byte{0x40, 2, byte(p.MessageID >> 8), byte(p.MessageID)})
							answers++
						}
					}
					if answers == 3 { // connected, status acknowledged, subscribed
						break
					}
				}
				takeMasks(c, size, arrived)
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	return "mqtt://" + l.Addr().String(), arrived
}

// takeMasks reads PUBLISH packets and acknowledges those of QoS 1, without
// allocating, and tells arrived of every size bytes.
func takeMasks(c net.Conn, size int64, arrived chan<- struct{}) {
	r := bufio.NewReaderSize(c, 64<<10)
	ack := []byte{0x40, 2, 0, 0}
	for got := int64(0); ; {
		kind, err := r.ReadByte()
		left, lengthErr := binary.ReadUvarint(r) // MQTT's lengths are written alike
		if err != nil || lengthErr != nil {
			return
		}
		got += 2 + int64(left)
		if kind>>1&3 == 1 {
			head, err := r.Peek(2)
			if err != nil {
				return
			}
			topic := int(head[0])<<8 | int(head[1])
			if head, err = r.Peek(2 + topic + 2); err != nil {
				return
			}
			copy(ack[2:], head[2+topic:])
			if _, err = c.Write(ack); err != nil {
				return
			}
		}
		if _, err := r.Discard(int(left)); err != nil {
			return
		}
		if got >= size {
			got = 0
			arrived <- struct{}{}
		}
	}
}

// TestPublishMaskAllocatesNothing leaves paho out: a mask goes into the window,
// to the sender, and back. What paho allocates for it, BenchmarkPublishMask says.
func TestPublishMaskAllocatesNothing(t *testing.T) {
	c, err := New(testOptions("mqtt://127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	s, token := &session{Client: c}, &paho.DummyToken{}
	mask := make([]byte, 5000)
	one := func() {
		if err := c.PublishMask(t.Context(), "front", mask); err != nil {
			t.Fatal(err)
		}
		p := s.nextParcel()
		s.inflight = append(s.inflight, p)
		p.token = token
		if len(p.payload) != len(mask) {
			t.Fatal("not the mask")
		}
		s.dropFront(1)
		s.window <- p
	}
	one()
	if n := testing.AllocsPerRun(500, one); n >= 1 {
		t.Errorf("%v allocations per mask", n)
	}
}

// TestLiveMaskAllocatesNothing counts over the whole process, from Offer to the
// last byte on the socket.
func TestLiveMaskAllocatesNothing(t *testing.T) {
	url, arrived := sink(t, 5000)
	c, _ := runClient(t, testOptions(url))
	waitConnected(t, c)
	mask := make([]byte, 5000)
	one := func() {
		if !c.Offer("front", mask) {
			t.Fatal("not queued")
		}
		<-arrived
	}
	for range 20 {
		one()
	}
	// Below 1, not 0: tickers and the collector of the process go on meanwhile.
	if n := testing.AllocsPerRun(500, one); n >= 1 {
		t.Errorf("%v allocations per mask", n)
	}
}

// BenchmarkOffer and BenchmarkPahoPublish send the same mask to the same sink,
// the first as this package does and the second through paho's own Publish.
func BenchmarkOffer(b *testing.B) {
	url, arrived := sink(b, 5000)
	o := testOptions(url)
	c, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	if err := c.WaitConnected(ctx); err != nil {
		b.Fatal(err)
	}
	mask := make([]byte, 5000)
	b.ReportAllocs()
	for b.Loop() {
		c.Offer("front", mask)
		<-arrived
	}
	cancel()
	<-ended
}

// BenchmarkPublishMask sends with QoS 1: nearly all is paho's.
func BenchmarkPublishMask(b *testing.B) {
	url, arrived := sink(b, 5000)
	c, err := New(testOptions(url))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	if err := c.WaitConnected(ctx); err != nil {
		b.Fatal(err)
	}
	mask := make([]byte, 5000)
	b.ReportAllocs()
	for b.Loop() {
		if err := c.PublishMask(ctx, "front", mask); err != nil {
			b.Fatal(err)
		}
		<-arrived
	}
	if err := c.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	cancel()
	<-ended
}

func BenchmarkPahoPublish(b *testing.B) {
	url, arrived := sink(b, 5000)
	po := paho.NewClientOptions().AddBroker(url).SetProtocolVersion(4).SetWriteTimeout(2 * time.Second)
	client := paho.NewClient(po)
	if t := client.Connect(); t.Wait() && t.Error() != nil {
		b.Fatal(t.Error())
	}
	if t := client.Publish("status", 1, true, "x"); t.Wait() && t.Error() != nil {
		b.Fatal(t.Error())
	}
	if t := client.Subscribe("x", 1, nil); t.Wait() && t.Error() != nil {
		b.Fatal(t.Error())
	}
	mask := make([]byte, 5000)
	b.ReportAllocs()
	for b.Loop() {
		if t := client.Publish("nightseg/v1/test/car1/cam/front/mask", 0, false, mask); t.Wait() && t.Error() != nil {
			b.Fatal(t.Error())
		}
		<-arrived
	}
	client.Disconnect(100)
}

// BenchmarkThroughTheEmbeddedBroker adds the broker and a subscriber, all in
// this process.
func BenchmarkThroughTheEmbeddedBroker(b *testing.B) {
	broker, err := StartBroker(BrokerOptions{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	arrived, ready := make(chan struct{}, 1), make(chan struct{}, 1)
	w := WatchOptions{Options: Options{URL: broker.URL()}, Filters: []string{testTopics.Mask("front")}}
	w.OnState = func(ConnectionState) { ready <- struct{}{} }
	watching := make(chan error, 1)
	go func() { watching <- Watch(ctx, w, func(Message) { arrived <- struct{}{} }) }()
	<-ready
	c, err := New(testOptions(broker.URL()))
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	if err := c.WaitConnected(ctx); err != nil {
		b.Fatal(err)
	}
	mask := make([]byte, 5000)
	b.ReportAllocs()
	for b.Loop() {
		c.Offer("front", mask)
		<-arrived
	}
	cancel()
	if err := errors.Join(<-ended, <-watching, broker.Close()); err != nil {
		b.Fatal(err)
	}
}
