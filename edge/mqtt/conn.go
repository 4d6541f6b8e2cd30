package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// conn is one connection to the broker: a paho client that is used once.
type conn struct {
	paho paho.Client
	link *link

	lost chan struct{} // closed when paho has ended all its goroutines after a loss
	once sync.Once
	err  error // why, valid when lost is closed
}

// connect opens a connection. The caller may set more options of paho in tune,
// and must end the connection with disconnect or abandon.
func connect(ctx context.Context, o *Options, tune func(*paho.ClientOptions)) (*conn, error) {
	u, err := parseURL(o.URL)
	if err != nil {
		return nil, connectError(o, fmt.Errorf("url: %w", err))
	}
	po, err := pahoOptions(o)
	if err != nil {
		return nil, connectError(o, err)
	}
	tune(po)
	c := &conn{lost: make(chan struct{})}
	po.SetConnectionLostHandler(func(_ paho.Client, err error) {
		c.once.Do(func() {
			c.err = fmt.Errorf("connection to broker %s lost: %w", o.URL, err)
			close(c.lost)
		})
	})
	po.Servers = []*url.URL{u}
	handshaken := func() bool { return true }
	po.SetCustomOpenConnectionFn(func(u *url.URL, _ paho.ClientOptions) (net.Conn, error) {
		var err error
		if c.link, err = o.dial(ctx, u); err != nil {
			return nil, err
		}
		handshaken = context.AfterFunc(ctx, c.link.abandon)
		return c.link, nil
	})
	c.paho = paho.NewClient(po)
	token := c.paho.Connect()
	<-token.Done() // dial and handshake obey ctx and ConnectTimeout
	handshaken()
	if err := token.Error(); err != nil {
		return nil, connectError(o, errors.Join(ctx.Err(), plain(err)))
	}
	return c, nil
}

// plain takes away the words "network Error" that paho puts before a reason.
func plain(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		if causes := joined.Unwrap(); len(causes) > 0 && causes[len(causes)-1] != nil {
			return causes[len(causes)-1]
		}
	}
	return err
}

// dial opens the link to the broker.
func (o *Options) dial(ctx context.Context, u *url.URL) (*link, error) {
	if !encrypted(u) {
		return dial(ctx, u, nil, o)
	}
	conf, err := o.tlsConfig(u)
	if err != nil {
		return nil, err
	}
	return dial(ctx, u, conf, o)
}

// pahoOptions sets every option whose default is a trap.
func pahoOptions(o *Options) (*paho.ClientOptions, error) {
	user, password, err := o.credentials() // read again at each connect: files may be renewed
	if err != nil {
		return nil, err
	}
	po := paho.NewClientOptions()
	po.SetClientID(o.ClientID)
	po.SetUsername(user)
	po.SetPassword(password)
	po.SetProtocolVersion(4)   // else every refusal is tried a second time as MQTT 3.1
	po.SetAutoReconnect(false) // our loop has jitter and a cap of seconds, not of 10 minutes
	po.SetConnectRetry(false)  //
	po.SetResumeSubs(false)    // we subscribe on every connect
	po.SetCleanSession(true)   // a command from yesterday must not be run today
	po.SetOrderMatters(true)   // handlers only enqueue, and documents must keep their order
	po.SetKeepAlive(o.KeepAlive)
	po.SetPingTimeout(o.PingTimeout)
	po.SetConnectTimeout(o.ConnectTimeout)
	po.SetWriteTimeout(o.WriteTimeout)
	po.SetStore(paho.NewOrderedMemoryStore())
	// Without a default handler a message that no route takes is never
	// acknowledged, and blocks the broker's window for us.
	po.SetDefaultPublishHandler(func(paho.Client, paho.Message) {})
	return po, nil
}

// subscribe waits until the broker has granted all filters.
func (c *conn) subscribe(ctx context.Context, filters map[string]byte, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	token := c.paho.SubscribeMultiple(filters, nil)
	select {
	case <-token.Done():
	case <-c.lost:
		return c.err
	case <-timer.C:
		return errors.New("subscribe: the broker did not answer in time")
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := token.Error(); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if t, ok := token.(*paho.SubscribeToken); ok {
		for filter, granted := range t.Result() {
			if granted > 2 {
				return fmt.Errorf("subscribe: the broker refuses %s: check its access rules", filter)
			}
		}
	}
	return nil
}

// abandon ends the connection as if the cable had been cut, so that the broker
// publishes the will, and waits for paho's goroutines.
func (c *conn) abandon() {
	c.link.abandon()
	timer := time.NewTimer(2 * time.Second)
	defer timer.Stop()
	select {
	case <-c.lost:
	case <-timer.C: // paho has no other way to say that it has ended
	}
}

// because ends the connection after err, and returns why: where it was lost
// before, what it was lost by, and not what we then could not do any more.
func (c *conn) because(err error) error {
	c.abandon()
	select {
	case <-c.lost:
		if !errors.Is(c.err, errLink) {
			return c.err
		}
	default:
	}
	if why := c.link.why.Load(); why != nil {
		return fmt.Errorf("write to broker: %w", *why)
	}
	return err
}

// disconnect says good-bye, which discards the will.
func (c *conn) disconnect() {
	c.paho.Disconnect(250)
	_ = c.link.Close() // already closed where all went well
}
