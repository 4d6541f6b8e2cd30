package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"nightseg/edge/mqtt"
)

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// newServeBroker is the broker beside bench: it ends when its input does.
func newServeBroker(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "serve-broker",
		Short:   "The broker that bench starts in a process of its own",
		Example: "  nightseg bench serve-broker",
		Hidden:  true,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			b, err := mqtt.StartBroker(mqtt.BrokerOptions{})
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(a.out, b.URL()); err != nil {
				return errors.Join(err, b.Close())
			}
			_, err = io.Copy(io.Discard, c.InOrStdin())
			return errors.Join(err, b.Close())
		},
	}
}

// brokerChild is a broker in a process of its own.
type brokerChild struct {
	cmd  *exec.Cmd
	stop io.Closer
	url  string
	once sync.Once
	err  error
}

// startBrokerProcess starts this program as a broker; self is how.
func startBrokerProcess(ctx context.Context, self []string) (*brokerChild, error) {
	args := append(append([]string(nil), self[1:]...), "bench", "serve-broker")
	cmd := exec.CommandContext(ctx, self[0], args...)
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	c := &brokerChild{cmd: cmd, stop: in}
	line, err := bufio.NewReader(out).ReadString('\n')
	c.url = strings.TrimSpace(line)
	if err != nil || !strings.HasPrefix(c.url, "mqtt://") {
		return nil, errors.Join(fmt.Errorf("broker: it answered %q: %w", c.url, err), c.close())
	}
	return c, nil
}

// close ends the broker and waits for it. It may be called twice.
func (c *brokerChild) close() error {
	c.once.Do(func() { c.err = errors.Join(c.stop.Close(), c.cmd.Wait()) })
	return c.err
}

// startTimes are the times from starting the program to its first mask at a
// subscriber, in ms.
type startTimes struct {
	Cold []float64 `json:"cold_ms"` // no compiled networks, golden vectors not yet checked
	Warm []float64 `json:"warm_ms"`
}

// starts times cold and warm starts in turn.
func (bn *bench) starts(ctx context.Context, a *app, tmp string) (*startTimes, error) {
	if bn.f.starts == 0 {
		return nil, nil
	}
	bar := a.progress(2*bn.f.starts, "starts")
	defer bar.Done()
	s := &startTimes{}
	for i := range bn.f.starts {
		cache := filepath.Join(tmp, "cache"+strconv.Itoa(i))
		for _, times := range []*[]float64{&s.Cold, &s.Warm} {
			t, err := bn.start(ctx, cache)
			if err != nil {
				return nil, fmt.Errorf("bench: start: %w", err)
			}
			*times = append(*times, float64(t)/1e6)
			bar.Add(1)
		}
	}
	return s, nil
}

// startLimit is when a start that shows no mask is given up.
const startLimit = time.Minute

// start runs a replay of one frame in a process of its own, and waits for its
// mask as any subscriber would.
func (bn *bench) start(ctx context.Context, cache string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	const fleet, device = "bench", "start"
	masks, ready := make(chan time.Time, 1), make(chan struct{}, 1)
	watching, unwatch := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer unwatch()
	var watchErr error
	wg.Go(func() {
		watchErr = mqtt.Watch(watching, mqtt.WatchOptions{
			Options: mqtt.Options{
				URL: bn.url, Topics: mqtt.Topics{Fleet: fleet, Device: device}, Logger: quietLog(),
				OnState: func(s mqtt.ConnectionState) {
					if s.Connected {
						offer(ready, struct{}{})
					}
				},
			},
			QoS: 1,
		}, func(m mqtt.Message) {
			if strings.HasSuffix(m.Topic, "/mask") {
				offer(masks, m.Received)
			}
		})
	})
	select {
	case <-ready:
	case <-ctx.Done():
		unwatch()
		wg.Wait()
		return 0, errors.Join(fmt.Errorf("no connection to %s: %w", bn.url, ctx.Err()), watchErr)
	}
	args := append(append([]string(nil), bn.f.self[1:]...), "replay", bn.dir, "--frames", "1", "--rate", rateMax,
		"--broker", bn.url, "--fleet", fleet, "--device", device, "--bundle", bn.bundle.Path,
		"--engine", bn.f.engine,
		"--provider", bn.f.Provider, "--precision", bn.f.Precision, "--threads", strconv.Itoa(bn.f.Threads),
		"--lib-dir", bn.f.LibDir, "--cache-dir", cache, "--relight", bn.f.relit, "--gate", "always", "--json")
	var said strings.Builder
	cmd := exec.CommandContext(ctx, bn.f.self[0], args...)
	cmd.Stderr = &said
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, said.String())
	}
	select {
	case at := <-masks:
		return at.Sub(begin), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("no mask came: %w", ctx.Err())
	}
}

// offer puts v into a channel that has room, and otherwise drops it.
func offer[T any](c chan<- T, v T) {
	select {
	case c <- v:
	default:
	}
}
