package mqtt

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// Send publishes one message with QoS 1 on a connection of its own, and returns
// when the broker has acknowledged it. It is for the operator's programs: a device
// has a Client.
func Send(ctx context.Context, o Options, topic string, payload []byte, retained bool) error {
	if o.ClientID == "" {
		o.ClientID = "nightseg-send-" + rand.Text()[:12]
	}
	if err := o.Check(); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	o.setDefaults()
	c, err := connect(ctx, &o, func(*paho.ClientOptions) {})
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	timer := time.NewTimer(o.AckTimeout)
	defer timer.Stop()
	token := c.paho.Publish(topic, 1, retained, payload)
	select {
	case <-token.Done():
		err = token.Error()
	case <-c.lost:
		err = c.err
	case <-timer.C:
		err = errors.New("the broker does not acknowledge: check its access rules")
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		c.abandon()
		return fmt.Errorf("send on %s: %w", topic, err)
	}
	c.disconnect()
	return nil
}
