package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"nightseg/edge/frame"
	"nightseg/edge/message"
	"nightseg/edge/mqtt"
	"nightseg/edge/settings"
)

// watchFlags are what watch was asked to do.
type watchFlags struct {
	broker settings.Broker
	fleet  string
	device string
	camera string
	out    string
	masks  int
	quiet  bool
}

func newWatchCommand(a *app) *cobra.Command {
	f := &watchFlags{broker: settings.Broker{URL: "mqtt://localhost:1883"}}
	c := &cobra.Command{
		Use:   "watch",
		Short: "Subscribe to masks, print a line for each message, and save the masks",
		Long: "watch prints a line (with --json a JSON object) for every mask, status, stats, health and\n" +
			"settings message, and at the end how many masks came, how late, how many are missing in the\n" +
			"count of the frames, and their masks_sha256. It waits for a broker that is not there yet,\n" +
			"and ends with --masks, or Ctrl-C.",
		Example: "  nightseg watch\n" +
			"  nightseg watch --broker mqtts://hub:8883 --ca-file ca.pem --device car7 --out masks/\n" +
			"  nightseg watch --masks 100 --json | jq .header",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.watch(c.Context(), f) },
	}
	fs := c.Flags()
	addBroker(fs, &f.broker, remoteBroker)
	fs.StringVar(&f.fleet, "fleet", "", "only this fleet (default: all)")
	fs.StringVar(&f.device, "device", "", "only this device (default: all)")
	fs.StringVar(&f.camera, "camera", "", "only masks of this camera (default: all)")
	fs.StringVar(&f.out, "out", "", "folder to save the masks to, as they came")
	fs.IntVar(&f.masks, "masks", 0, "end after so many masks; 0: at Ctrl-C")
	fs.BoolVar(&f.quiet, "quiet", false, "no line per message, only the summary")
	return c
}

func (a *app) watch(ctx context.Context, f *watchFlags) error {
	if f.out != "" {
		if err := os.MkdirAll(f.out, 0o755); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	w := &watchState{a: a, f: f, stop: stop, hash: newMaskHash(), last: map[string]uint64{}}
	options := mqtt.WatchOptions{QoS: 1, Options: mqtt.Options{
		Topics:  mqtt.Topics{Fleet: f.fleet, Device: f.device},
		OnState: w.connection, Logger: slog.New(slog.DiscardHandler),
	}}
	endpointOf(f.broker).Apply(&options.Options)
	err := mqtt.Watch(ctx, options, w.message)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = errors.Join(err, cause)
	}
	if err != nil {
		return err
	}
	return w.summary()
}

// watchState is what a subscriber has seen. Its methods but connection are
// called from one goroutine.
type watchState struct {
	a       *app
	f       *watchFlags
	stop    context.CancelCauseFunc
	mask    frame.Mask
	hash    *maskHash
	got     int
	bad     int
	missing uint64
	bytes   int
	last    map[string]uint64 // by run and camera: sequence number expected next
	latency samples           // ms from capture to arrival
	late    float64           // of the last mask
}

func (w *watchState) connection(s mqtt.ConnectionState) {
	switch {
	case s.Connected:
		w.a.notef("connected to %s", w.f.broker.URL)
	case s.Err != nil:
		w.a.notef("no connection to %s: %v; trying again", w.f.broker.URL, s.Err)
	}
}

// message takes what came in; a message that cannot be read is counted and told.
func (w *watchState) message(m mqtt.Message) {
	if w.f.masks > 0 && w.got >= w.f.masks {
		return
	}
	levels := strings.Split(m.Topic, "/")
	if last := levels[len(levels)-1]; last != "mask" {
		w.print(watchLine{Topic: m.Topic, Retained: m.Retained, Document: asJSON(m.Payload)})
		return
	}
	h, err := message.Parse(&w.mask, m.Payload)
	if err != nil {
		w.bad++
		w.a.notef("%s: %v", m.Topic, err)
		return
	}
	if w.f.camera != "" && h.Camera != w.f.camera {
		return
	}
	w.count(h, m)
	if err := w.save(h, m); err != nil {
		w.stop(err)
		return
	}
	w.print(watchLine{Topic: m.Topic, Bytes: len(m.Payload), LatencyMs: w.late, Header: &h})
	if w.got == w.f.masks {
		w.stop(nil)
	}
}

