package control

import (
	"context"
	"sync"
	"time"
)

// Documents are looked at as fast as they come until the burst is used up, then
// one in each period: a sender that has gone mad costs little.
const (
	burst  = 4
	period = 500 * time.Millisecond
)

// inbox holds the newest document.
type inbox struct {
	wake   chan struct{}
	mu     sync.Mutex
	newest []byte
}

func newInbox() inbox { return inbox{wake: make(chan struct{}, 1)} }

func (in *inbox) put(b []byte) {
	in.mu.Lock()
	in.newest = b
	in.mu.Unlock()
	select {
	case in.wake <- struct{}{}:
	default: // it will find the newest
	}
}

func (in *inbox) take() []byte {
	in.mu.Lock()
	defer in.mu.Unlock()
	b := in.newest
	in.newest = nil
	return b
}

// feed hands documents on until ctx ends.
func (in *inbox) feed(ctx context.Context, docs chan<- []byte) {
	tokens, last := float64(burst), time.Now()
	for {
		select {
		case <-in.wake:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		tokens, last = min(burst, tokens+float64(now.Sub(last))/float64(period)), now
		if tokens < 1 {
			timer := time.NewTimer(time.Duration((1 - tokens) * float64(period)))
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
			tokens, last = 1, time.Now()
		}
		b := in.take()
		if b == nil {
			continue // it came, and was taken, while we waited
		}
		tokens--
		select {
		case docs <- b:
		case <-ctx.Done():
			return
		}
	}
}
