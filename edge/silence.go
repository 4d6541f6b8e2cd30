package edge

import (
	"fmt"
	"sync"
	"time"
)

// Telling is a source that knows more of its pictures than that there are none.
type Telling interface {
	// Trouble says why no picture comes; nil where nothing is known.
	Trouble() error
	// Period is the time from one picture to the next; 0 where it is not known.
	Period() time.Duration
}

const (
	silentAfter   = 4 * time.Second // without a picture: the service says so
	silentPeriods = 3               // or after so many pictures did not come, where they are rare
)

// silence tells of a source from which nothing comes, while it is waited for.
type silence struct {
	health *Health
	part   string

	mu    sync.Mutex
	timer *time.Timer
	limit time.Duration
	tells Telling   // nil: it tells nothing
	since time.Time // when the wait began; zero: nobody waits
}

// of is called when a source was opened.
func (s *silence) of(src Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = silentAfter
	var ok bool
	if s.tells, ok = src.(Telling); ok {
		s.limit = max(s.limit, silentPeriods*s.tells.Period())
	}
}

// begin is called before a picture is waited for, end behind it.
func (s *silence) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = time.Now()
	if s.timer == nil {
		s.timer = time.AfterFunc(s.limit, s.over)
		return
	}
	s.timer.Reset(s.limit)
}

func (s *silence) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = time.Time{}
	s.timer.Stop()
}

// over says that no picture came, and looks again later: the cause may be another one
// then. It may come too late, when the next wait has begun.
func (s *silence) over() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() || time.Since(s.since) < s.limit {
		return
	}
	reason := fmt.Sprintf("no picture for %v", s.limit)
	if s.tells != nil {
		if err := s.tells.Trouble(); err != nil {
			reason += ": " + err.Error()
		}
	}
	s.health.Set(s.part, reason)
	s.timer.Reset(s.limit)
}