// count keeps the figures of the summary. A mask that came twice, as QoS 1 may
// bring it, counts once.
func (w *watchState) count(h message.Header, m mqtt.Message) {
	latency := float64(frame.Mono()-h.Mono) / 1e6 // right on one machine
	if captured := h.Wall(); latency < 0 || latency > 1e7 {
		latency = float64(m.Received.Sub(captured)) / 1e6 // another machine: right if both clocks are
	}
	w.late = latency
	w.latency.add(latency)
	key := h.Run + "/" + h.Camera
	next, known := w.last[key]
	if known && h.Seq < next {
		return
	}
	if known {
		w.missing += h.Seq - next
	}
	w.last[key] = h.Seq + 1
	w.got++
	w.bytes += len(m.Payload)
	w.hash.Write(&w.mask)
}

func (w *watchState) save(h message.Header, m mqtt.Message) error {
	if w.f.out == "" {
		return nil
	}
	name := fmt.Sprintf("%s_%s_%06d.%s", h.Camera, h.Run, h.Seq, message.Sniff(m.Payload).Extension())
	return os.WriteFile(filepath.Join(w.f.out, name), m.Payload, 0o644)
}

// watchLine is a message as --json prints it.
type watchLine struct {
	Topic     string          `json:"topic"`
	Retained  bool            `json:"retained,omitempty"`
	Bytes     int             `json:"bytes,omitempty"`
	LatencyMs float64         `json:"latency_ms,omitempty"`
	Header    *message.Header `json:"header,omitempty"`
	Document  json.RawMessage `json:"document,omitempty"`
}

// asJSON returns a payload as JSON on one line: itself, or as a string where it
// is none.
func asJSON(b []byte) json.RawMessage {
	var line bytes.Buffer
	if json.Compact(&line, b) == nil {
		return line.Bytes()
	}
	s, err := json.Marshal(string(b))
	if err != nil { // cannot be: a string
		return json.RawMessage("null")
	}
	return s
}

func (w *watchState) print(l watchLine) {
	switch {
	case w.f.quiet:
	case w.a.json:
		b, err := json.Marshal(l)
		if err == nil {
			_, err = fmt.Fprintf(w.a.out, "%s\n", b)
		}
		if err != nil {
			w.stop(err)
		}
	case l.Header != nil:
		w.a.printf("%s  seq %d  %.1f ms  %d bytes  luma %.0f  relight %s\n",
			l.Topic, l.Header.Seq, l.LatencyMs, l.Bytes, l.Header.Luma, l.Header.Relight)
	default:
		w.a.printf("%s  %s\n", l.Topic, shorten(l.Document, 160))
	}
}

func shorten(b []byte, n int) string {
	if len(b) <= n {
		return string(b)
	}
	return strings.ToValidUTF8(string(b[:n]), "") + "..."
}

// watchReport is the summary as --json prints it.
type watchReport struct {
	Masks      int     `json:"masks"`
	Missing    uint64  `json:"missing"`
	Unreadable int     `json:"unreadable"`
	Bytes      int     `json:"bytes"`
	P50        float64 `json:"latency_p50_ms"`
	P99        float64 `json:"latency_p99_ms"`
	Hash       string  `json:"masks_sha256"`
}

func (w *watchState) summary() error {
	r := watchReport{
		Masks: w.got, Missing: w.missing, Unreadable: w.bad, Bytes: w.bytes,
		P50: w.latency.quantile(0.5), P99: w.latency.quantile(0.99), Hash: w.hash.Sum(),
	}
	if w.a.json {
		b, err := json.Marshal(r)
		if err == nil {
			_, err = fmt.Fprintf(w.a.out, "%s\n", b)
		}
		return err
	}
	w.a.printf("%d masks, %d missing, %d unreadable, %d bytes; capture to here %.1f ms (p50), %.1f ms (p99)\n",
		r.Masks, r.Missing, r.Unreadable, r.Bytes, r.P50, r.P99)
	w.a.printf("masks_sha256 %s\n", r.Hash)
	return nil
}
