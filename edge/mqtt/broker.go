package mqtt

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// BrokerOptions says where the broker in this process listens.
type BrokerOptions struct {
	Listen      string // host:port; default 127.0.0.1:0, any free port
	AllowRemote bool   // needed for an address that other machines can reach
	// Username and Password, where set, are asked of every client; without them
	// every client may do everything.
	Username, Password string
	Logger             *slog.Logger // default: no log
}

// Broker is an MQTT broker in this process, for demonstrations, tests and
// single machines. It keeps nothing on disk.
type Broker struct {
	server   *mochi.Server
	listener net.Listener
	once     sync.Once
	err      error
}

// StartBroker starts a broker that runs until Close.
func StartBroker(o BrokerOptions) (*Broker, error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := checkListen(o); err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	capabilities := mochi.NewDefaultServerCapabilities()
	capabilities.MaximumPacketSize = 64 << 20
	// A subscriber that falls behind by more than this loses messages, whatever
	// their QoS: mochi does not make the publisher wait.
	capabilities.MaximumClientWritesPending = 32 << 10
	capabilities.MaximumInflight = 32 << 10
	s := mochi.New(&mochi.Options{
		Capabilities:             capabilities,
		Logger:                   o.Logger,
		ClientNetReadBufferSize:  32 << 10,
		ClientNetWriteBufferSize: 32 << 10,
		SysTopicResendInterval:   1 << 30, // seconds: nobody reads the broker's own figures
	})
	b := &Broker{server: s, listener: l}
	if err := b.start(o); err != nil {
		return nil, fmt.Errorf("embedded broker: %w", errors.Join(err, l.Close()))
	}
	return b, nil
}

func (b *Broker) start(o BrokerOptions) error {
	hook := &accessHook{username: []byte(o.Username), password: []byte(o.Password)}
	if err := b.server.AddHook(hook, nil); err != nil {
		return err
	}
	if err := b.server.AddListener(listeners.NewNet("tcp", b.listener)); err != nil {
		return err
	}
	return b.server.Serve()
}

// checkListen refuses addresses that other machines reach, unless told.
func checkListen(o BrokerOptions) error {
	host, _, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return fmt.Errorf("listen address: %w", err)
	}
	if o.AllowRemote {
		if o.Username == "" {
			o.Logger.Warn("embedded broker takes anyone who reaches it", "listen", o.Listen)
		}
		return nil
	}
	ip := net.ParseIP(host)
	if host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("listen address %q can be reached from other machines: use 127.0.0.1, or allow it explicitly", o.Listen)
}

// Addr returns host:port of the listener.
func (b *Broker) Addr() string { return b.listener.Addr().String() }

// URL returns the address as a client's Options.URL.
func (b *Broker) URL() string { return "mqtt://" + b.Addr() }

// Close ends all connections and waits for them. It may be called twice.
func (b *Broker) Close() error {
	b.once.Do(func() { b.err = b.server.Close() })
	return b.err
}

// accessHook lets clients in: all, or those with the one user name and password.
// Who is in may publish and subscribe everywhere.
type accessHook struct {
	mochi.HookBase
	username, password []byte
}

// ID names the hook.
func (h *accessHook) ID() string { return "nightseg-access" }

// Provides lists what the hook decides.
func (h *accessHook) Provides(b byte) bool {
	return bytes.IndexByte([]byte{mochi.OnConnectAuthenticate, mochi.OnACLCheck}, b) >= 0
}

// OnConnectAuthenticate decides who may connect.
func (h *accessHook) OnConnectAuthenticate(_ *mochi.Client, p packets.Packet) bool {
	if len(h.username) == 0 {
		return true
	}
	return subtle.ConstantTimeCompare(h.username, p.Connect.Username)&
		subtle.ConstantTimeCompare(h.password, p.Connect.Password) == 1
}

// OnACLCheck allows everything to those who are in.
func (h *accessHook) OnACLCheck(*mochi.Client, string, bool) bool { return true }
