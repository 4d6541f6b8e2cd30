package button

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/firmware/line"
)

// contact is a line that the test moves.
type contact struct {
	edges  chan line.Edge
	active atomic.Bool
	failed chan error
}

func (c *contact) Next(ctx context.Context) (line.Edge, error) {
	select {
	case e := <-c.edges:
		return e, nil
	case err := <-c.failed:
		return line.Edge{}, err
	case <-ctx.Done():
		return line.Edge{}, ctx.Err()
	}
}

func (c *contact) Active() (bool, error) { return c.active.Load(), nil }

// move changes the contact, which bounces n times, a millisecond each.
func (c *contact) move(down bool, n int) {
	for i := range 2*n + 1 {
		on := down == (i%2 == 0)
		c.active.Store(on)
		c.edges <- line.Edge{Active: on}
		pause(time.Millisecond)
	}
}

func pause(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // fake time

func TestPresses(t *testing.T) {
	c := Config{Debounce: 20 * time.Millisecond, Long: 3 * time.Second}
	for name, s := range map[string]struct {
		do   func(*contact)
		want string
	}{
		"short, with bounces": {
			func(k *contact) { k.move(true, 9); pause(200 * time.Millisecond); k.move(false, 9) },
			"pressed 0s, released 219ms",
		},
		"long": {
			func(k *contact) { k.move(true, 3); pause(5 * time.Second); k.move(false, 0) },
			"pressed 0s, held 3s, released 5.001s",
		},
		"two": {
			func(k *contact) {
				for range 2 {
					k.move(true, 1)
					pause(100 * time.Millisecond)
					k.move(false, 1)
					pause(100 * time.Millisecond)
				}
			},
			"pressed 0s, released 103ms, pressed 0s, released 103ms",
		},
		"a spark of 5 ms":        {func(k *contact) { k.move(true, 2); k.move(false, 0) }, ""},
		"a change that was lost": {func(k *contact) { k.edges <- line.Edge{Active: true} }, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			k := &contact{edges: make(chan line.Edge)}
			var got []string
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() {
				ended <- Watch(ctx, "stop", k, c, func(e Event) { got = append(got, fmt.Sprint(e.Kind, " ", e.For)) })
			}()
			s.do(k)
			pause(time.Minute)
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if text := strings.Join(got, ", "); text != s.want {
				t.Errorf("%s: %s, want %s", name, text, s.want)
			}
		})
	}
}

func TestALineThatFailsIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &contact{edges: make(chan line.Edge), failed: make(chan error, 1)}
		gone := errors.New("no such device")
		k.failed <- gone
		if err := Watch(t.Context(), "stop", k, Config{}, nil); !errors.Is(err, gone) {
			t.Error(err)
		}
	})
}
