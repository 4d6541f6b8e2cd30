package mqtt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// session is what Run does on one connection for everything but masks.
type session struct {
	*Client
	conn     *conn
	n        uint64
	sentDocs [documents]uint64
}

// connectAndServe is one round of Run; lived is 0 where no connection came.
func (c *Client) connectAndServe(ctx context.Context, n uint64) (lived time.Duration, err error) {
	s := &session{Client: c, n: n}
	s.conn, err = connect(ctx, &c.o, s.tune)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	err = s.serve(ctx)
	return time.Since(start), err
}

// tune sets the will and the routes of incoming messages, which must stand
// before the connection does.
func (s *session) tune(po *paho.ClientOptions) {
	will := Status{State: Offline, Run: s.o.Run, Connection: s.n, Reason: "connection lost"}
	po.SetBinaryWill(s.o.Status(), will.json(), 1, true)
	po.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { s.receive(m) })
}

// receive runs on paho's goroutine: it must not block, nor publish.
func (s *session) receive(m paho.Message) {
	topic := m.Topic()
	switch {
	case topic == s.o.Desired():
		s.incoming.desired(m.Payload())
	case topic == s.o.Status():
		s.checkStatus(m.Payload())
	case strings.HasPrefix(topic, s.o.Command("")) && !m.Retained():
		// A retained command would run again at each connect.
		s.incoming.command(strings.TrimPrefix(topic, s.o.Command("")), m.Payload())
	}
}

// checkStatus says our status again where the late will of an older connection
// of this run has taken its place.
func (s *session) checkStatus(payload []byte) {
	st, err := ParseStatus(payload)
	if err != nil || st.State != Offline || st.Run != s.o.Run || st.Connection >= s.n {
		return
	}
	s.mu.Lock()
	s.docVersion[docStatus]++
	s.mu.Unlock()
	s.notify()
}

// serve sends until the connection or ctx ends.
func (s *session) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.conn.link.finish(time.Now().Add(s.o.StopTimeout)) })
	defer stop()
	if err := s.begin(ctx); err != nil {
		return s.refused(s.conn.because(err))
	}
	s.setOnline(s.n)
	tick := time.NewTicker(min(time.Second, s.o.AckTimeout/4))
	defer tick.Stop()
	for {
		if err := s.flush(); err != nil {
			return s.conn.because(err)
		}
		select {
		case <-s.wake:
		case <-s.oldestDone():
		case <-tick.C:
			if err := s.checkAge(); err != nil {
				return s.conn.because(err)
			}
		case <-s.conn.lost:
			return s.conn.err
		case <-s.move.wake:
			if s.move.asked() {
				s.finish(errMoved.Error())
				return errMoved
			}
		case <-ctx.Done():
			s.finish("")
			return nil
		}
	}
}

// begin says who we are, subscribes, and sends again what was not acknowledged.
func (s *session) begin(ctx context.Context) error {
	if err := s.flushDocs(); err != nil {
		return err
	}
	filters := map[string]byte{s.o.Status(): 1}
	if s.o.OnDesired != nil {
		filters[s.o.Desired()] = 1
	}
	if s.o.OnCommand != nil {
		filters[s.o.Command("+")] = 1
	}
	if err := s.conn.subscribe(ctx, filters, s.o.ConnectTimeout); err != nil {
		return err
	}
	for _, p := range s.inflight {
		if err := s.send(p); err != nil {
			return err
		}
	}
	return nil
}

// refused adds what to do where the broker ended the connection on our first
// messages: mosquitto 2.0 does that to a client that may not write its status.
func (s *session) refused(err error) error {
	if !hungUp(err) {
		return err
	}
	return fmt.Errorf("%w (on our first messages: do the broker's access rules let %s write under %s?)",
		err, s.o.ClientID, s.o.Base())
}

// flush sends all that is waiting, short of what must wait for the broker.
// Answers go first: somebody waits for them.
func (s *session) flush() error {
	if err := s.reclaim(); err != nil {
		return err
	}
	for len(s.inflight) < cap(s.inflight) && len(s.answers) > 0 {
		p := <-s.answers // nobody else takes them
		s.inflight = append(s.inflight, p)
		if err := s.send(p); err != nil {
			return err
		}
	}
	if err := s.flushDocs(); err != nil {
		return err
	}
	for !s.crowded() && s.notes.pop(&s.hand) {
		if err := s.write(); err != nil {
			s.droppedNotes.Add(1)
			return err
		}
	}
	return nil
}

