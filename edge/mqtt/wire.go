package mqtt

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// First bytes of the packets that the connection for masks knows (MQTT 3.1.1, 2.2).
const (
	packetPublish0 = 0x30
	packetPublish1 = 0x32
	packetPubAck   = 0x40
	packetPingResp = 0xd0
)

var (
	pingRequest = []byte{0xc0, 0}
	farewell    = []byte{0xe0, 0}
)

// answer is what the broker said, and when.
type answer struct {
	id uint16 // of an acknowledged message; 0: to a ping
	at time.Time
}

// wire is one connection that only publishes: CONNECT, PUBLISH and PINGREQ go
// out, CONNACK, PUBACK and PINGRESP come in. It is ours and not paho's because a
// ping must be ours to tell what has arrived, and allocates nothing.
type wire struct {
	link    *link
	answers chan answer   // never full: no more is asked than it holds
	lost    chan struct{} // closed when reading has ended
	err     error         // why; valid when lost is closed
	trip    time.Duration // of the handshake
	reading sync.WaitGroup
}

// openWire connects. The caller must end the connection with close.
func openWire(ctx context.Context, o *Options, asked int) (*wire, error) {
	u, err := parseURL(o.URL)
	if err != nil {
		return nil, connectError(o, fmt.Errorf("url: %w", err))
	}
	l, err := o.dial(ctx, u)
	if err != nil {
		return nil, connectError(o, errors.Join(ctx.Err(), err))
	}
	w := &wire{link: l, answers: make(chan answer, asked+1), lost: make(chan struct{})}
	if err := w.handshake(ctx, o); err != nil {
		l.abandon()
		return nil, connectError(o, errors.Join(ctx.Err(), err))
	}
	w.reading.Go(func() {
		w.err = fmt.Errorf("connection to broker %s lost: %w", o.URL, w.read())
		close(w.lost)
	})
	return w, nil
}

func (w *wire) handshake(ctx context.Context, o *Options) error {
	user, password, err := o.credentials() // read again at each connect: files may be renewed
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, w.link.abandon)
	defer stop()
	if err := w.link.SetReadDeadline(time.Now().Add(o.ConnectTimeout)); err != nil {
		return err
	}
	cp, ok := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	if !ok {
		return errors.New("paho makes no CONNECT packet") // cannot be
	}
	cp.ProtocolName, cp.ProtocolVersion, cp.CleanSession = "MQTT", 4, true
	cp.ClientIdentifier, cp.Keepalive = o.ClientID, uint16(o.KeepAlive/time.Second)
	cp.UsernameFlag, cp.Username = user != "", user
	cp.PasswordFlag, cp.Password = password != "", []byte(password)
	var b bytes.Buffer // paho writes a packet in pieces
	if err := cp.Write(&b); err != nil {
		return err
	}
	start := time.Now()
	if _, err := w.link.Write(b.Bytes()); err != nil {
		return err
	}
	reply, err := packets.ReadPacket(w.link)
	if err != nil {
		return err
	}
	ack, ok := reply.(*packets.ConnackPacket)
	switch {
	case !ok:
		return fmt.Errorf("the broker greets with %v", reply)
	case ack.ReturnCode != packets.Accepted:
		if err := packets.ConnErrors[ack.ReturnCode]; err != nil {
			return err
		}
		return fmt.Errorf("the broker refuses with code %d", ack.ReturnCode)
	}
	w.trip = time.Since(start)
	return w.link.SetReadDeadline(time.Time{})
}

// read hands on answers until the connection ends.
func (w *wire) read() error {
	for {
		id, ok, err := readAnswer(w.link.reader)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		select {
		case w.answers <- answer{id: id, at: time.Now()}:
		default:
			return errors.New("the broker answers what nobody asked")
		}
	}
}

// readAnswer reads one packet. id is that of an acknowledged message, 0 for the
// answer to a ping; packets that mean nothing here are passed over, with ok false.
func readAnswer(r *bufio.Reader) (id uint16, ok bool, err error) {
	kind, err := r.ReadByte()
	if err != nil {
		return 0, false, err
	}
	n, err := readLength(r)
	switch {
	case err != nil:
		return 0, false, err
	case kind == packetPingResp && n == 0:
		return 0, true, nil
	case kind == packetPubAck && n == 2:
		b, err := r.Peek(2)
		if err != nil {
			return 0, false, unexpected(err)
		}
		id = uint16(b[0])<<8 | uint16(b[1])
		_, err = r.Discard(2)
		return id, id != 0, err
	case kind == 0 || kind == 0xf0:
		return 0, false, fmt.Errorf("no MQTT packet begins with %#x", kind)
	}
	_, err = r.Discard(n)
	return 0, false, unexpected(err)
}

// readLength reads a length of at most four bytes, seven bits in each.
func readLength(r *bufio.Reader) (n int, err error) {
	for shift := 0; shift < 28; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, unexpected(err)
		}
		n |= int(b&0x7f) << shift
		if b&0x80 == 0 {
			return n, nil
		}
	}
	return 0, errors.New("a packet has a length of more than four bytes")
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// because returns why a write failed: what the connection was lost by, if known.
func (w *wire) because(err error) error {
	if why := w.link.why.Load(); why != nil {
		return fmt.Errorf("write to broker: %w", *why)
	}
	select {
	case <-w.lost:
		return w.err
	default:
		return err
	}
}

// close ends the connection and waits for its reader.
func (w *wire) close() {
	w.link.abandon()
	w.reading.Wait()
}
