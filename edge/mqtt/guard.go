package mqtt

import (
	"bytes"
	"crypto/subtle"
	"sync"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// guard decides who may connect to the embedded broker, and adds what mochi
// 2.7.9 leaves out:
//
//   - A client that comes back before mochi has cleared away its last connection
//     may lose its new subscriptions to that clearing, and then hears nothing for
//     as long as it stays. Here the old connection is ended first.
//   - mochi acknowledges a message before it distributes it. busy counts those in
//     between, so that Close does not cut them off.
//   - mochi looks for the retained messages that match a filter with wildcards
//     without the lock under which it keeps them (its issue 200). retained keeps
//     the two apart.
type guard struct {
	mochi.HookBase
	server             *mochi.Server
	username, password []byte

	retained sync.RWMutex // held while a message is retained, and for reading while they are sent to a new subscriber

	mu      sync.Mutex
	alive   map[*mochi.Client]bool // the value: a message is between its sender and its subscribers
	reading map[*mochi.Client]bool // those for which retained is held for reading
}

func newGuard(s *mochi.Server, o BrokerOptions) *guard {
	return &guard{
		server: s, username: []byte(o.Username), password: []byte(o.Password),
		alive: map[*mochi.Client]bool{}, reading: map[*mochi.Client]bool{},
	}
}

// ID names the hook.
func (g *guard) ID() string { return "nightseg-guard" }

// Provides lists what the hook takes part in.
func (g *guard) Provides(b byte) bool {
	return bytes.IndexByte([]byte{
		mochi.OnConnectAuthenticate, mochi.OnACLCheck, mochi.OnPublish, mochi.OnPublished, mochi.OnDisconnect,
		mochi.OnWill, mochi.OnRetainMessage, mochi.OnPacketSent, mochi.OnPacketProcessed,
	}, b) >= 0
}

// OnConnectAuthenticate lets clients in: all, or those with the one user name
// and password. Who is in may publish and subscribe everywhere.
func (g *guard) OnConnectAuthenticate(cl *mochi.Client, p packets.Packet) bool {
	if len(g.username) > 0 && subtle.ConstantTimeCompare(g.username, p.Connect.Username)&
		subtle.ConstantTimeCompare(g.password, p.Connect.Password) != 1 {
		return false
	}
	if old, ok := g.server.Clients.Get(cl.ID); ok && old != cl {
		g.end(old)
	}
	g.mu.Lock()
	g.alive[cl] = false
	g.mu.Unlock()
	return true
}

// OnACLCheck allows everything to those who are in.
func (g *guard) OnACLCheck(*mochi.Client, string, bool) bool { return true }

// end ends an older connection of a client, and waits until mochi has done with
// it; for a second at most, in case mochi forgets it.
func (g *guard) end(old *mochi.Client) {
	old.Stop(packets.ErrSessionTakenOver)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		if g.ended(old) {
			return
		}
		<-tick.C
	}
	g.forget(old)
}

// ended reports whether mochi has done with a connection. A session that is to
// be kept stays in the list of clients.
func (g *guard) ended(old *mochi.Client) bool {
	g.mu.Lock()
	_, alive := g.alive[old]
	g.mu.Unlock()
	if alive {
		return false
	}
	now, listed := g.server.Clients.Get(old.ID)
	return !listed || now != old || !old.Properties.Clean
}

// OnDisconnect is called when a connection has ended.
func (g *guard) OnDisconnect(cl *mochi.Client, _ error, _ bool) { g.forget(cl) }

func (g *guard) forget(cl *mochi.Client) {
	g.mu.Lock()
	delete(g.alive, cl)
	g.mu.Unlock()
}

// OnPublish is called when a message has come in. If it is to be retained, mochi
// does that next.
func (g *guard) OnPublish(cl *mochi.Client, p packets.Packet) (packets.Packet, error) {
	g.mark(cl, true)
	if p.FixedHeader.Retain {
		g.retained.Lock()
	}
	return p, nil
}

// OnWill is called before a will is sent, with no delay if it is to be retained:
// mochi calls no hook before it retains one with a delay.
func (g *guard) OnWill(cl *mochi.Client, w mochi.Will) (mochi.Will, error) {
	if w.Retain {
		cl.Properties.Will.WillDelayInterval = 0
		g.retained.Lock()
	}
	return w, nil
}

// OnRetainMessage is called when a message has been retained.
func (g *guard) OnRetainMessage(*mochi.Client, packets.Packet, int64) { g.retained.Unlock() }

// OnPacketSent is called when a packet is on its way to a client. After that
// which acknowledges a subscription mochi sends the retained messages.
func (g *guard) OnPacketSent(cl *mochi.Client, p packets.Packet, _ []byte) {
	if p.FixedHeader.Type != packets.Suback {
		return
	}
	g.retained.RLock()
	g.mu.Lock()
	g.reading[cl] = true
	g.mu.Unlock()
}

// OnPacketProcessed is called when mochi has done with a packet from a client.
func (g *guard) OnPacketProcessed(cl *mochi.Client, p packets.Packet, _ error) {
	if p.FixedHeader.Type != packets.Subscribe {
		return
	}
	g.mu.Lock()
	reading := g.reading[cl] // not if the acknowledgement could not be sent
	delete(g.reading, cl)
	g.mu.Unlock()
	if reading {
		g.retained.RUnlock()
	}
}

// OnPublished is called when all subscribers have the message before them.
func (g *guard) OnPublished(cl *mochi.Client, _ packets.Packet) { g.mark(cl, false) }

func (g *guard) mark(cl *mochi.Client, busy bool) {
	g.mu.Lock()
	if _, alive := g.alive[cl]; alive {
		g.alive[cl] = busy
	}
	g.mu.Unlock()
}

// busy counts the messages between a sender and its subscribers.
func (g *guard) busy() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, busy := range g.alive {
		if busy {
			n++
		}
	}
	return n
}
