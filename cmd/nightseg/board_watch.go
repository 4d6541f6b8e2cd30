package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"nightseg/firmware/board"
	"nightseg/firmware/button"
	"nightseg/firmware/governor"
	"nightseg/firmware/indicate"
)

// boardWatchFlags say what watch prints.
type boardWatchFlags struct {
	count   int
	metrics bool
	record  string
}

func newBoardWatch(a *app, f *boardFlags) *cobra.Command {
	w := &boardWatchFlags{}
	c := &cobra.Command{
		Use:   "watch",
		Short: "Print what the board tells, each second; the governor's steps and the buttons' events too",
		Long: "watch reads a board as the service would, prints a line a second (with --json an object), and what the\n" +
			"governor and the buttons do when it happens. The LED shows the state running. It changes nothing else.",
		Example: "  nightseg board watch --board board.yaml\n" +
			"  nightseg board watch --json | jq .governor\n" +
			"  nightseg board watch --count 1 --metrics > /var/lib/node_exporter/board.prom",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.boardWatch(c.Context(), f, w) },
	}
	c.Flags().IntVar(&w.count, "count", 0, "end after so many seconds (0: never)")
	c.Flags().BoolVar(&w.metrics, "metrics", false, "print the text format that Prometheus reads")
	c.Flags().StringVar(&w.record, "record", "",
		"folder in which the traffic of the I2C buses is written down (DIR/dev/i2c-N)")
	return c
}

// boardEvent is printed when something happens.
type boardEvent struct {
	Step    *governor.Change `json:"step,omitempty"`
	Button  *button.Event    `json:"button,omitempty"`
	Battery string           `json:"battery,omitempty"`
}

func (e boardEvent) String() string {
	switch {
	case e.Step != nil:
		return fmt.Sprintf("step: %s, because %s", e.Step.To.Name, e.Step.Reason)
	case e.Button != nil:
		return fmt.Sprintf("button %s: %s (%v)", e.Button.Button, e.Button.Kind, e.Button.For)
	}
	return "battery: " + e.Battery
}

func (a *app) boardWatch(ctx context.Context, f *boardFlags, w *boardWatchFlags) (err error) {
	if w.metrics && a.json {
		return usage(errors.New("--metrics and --json: keep one"))
	}
	root, d, err := f.description()
	if err != nil {
		return err
	}
	events := make(chan boardEvent, 64)
	tell := func(e boardEvent) {
		select {
		case events <- e:
		default: // nobody reads: the board must not wait
		}
	}
	rec := &recordings{dir: w.record}
	defer func() { err = errors.Join(err, rec.close()) }()
	b := board.New(root, d, board.Options{
		OnStep:    func(c governor.Change) { tell(boardEvent{Step: &c}) },
		OnButton:  func(e button.Event) { tell(boardEvent{Button: &e}) },
		OnBattery: func(why string) { tell(boardEvent{Battery: why}) },
		Record:    rec.opener(),
	})
	if why := b.MayStart(); why != "" {
		a.notef("%s", why)
	}
	b.Show(indicate.Running)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var ran error
	wg.Go(func() { ran = b.Run(ctx) })
	defer func() {
		cancel()
		wg.Wait()
		err = errors.Join(err, ran)
	}()
	return a.boardPrint(ctx, b, w, events)
}

// boardPrint prints until ctx is done, or the count is reached.
func (a *app) boardPrint(ctx context.Context, b *board.Board, w *boardWatchFlags, events <-chan boardEvent) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; w.count == 0 || n < w.count; {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case e := <-events:
			if a.json {
				err = json.NewEncoder(a.out).Encode(e)
			} else if !w.metrics {
				a.printf("%s\n", e)
			}
		case <-tick.C:
			n++
			err = a.boardHealth(b.Health(), w.metrics)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *app) boardHealth(h board.Health, metrics bool) error {
	switch {
	case a.json:
		return json.NewEncoder(a.out).Encode(h)
	case metrics:
		h.Metrics(a.out)
	default:
		a.printf("%s\n", boardLine(h))
	}
	return nil
}

// boardLine is a board in one line.
func boardLine(h board.Health) string {
	parts := []string{h.At.Format(time.TimeOnly)}
	for _, z := range sortedKeys(h.Celsius) {
		parts = append(parts, fmt.Sprintf("%s %.1f °C", z, h.Celsius[z]))
	}
	for _, r := range sortedKeys(h.Rails) {
		parts = append(parts, fmt.Sprintf("%s %.2f V %.1f W", r, h.Rails[r].Volts, h.Rails[r].Watts))
	}
	for _, c := range sortedKeys(h.Clocks) {
		p := h.Clocks[c]
		text := fmt.Sprintf("%s %.0f MHz", c, p.MHz)
		if p.Percent != nil {
			text += fmt.Sprintf(" %.0f %%", *p.Percent)
		}
		parts = append(parts, text)
	}
	for _, s := range sortedKeys(h.Light) {
		l := h.Light[s]
		text := fmt.Sprintf("%s %.1f lx", s, l.Lux)
		if l.Saturated {
			text += " or more"
		}
		if !l.Valid {
			text += " (old)"
		}
		parts = append(parts, text)
	}
	if g := h.Governor; g != nil {
		parts = append(parts, fmt.Sprintf("%v, %s", g.Band, g.Step.Name))
	}
	if h.Battery != "" {
		parts = append(parts, h.Battery)
	}
	for _, p := range sortedKeys(h.Problems) {
		parts = append(parts, p+": "+h.Problems[p])
	}
	return strings.Join(parts, " | ")
}

// recordings are the files of what passes on the buses.
type recordings struct {
	dir   string
	mu    sync.Mutex
	files []*os.File
}

func (r *recordings) opener() func(name string) (io.Writer, error) {
	if r.dir == "" {
		return nil
	}
	return func(name string) (io.Writer, error) {
		p := filepath.Join(r.dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return nil, err
		}
		f, err := os.Create(p)
		if err != nil {
			return nil, err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.files = append(r.files, f)
		return f, nil
	}
}

func (r *recordings) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, f := range r.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
