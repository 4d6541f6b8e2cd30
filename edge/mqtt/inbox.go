package mqtt

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
)

// MaxDocument is the largest settings document or command that is looked at.
const MaxDocument = 64 << 10

// inbox stands between paho, whose handlers must not block, and the handlers of
// the options, which may. Of settings documents only the newest waits.
type inbox struct {
	wake     chan struct{}
	commands chan Command

	mu     sync.Mutex
	newest []byte
	fresh  bool
}

func newInbox() *inbox {
	return &inbox{wake: make(chan struct{}, 1), commands: make(chan Command, 16)}
}

// desired keeps the newest settings document. An empty one is how a retained
// document is taken away, and asks for nothing; one that is too large is cut,
// so that its parser refuses it with a reason.
func (b *inbox) desired(payload []byte) {
	if len(payload) == 0 {
		return
	}
	b.mu.Lock()
	b.newest = append(b.newest[:0], payload[:min(len(payload), MaxDocument+1)]...)
	b.fresh = true
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// command queues a request; more than 16 waiting ones are refused by silence,
// and the sender, who waits for a result, will ask again.
func (b *inbox) command(name string, payload []byte) {
	if CheckID(name) != nil || len(payload) > MaxDocument || strings.Contains(name, "/") {
		return
	}
	c := Command{Name: name, Payload: append([]byte(nil), payload...)}
	var head struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(payload, &head) == nil {
		c.ID = head.ID
	}
	select {
	case b.commands <- c:
	default:
	}
}

// run calls the handlers until ctx ends.
func (b *inbox) run(ctx context.Context, o *Options) {
	seen := make(map[string]bool)
	var order []string
	for {
		select {
		case <-b.wake:
			b.mu.Lock()
			payload, fresh := append([]byte(nil), b.newest...), b.fresh
			b.fresh = false
			b.mu.Unlock()
			if fresh && o.OnDesired != nil {
				o.OnDesired(payload)
			}
		case c := <-b.commands:
			if o.OnCommand == nil || c.ID != "" && seen[c.ID] {
				continue // QoS 1 may bring a request twice
			}
			if c.ID != "" {
				seen[c.ID] = true
				if order = append(order, c.ID); len(order) > 64 {
					delete(seen, order[0])
					order = order[1:]
				}
			}
			o.OnCommand(c)
		case <-ctx.Done():
			return
		}
	}
}
