// Package alive watches whether threads of work get on, and tells the service
// manager (systemd) so: its watchdog is fed only while all of them do.
//
// A thread marks what it does. While it works, it must mark again before its
// limit is over. While it waits for something that may stay away for as long as
// it likes, such as a picture of a camera, it is not looked at. So a camera that
// is lost never trips the watchdog, and an engine that hangs does, as do threads
// that wait for each other for ever.
package alive

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Thread is the mark of one thread of work. Only that thread may call Work and
// Wait; a nil Thread takes both and marks nothing.
type Thread struct {
	name  string
	marks atomic.Uint64 // odd while it works

	// What Check remembers.
	seen uint64
	age  time.Duration
}

// Work says that the thread got on, and now does something that ends by itself.
func (t *Thread) Work() {
	if t != nil {
		t.marks.Store(t.marks.Load()&^1 + 3)
	}
}

// Wait says that the thread got on, and now waits for something that need not come.
func (t *Thread) Wait() {
	if t != nil {
		t.marks.Store(t.marks.Load()&^1 + 2)
	}
}

// Group is the threads that are looked at together. A nil Group has none.
type Group struct {
	mu      sync.Mutex
	threads []*Thread
}

// Thread adds a thread, which waits at first. A nil Group returns nil.
func (g *Group) Thread(name string) *Thread {
	if g == nil {
		return nil
	}
	t := &Thread{name: name}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.threads = append(g.threads, t)
	return t
}

// Check is called again and again, with the time since the last call, and returns
// the names of the threads that have been at the same piece of work for limit or
// longer.
func (g *Group) Check(elapsed, limit time.Duration) []string {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var hung []string
	for _, t := range g.threads {
		now := t.marks.Load()
		if now != t.seen || now&1 == 0 {
			t.seen, t.age = now, 0
			continue
		}
		t.age += elapsed
		if t.age >= limit {
			hung = append(hung, t.name)
		}
	}
	slices.Sort(hung)
	return hung
}
