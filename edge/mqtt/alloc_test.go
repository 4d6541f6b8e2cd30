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

	"nightseg/edge/frame"
)

// sink is the least broker: it accepts, grants every subscription, acknowledges
// QoS 1, answers pings and throws masks away, without allocating for them. It says
// when size bytes of messages have come on one connection.
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
				takeMasks(c, size, arrived)
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	return "mqtt://" + l.Addr().String(), arrived
}

// takeMasks is one connection of a sink.
func takeMasks(c net.Conn, size int64, arrived chan<- struct{}) {
	r := bufio.NewReaderSize(c, 64<<10)
	reply := make([]byte, 5)
	for got := int64(0); ; {
		kind, err := r.ReadByte()
		left, lengthErr := binary.ReadUvarint(r) // MQTT's lengths are written alike
		if err != nil || lengthErr != nil {
			return
		}
		head, _ := r.Peek(min(int(left), 128))
		answer := reply[:0]
		switch kind >> 4 {
		case 1:
			answer = append(answer, 0x20, 2, 0, 0)
		case 8:
			answer = append(answer, 0x90, 3, head[0], head[1], 1)
		case 12:
			answer = append(answer, packetPingResp, 0)
		case 3:
			topic := 2 + (int(head[0])<<8 | int(head[1]))
			if kind>>1&3 == 1 {
				answer = append(answer, packetPubAck, 2, head[topic], head[topic+1])
			}
			if left >= 1000 { // a mask
				got += int64(left)
			}
		}
		if _, err := r.Discard(int(left)); err != nil {
			return
		}
		if len(answer) > 0 {
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
		if got >= size {
			got = 0
			arrived <- struct{}{}
		}
	}
}

// TestPublishMaskAllocatesNothing leaves the connection out: a mask goes into the
// window, to the sender, and back.
func TestPublishMaskAllocatesNothing(t *testing.T) {
	c, err := New(testOptions("mqtt://127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	s := &maskSession{masks: c.masks}
	mask := make([]byte, 5000)
	one := func() {
		if err := c.PublishMask(t.Context(), "front", mask); err != nil {
			t.Fatal(err)
		}
		p := s.nextParcel()
		if len(p.payload) != len(mask) {
			t.Fatal("not the mask")
		}
		p.id, p.done = 1, false
		s.inflight = append(s.inflight, p)
		s.take(answer{id: 1})
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
	mask, meta := make([]byte, 5000), &frame.Meta{Camera: "front"}
	one := func() {
		if !c.Offer(meta, mask) {
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
	mask, meta := make([]byte, 5000), &frame.Meta{Camera: "front"}
	b.ReportAllocs()
	for b.Loop() {
		c.Offer(meta, mask)
		<-arrived
	}
	cancel()
	<-ended
}

// BenchmarkPublishMask sends with QoS 1.
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
	mask, meta := make([]byte, 5000), &frame.Meta{Camera: "front"}
	b.ReportAllocs()
	for b.Loop() {
		c.Offer(meta, mask)
		<-arrived
	}
	cancel()
	if err := errors.Join(<-ended, <-watching, broker.Close()); err != nil {
		b.Fatal(err)
	}
}