// mostCrowd is how much may be under way when figures are added to it.
const mostCrowd = 8 << 10

// crowded reports whether a thin link still has enough to carry: figures wait,
// and the oldest go, so that answers do not stand behind them.
func (s *session) crowded() bool {
	return !s.notes.empty() && s.conn.link.given()-s.conn.link.acked() > mostCrowd
}

func (s *session) write() error {
	if _, err := s.conn.link.Write(s.hand.buf); err != nil {
		return fmt.Errorf("write to broker: %w", err)
	}
	return nil
}

func (s *session) send(p *parcel) error {
	p.sent = time.Now()
	token, err := s.publish(p.topic, false, p.payload)
	p.token = token
	return err
}

// publish hands a QoS 1 message to paho.
func (s *session) publish(topic string, retained bool, payload []byte) (paho.Token, error) {
	token := s.conn.paho.Publish(topic, 1, retained, payload)
	select {
	case <-token.Done():
		if err := token.Error(); err != nil {
			return token, fmt.Errorf("publish on %s: %w", topic, err)
		}
	default:
	}
	return token, nil
}

// flushDocs publishes the retained documents that changed; on a new connection
// these are all.
func (s *session) flushDocs() error {
	for d := range documents {
		s.mu.Lock()
		version, payload, st := s.docVersion[d], s.docs[d], s.status
		s.mu.Unlock()
		if version == s.sentDocs[d] {
			continue
		}
		if d == docStatus {
			st.Connection = s.n
			payload = st.json()
		}
		if _, err := s.publish(s.docTopic(d), true, payload); err != nil {
			return err
		}
		s.sentDocs[d] = version
	}
	return nil
}

func (c *Client) docTopic(d document) string {
	switch d {
	case docMeta:
		return c.o.Meta()
	case docSchema:
		return c.o.Schema()
	case docReported:
		return c.o.Reported()
	}
	return c.o.Status()
}

// oldestDone is closed when the broker has acknowledged the oldest message.
func (s *session) oldestDone() <-chan struct{} {
	if len(s.inflight) == 0 {
		return nil
	}
	return s.inflight[0].token.Done()
}

// reclaim takes acknowledged messages off the front.
func (s *session) reclaim() error {
	n := 0
	for _, p := range s.inflight {
		select {
		case <-p.token.Done():
		default:
			s.dropFront(n)
			return nil
		}
		// paho completes the tokens of a lost connection with an error.
		if err := p.token.Error(); err != nil {
			s.dropFront(n)
			return fmt.Errorf("publish on %s: %w", p.topic, err)
		}
		n++
	}
	s.dropFront(n)
	return nil
}

func (s *session) dropFront(n int) {
	if n > 0 {
		s.inflight = s.inflight[:copy(s.inflight, s.inflight[n:])]
	}
}

// checkAge gives up a broker that answers pings but acknowledges nothing.
func (s *session) checkAge() error {
	if len(s.inflight) > 0 && time.Since(s.inflight[0].sent) > s.o.AckTimeout {
		return fmt.Errorf("the broker acknowledged nothing for %v", s.o.AckTimeout)
	}
	return nil
}

// finish sends what is queued, then the status "stopped" with a reason, and
// disconnects; all within StopTimeout.
func (s *session) finish(reason string) {
	ctx, cancel := context.WithTimeout(context.Background(), s.o.StopTimeout)
	defer cancel()
	s.notes.seal()
	if err := s.drain(ctx); err != nil {
		s.o.Logger.Warn("last messages not sent", "error", err)
		s.conn.abandon() // the will says offline
		return
	}
	s.mu.Lock()
	st := Status{State: Stopped, Run: s.o.Run, Connection: s.n, Reason: cmp.Or(reason, s.status.Reason)}
	s.mu.Unlock()
	token, err := s.publish(s.o.Status(), true, st.json())
	if err == nil {
		select {
		case <-token.Done():
			err = token.Error()
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		s.o.Logger.Warn("status stopped not sent", "error", err)
		s.conn.abandon()
		return
	}
	s.conn.disconnect()
}

// drain sends until nothing is queued and everything is acknowledged.
func (s *session) drain(ctx context.Context) error {
	for {
		if err := s.flush(); err != nil {
			return err
		}
		if len(s.inflight) == 0 && len(s.answers) == 0 {
			return nil
		}
		select {
		case <-s.wake:
		case <-s.oldestDone():
		case <-s.conn.lost:
			return s.conn.err
		case <-ctx.Done():
			return errors.New("the broker was too slow")
		}
	}
}
