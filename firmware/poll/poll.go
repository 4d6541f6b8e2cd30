// Package poll holds values that a goroutine of their own reads again and again, so
// that whoever needs one takes the newest and never waits for a bus.
package poll

import (
	"context"
	"sync/atomic"
	"time"
)

// Value is read by Run, and taken by anybody.
type Value[T any] struct {
	read   func(context.Context) T
	every  time.Duration
	newest atomic.Pointer[T]
}

// New makes a value that is read each time that every has passed.
func New[T any](every time.Duration, read func(context.Context) T) *Value[T] {
	return &Value[T]{read: read, every: every}
}

// Newest is what was read last; ok is false before the first.
func (v *Value[T]) Newest() (value T, ok bool) {
	p := v.newest.Load()
	if p == nil {
		return value, false
	}
	return *p, true
}

// Run reads until ctx is done. Where a reading takes longer than it should, the next
// begins when it ends.
func (v *Value[T]) Run(ctx context.Context) {
	tick := time.NewTicker(v.every)
	defer tick.Stop()
	for ctx.Err() == nil {
		value := v.read(ctx)
		if ctx.Err() != nil {
			return
		}
		v.newest.Store(&value)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// Wait waits for a time, or until ctx is done; it reports whether the time passed.
func Wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
