package mqtt

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// mostSilence is how long a ping may go without answer, beyond what the link
// needs: then the connection is given up. That is sooner than elsewhere, for
// masks are kept meanwhile and nobody is told that we are gone.
const mostSilence = 3 * time.Second

// fewMasks is how many masks a broker may read before it hangs up on the first.
const fewMasks = 4

// errSilent says that a connection was given up because nothing came back.
var errSilent = errors.New("the broker is silent")

// How long the sender waits when nothing wakes it.
const (
	tickIdle = 250 * time.Millisecond
	tickBusy = 20 * time.Millisecond // while an answer or room is awaited
)

// maskSession is what is done on one connection for masks.
type maskSession struct {
	*masks
	wire    *wire
	pace    *pace
	barrier uint64          // of the outbox, at the ping under way
	past    map[uint16]Past // what was kept and is under way, by packet id
	pastAt  time.Time       // when one of them was acknowledged, or the first was sent
	ids     [2]uint16       // last packet id of a parcel, of what was kept
	next    Past            // what the outbox is asked for
	more    bool            // there may be kept masks
	events  bool            // there may be kept events
	later   time.Duration   // when one may go
	resend  int             // parcels of an earlier connection that are to be sent again
	waited  time.Time       // when a live mask last had to wait
	ending  bool            // only what is queued still goes
}

// connectAndServe is one round of the connection for masks; lived is 0 where
// none came.
func (m *masks) connectAndServe(ctx context.Context, n uint64) (lived time.Duration, err error) {
	w, err := openWire(ctx, &m.o, m.o.Window+pastWindow)
	if err != nil {
		return 0, err
	}
	defer w.close()
	start := time.Now()
	s := &maskSession{
		masks: m, wire: w, pace: newPace(w.trip, start), past: make(map[uint16]Past, pastWindow),
		more: true, events: true, resend: len(m.inflight),
	}
	m.state.set(ConnectionState{Connected: true, Connection: n})
	m.o.Logger.Info("connected to broker for masks", "url", m.o.URL, "connection", n)
	m.ring.open()
	err = s.serve(ctx)
	if hungUp(err) && s.pace.messages <= fewMasks { // mosquitto 2.0 does that to a client that may not write
		err = fmt.Errorf("%w (on our first masks: do the broker's access rules let %s write under %s?)",
			err, m.o.ClientID, m.o.Base())
	}
	return time.Since(start), err
}

// serve sends until the connection or ctx ends.
func (s *maskSession) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.wire.link.finish(time.Now().Add(s.o.StopTimeout)) })
	defer stop()
	timer := time.NewTimer(tickIdle)
	defer timer.Stop()
	for {
		if err := s.send(time.Now()); err != nil {
			err = s.wire.because(err)
			s.wire.close()
			s.takeAll()
			return err
		}
		if s.ending && s.empty() {
			s.farewell()
			return nil
		}
		timer.Reset(s.tick())
		select {
		case <-s.wake:
		case <-s.ready():
			s.more, s.events = true, true
		case a := <-s.wire.answers:
			s.take(a)
		case <-timer.C:
		case <-s.wire.lost:
			s.takeAll()
			return s.wire.err
		case <-s.move.wake:
			if s.move.asked() {
				s.wire.close()
				s.takeAll()
				return errMoved
			}
		case <-s.stopped(ctx):
			s.ending = true
			s.ring.seal()
		}
		if s.ending && s.wire.link.over() {
			s.o.Logger.Warn("last masks not sent", "error", "the broker was too slow")
			return nil
		}
	}
}

// stopped is ctx.Done until that has been seen.
func (s *maskSession) stopped(ctx context.Context) <-chan struct{} {
	if s.ending {
		return nil
	}
	return ctx.Done()
}

func (s *maskSession) ready() <-chan struct{} {
	if s.outbox == nil {
		return nil
	}
	return s.outbox.Ready()
}

func (s *maskSession) tick() time.Duration {
	if s.ending || s.later > 0 || s.pace.ping.out || !s.room() {
		return tickBusy
	}
	return tickIdle
}

// room reports whether a mask may be written now.
func (s *maskSession) room() bool { return s.pace.room() && !s.doubt.Load() }

// send writes all that may go: events, lossless masks, live masks, kept masks, a
// ping.
func (s *maskSession) send(now time.Time) error {
	s.look(now)
	if err := s.checkAge(now); err != nil {
		return err
	}
	if err := s.sendEvents(now); err != nil {
		return err
	}
	for s.room() {
		more, err := s.sendOne(now)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		now = time.Now()
		s.look(now)
	}
	full := !s.room()
	if s.full.Store(full); full && !s.ring.empty() {
		s.waited = now
	}
	if err := s.sendPast(now); err != nil {
		return err
	}
	if s.pace.due(s.o.KeepAlive, now) || s.pace.under() > 0 && !s.pace.ping.out && (s.ending || s.doubt.Load()) {
		return s.sendPing(now)
	}
	return nil
}

// look brings pace up to date, and doubts a broker that is silent.
func (s *maskSession) look(now time.Time) {
	acked := int64(0)
	if s.pace.kernel.out { // else it is not worth a question to the kernel
		acked = s.wire.link.acked()
	}
	s.pace.look(acked, now)
	if s.outbox != nil && s.pace.silence(now) > suspectAfter {
		s.doubt.Store(true)
	}
	if s.doubt.Load() && s.pace.under() == 0 {
		s.certain()
	}
}

