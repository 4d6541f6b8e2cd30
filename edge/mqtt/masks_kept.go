package mqtt

import "time"

// Bounds of what was kept on its way to the broker.
const (
	pastWindow = 64              // how many
	pastRest   = 2 * time.Second // no mask is sent for so long after a live one had to wait
)

// sendEvents writes events, before all else: they are few and small.
func (s *maskSession) sendEvents(now time.Time) error {
	for s.outbox != nil && s.events && s.room() && len(s.past) < pastWindow {
		ok, _, err := s.sendKept(now, false)
		if err != nil {
			return err
		}
		s.events = ok
	}
	return nil
}

// sendPast writes kept masks where live ones leave room.
func (s *maskSession) sendPast(now time.Time) error {
	s.later = 0
	if s.outbox == nil || s.ending {
		return nil
	}
	for s.more && s.pace.spare() && s.room() && len(s.past) < pastWindow && s.ring.empty() &&
		now.Sub(s.waited) > pastRest {
		ok, wait, err := s.sendKept(now, true)
		if err != nil {
			return err
		}
		if !ok {
			s.later, s.more = wait, wait > 0
		}
		if wait > 0 {
			return nil
		}
	}
	return nil
}

// sendKept writes what the outbox has next. Its ids are 32768 and above.
func (s *maskSession) sendKept(now time.Time, masks bool) (ok bool, wait time.Duration, err error) {
	if ok, wait = s.outbox.Next(&s.next, now, masks); !ok {
		return false, wait, nil
	}
	p := s.next
	var topic string
	if p.Event {
		topic = s.o.eventTopic(&p)
	} else if c := s.camera(p.Camera); c.topic != "" {
		topic = c.history
	} else { // no topic has its name
		s.outbox.Confirm(p)
		c.invalid.Add(1)
		return true, 0, nil
	}
	if len(s.past) == 0 {
		s.pastAt = now
	}
	s.ids[1] = (s.ids[1]+1)&0x7fff | 0x8000
	s.past[s.ids[1]] = p
	s.hand.fill(topic, s.ids[1], p.Payload)
	return true, 0, s.write(now)
}
