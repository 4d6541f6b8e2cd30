package mqtt

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"nightseg/edge/frame"
	"nightseg/edge/mqtt/mqtttest"
)

// memory is an outbox in memory.
type memory struct {
	mu         sync.Mutex
	remembered []string // "camera payload"
	added      uint64
	kept       []string
	past       []Past
	given      int
	confirmed  []uint64
}

var _ Outbox = (*memory)(nil)

func (b *memory) do(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func line(m *frame.Meta, payload []byte) string { return m.Camera + " " + string(payload) }

func (b *memory) Remember(m *frame.Meta, payload []byte) {
	b.do(func() { b.remembered = append(b.remembered, line(m, payload)); b.added++ })
}

func (b *memory) Barrier() (n uint64) { b.do(func() { n = b.added }); return n }

func (b *memory) Prove(barrier uint64, each func(string)) {
	b.do(func() {
		for b.added-uint64(len(b.remembered)) < barrier && len(b.remembered) > 0 {
			each(b.remembered[0][:strings.IndexByte(b.remembered[0], ' ')])
			b.remembered = b.remembered[1:]
		}
	})
}

func (b *memory) Keep(m *frame.Meta, payload []byte) {
	b.do(func() { b.kept = append(b.kept, line(m, payload)) })
}

func (b *memory) Spill(each func(string)) {
	b.do(func() {
		for _, s := range b.remembered {
			each(s[:strings.IndexByte(s, ' ')])
		}
		b.kept, b.remembered = append(b.kept, b.remembered...), nil
	})
}

func (b *memory) Ready() <-chan struct{} { return nil }

func (b *memory) KeepEvent(m *frame.Meta, payload []byte) bool {
	b.do(func() {
		b.past = append(b.past, Past{Event: true, Run: m.Run, Payload: payload, Ref: uint64(len(b.past))})
	})
	return true
}

func (b *memory) Events() (n uint64) {
	b.do(func() {
		for _, p := range b.past[min(len(b.past), len(b.confirmed)):] {
			if p.Event {
				n++
			}
		}
	})
	return n
}

func (b *memory) Next(p *Past, _ time.Time, masks bool) (ok bool, wait time.Duration) {
	b.do(func() {
		if ok = b.given < len(b.past) && (masks || b.past[b.given].Event); ok {
			*p = b.past[b.given]
			b.given++
		}
	})
	return ok, 0
}

func (b *memory) Confirm(p Past) { b.do(func() { b.confirmed = append(b.confirmed, p.Ref) }) }
func (b *memory) Rewind()        { b.do(func() { b.given = len(b.confirmed) }) }

// TestMasksConnectionAlone: the one for masks goes and the other stays, and the
// reverse.
func TestMasksConnectionAlone(t *testing.T) {
	m := mqtttest.StartMosquitto(t)
	o := testOptions(m.URL())
	control, masks := make(chan ConnectionState, 256), make(chan ConnectionState, 256)
	o.OnState = func(s ConnectionState) { control <- s }
	o.OnMasks = func(s ConnectionState) { masks <- s }
	c, _ := runClient(t, o)
	waitConnected(t, c)
	<-control
	<-masks
	for _, tt := range []struct {
		id          string
		gone, stays chan ConnectionState
	}{{"car1" + MasksSuffix, masks, control}, {"car1", control, masks}} {
		thief := loggedIn(t, Options{URL: m.URL(), ClientID: tt.id}) // takes the id
		s := receive(t, tt.gone, "loss")
		if s.Connected || !strings.Contains(s.Err.Error(), `"`+tt.id+`"`) {
			t.Errorf("%+v does not name %s", s, tt.id)
		}
		for !receive(t, tt.gone, "its return").Connected {
		}
		select {
		case s := <-tt.stays:
			t.Errorf("%s was taken, and the other connection said %+v", tt.id, s)
		default:
		}
		thief.abandon()
	}
}

// TestMaskIsSentWhenItIsProven holds the answers back.
func TestMaskIsSentWhenItIsProven(t *testing.T) {
	m := mqtttest.StartMosquitto(t)
	p := mqtttest.StartProxy(t, m.URL())
	o := testOptions(p.URL())
	box := &memory{}
	o.Outbox = box
	c, stop := runClient(t, o)
	waitConnected(t, c)
	offer(c, "front", []byte("1"))
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for c.Counters().Sent == 0 { // a second later
		<-tick.C
	}
	p.Swallow()
	for i := 2; i < 6; i++ {
		offer(c, "front", []byte(strconv.Itoa(i)))
	}
	for c.CameraCounters("front").Kept < 4 {
		<-tick.C
	}
	offer(c, "rear", []byte("6"))
	offer(c, "front", []byte("7"))
	p.Return()
	waitConnected(t, c)
	stop()
	if got := strings.Join(box.kept, ","); got != "front 2,front 3,front 4,front 5,rear 6,front 7" {
		t.Errorf("kept %s", got)
	}
	if n := c.Counters(); n.Sent != 1 || n.Kept != 6 || n.total() != 7 {
		t.Errorf("%+v", n)
	}
}

// TestPast delivers kept masks, again where they were not acknowledged.
func TestPast(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *server) {
		p := mqtttest.StartProxy(t, b.url)
		w := watchAll(b.url)
		w.Filters = []string{testTopics.History("+")}
		ob := observe(t, w)
		box := &memory{}
		for i := range 300 {
			box.past = append(box.past, Past{Camera: "front", Payload: []byte(strconv.Itoa(i)), Ref: uint64(i)})
		}
		o := testOptions(p.URL())
		o.Outbox = box
		c, _ := runClient(t, o)
		p.CutAfter(3000)
		seen := map[string]bool{}
		for next := 0; next < 300; {
			s := string(ob.next(t, testTopics.History("front")).Payload)
			switch {
			case seen[s]:
			case s != strconv.Itoa(next):
				t.Fatalf("%s came before %d", s, next)
			default:
				seen[s] = true
				next++
			}
		}
		if n := c.Counters(); n.MasksConnects < 2 {
			t.Errorf("the connection was not cut: %+v", n)
		}
	})
}

