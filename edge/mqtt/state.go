package mqtt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// ConnectionState tells what became of a connection.
type ConnectionState struct {
	Connected  bool
	Connection uint64 // number of the attempt, as in the status
	Err        error  // why there is no connection
	Moves      uint64 // calls of Redirect before it
}

// connState is the state of one connection.
type connState struct {
	notify   func(ConnectionState) // may be nil
	connects atomic.Uint64
	came     chan struct{} // capacity 1: there is a connection again

	mu      sync.Mutex
	moves   uint64
	state   ConnectionState
	changed chan struct{} // closed and replaced when state changes
}

func newConnState(notify func(ConnectionState)) *connState {
	return &connState{notify: notify, came: make(chan struct{}, 1), changed: make(chan struct{})}
}

func (c *connState) now() ConnectionState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

func (c *connState) set(s ConnectionState) {
	if s.Connected {
		c.connects.Add(1)
		select {
		case c.came <- struct{}{}:
		default: // it is already said
		}
	}
	c.mu.Lock()
	s.Moves = c.moves
	c.state = s
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	if c.notify != nil {
		c.notify(s)
	}
}

// moved says that what comes now is after n calls of Redirect.
func (c *connState) moved(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moves = n
}

// known reports whether err is what the state already says.
func (c *connState) known(err error) bool {
	s := c.now()
	return s.Err != nil && err != nil && s.Err.Error() == err.Error()
}

// wait waits for a connection after so many moves. It returns a *ConnectError at
// once where the broker refused us for good, and the last error when ctx ends.
func (c *connState) wait(ctx context.Context, done <-chan struct{}, moves uint64) error {
	for {
		c.mu.Lock()
		state, changed := c.state, c.changed
		c.mu.Unlock()
		var refused *ConnectError
		switch {
		case state.Moves < moves:
		case state.Connected:
			return nil
		case errors.As(state.Err, &refused) && refused.Permanent:
			return fmt.Errorf("mqtt: %w", state.Err)
		}
		select {
		case <-changed:
		case <-done:
			return fmt.Errorf("mqtt: %w", ErrStopped)
		case <-ctx.Done():
			return fmt.Errorf("mqtt: %w", errors.Join(ctx.Err(), state.Err))
		}
	}
}