// checkAge gives up a broker that is silent, or acknowledges nothing.
func (s *maskSession) checkAge(now time.Time) error {
	if s.pace.silence(now) > s.o.PingTimeout {
		return fmt.Errorf("%w: no answer to a ping for %v", errSilent, now.Sub(s.pace.ping.at).Round(time.Millisecond))
	}
	if s.resend == 0 && len(s.inflight) > 0 && now.Sub(s.inflight[0].sent) > s.o.AckTimeout ||
		len(s.past) > 0 && now.Sub(s.pastAt) > s.o.AckTimeout {
		return fmt.Errorf("the broker acknowledged nothing for %v", s.o.AckTimeout)
	}
	return nil
}

// sendOne writes the next lossless or live mask, and reports whether there was
// one.
func (s *maskSession) sendOne(now time.Time) (bool, error) {
	if s.resend > 0 {
		p := s.inflight[len(s.inflight)-s.resend]
		s.resend--
		return true, s.sendParcel(p, now)
	}
	if len(s.inflight) < cap(s.inflight) {
		if p := s.nextParcel(); p != nil {
			s.inflight = append(s.inflight, p)
			return true, s.sendParcel(p, now)
		}
	}
	if s.o.QoS == 1 || !s.nextLive() {
		return false, nil
	}
	c := s.hand.camera
	if err := s.write(now); err != nil {
		if s.outbox == nil {
			c.write.Add(1)
		}
		return false, err
	}
	c.bytes.Add(uint64(len(s.hand.buf)))
	if s.outbox == nil {
		c.sent.Add(1)
	}
	return true, nil
}

// nextLive takes the next live mask in hand, and has it remembered. It takes none
// where somebody has begun to doubt since we looked: what is remembered without
// being written must come last.
func (s *maskSession) nextLive() bool {
	if s.outbox == nil {
		return s.ring.pop(&s.hand)
	}
	s.outboxMu.Lock()
	defer s.outboxMu.Unlock()
	if s.doubt.Load() || !s.ring.pop(&s.hand) {
		return false
	}
	s.outbox.Remember(&s.hand.meta, s.hand.payload())
	return true
}

// nextParcel takes the next QoS 1 mask, nil where there is none.
func (s *maskSession) nextParcel() *parcel {
	select {
	case p := <-s.unsent:
		return p
	default:
	}
	if s.o.QoS == 0 {
		return nil
	}
	select {
	case p := <-s.window:
		if s.ring.pop(&s.hand) {
			p.topic, p.camera, p.meta, p.live = s.hand.topic, s.hand.camera, s.hand.meta, true
			p.payload = append(p.payload[:0], s.hand.payload()...)
			return p
		}
		s.window <- p
	default: // the broker has acknowledgements to send first
	}
	return nil
}

// sendParcel writes a QoS 1 mask. Ids of parcels are 1 to 32767, in turn.
func (s *maskSession) sendParcel(p *parcel, now time.Time) error {
	s.ids[0] = s.ids[0]%0x7fff + 1
	p.id, p.sent, p.done = s.ids[0], now, false
	s.hand.fill(p.topic, p.id, p.payload)
	return s.write(now)
}

// write puts the packet in hand on the wire.
func (s *maskSession) write(now time.Time) error {
	s.writing.Store(now.UnixNano())
	_, err := s.wire.link.Write(s.hand.buf)
	s.writing.Store(0)
	if err != nil {
		return fmt.Errorf("write to broker: %w", err)
	}
	s.pace.wrote(len(s.hand.buf), s.wire.link.given(), now)
	return nil
}

func (s *maskSession) sendPing(now time.Time) error {
	if s.outbox != nil {
		s.outboxMu.Lock()
		s.barrier = s.outbox.Barrier() - uint64(s.limbo) // the last ones were never written
		s.outboxMu.Unlock()
	}
	if _, err := s.wire.link.Write(pingRequest); err != nil {
		return fmt.Errorf("write to broker: %w", err)
	}
	s.pace.wrotePing(now)
	return nil
}

// take deals with what the broker has answered.
func (s *maskSession) take(a answer) {
	switch {
	case a.id == 0:
		s.pace.answered(a.at)
		if s.outbox != nil {
			s.outbox.Prove(s.barrier, s.onSent)
		}
	case a.id >= 0x8000:
		if p, ok := s.past[a.id]; ok {
			delete(s.past, a.id)
			s.pastAt = a.at
			s.outbox.Confirm(p)
			s.delivered.Add(1)
		}
	default:
		for _, p := range s.inflight {
			if p.id == a.id && !p.done {
				p.done = true
				break
			}
		}
		s.reclaim()
	}
}

// takeAll deals with what the broker had answered before the connection ended.
func (s *maskSession) takeAll() {
	for {
		select {
		case a := <-s.wire.answers:
			s.take(a)
		default:
			return
		}
	}
}

// reclaim takes acknowledged parcels off the front.
func (s *maskSession) reclaim() {
	n := 0
	for n < len(s.inflight)-s.resend && s.inflight[n].done {
		p := s.inflight[n]
		p.camera.sent.Add(1)
		p.camera.bytes.Add(uint64(len(p.payload)))
		s.window <- p // never blocks: it has room for every parcel
		n++
	}
	if n > 0 {
		s.inflight = s.inflight[:copy(s.inflight, s.inflight[n:])]
	}
}

// empty reports whether all that was handed over has arrived.
func (s *maskSession) empty() bool {
	return len(s.inflight) == 0 && len(s.unsent) == 0 && s.ring.empty() && s.pace.under() == 0 &&
		(s.outbox == nil || s.outbox.Events() == 0)
}

// farewell says good-bye.
func (s *maskSession) farewell() {
	_, _ = s.wire.link.Write(farewell) // all has arrived already
}