func TestReadAnswer(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []byte
		id   uint16
		ok   bool
		err  error
	}{
		{"ping", []byte{0xd0, 0}, 0, true, nil},
		{"acknowledgement", []byte{0x40, 2, 0x12, 0x34}, 0x1234, true, nil},
		{"of nothing", []byte{0x40, 2, 0, 0}, 0, false, nil},
		{"something else", []byte{0x30, 3, 0, 1, 'a'}, 0, false, nil},
		{"end", nil, 0, false, io.EOF},
		{"cut", []byte{0x40, 2, 1}, 0, false, io.ErrUnexpectedEOF},
		{"cut in the length", []byte{0x30, 0x80}, 0, false, io.ErrUnexpectedEOF},
	} {
		id, ok, err := readAnswer(bufio.NewReader(bytes.NewReader(tt.in)))
		if id != tt.id || ok != tt.ok || !errors.Is(err, tt.err) {
			t.Errorf("%s: %d %v %v", tt.name, id, ok, err)
		}
	}
	for _, bad := range [][]byte{{0x30, 0x80, 0x80, 0x80, 0x80, 1}, {0, 0}, {0xf0, 0}} {
		if _, _, err := readAnswer(bufio.NewReader(bytes.NewReader(bad))); err == nil {
			t.Errorf("%x was taken", bad)
		}
	}
}

func FuzzReadAnswer(f *testing.F) {
	for _, s := range []string{
		"\xd0\x00", "\x40\x02\x12\x34", "\x30\x03\x00\x01a\xd0\x00", "\x20\x02\x00\x00", "\x40\x01a",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bufio.NewReader(bytes.NewReader(in))
		for n := 0; ; n++ {
			id, ok, err := readAnswer(r)
			if err != nil {
				return
			}
			if !ok && id != 0 || n > len(in) {
				t.Fatalf("%d %v after %d packets of %d bytes", id, ok, n, len(in))
			}
		}
	})
}
