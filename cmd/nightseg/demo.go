package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"nightseg/camera/synth"
	"nightseg/edge"
	"nightseg/edge/frame"
	"nightseg/edge/message"
	"nightseg/edge/mqtt"
	"nightseg/edge/settings"
	"nightseg/model"
	"nightseg/score"
)

// demoSeed is a drive that no training has seen; so is its layout.
const demoSeed = 7001

// Rows of the contact sheet, and the frames that they are chosen from.
const (
	demoRows  = 5
	demoTries = 15
)

// demoFlags are what demo was asked to do.
type demoFlags struct {
	modelFlags
	seconds float64
	fps     float64
	seed    uint64
	out     string
}

func newDemoCommand(a *app) *cobra.Command {
	f := &demoFlags{}
	c := &cobra.Command{
		Use:   "demo",
		Short: "A synthetic night drive through the whole loop, with a broker and a subscriber in this process",
		Long: "demo draws a night drive through a made-up street, segments it live, publishes the masks to a\n" +
			"broker in this process, and receives them again. It tells frames per second, the time from\n" +
			"capture to subscriber, losses, and mIoU against the drive's exact labels (synthetic: not an\n" +
			"accuracy figure), and leaves a contact sheet.",
		Example: "  nightseg demo\n  nightseg demo --seconds 60 --precision fp32 --out seen/\n  nightseg demo --json",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return a.demo(c.Context(), f) },
	}
	fs := c.Flags()
	f.modelFlags.add(fs)
	fs.Float64Var(&f.seconds, "seconds", 20, "length of the drive")
	fs.Float64Var(&f.fps, "fps", 30, "frames per second of the camera")
	fs.Uint64Var(&f.seed, "seed", demoSeed, "the drive")
	fs.StringVar(&f.out, "out", filepath.Join("out", "demo"), "folder of the contact sheet")
	return c
}

func (a *app) demo(ctx context.Context, f *demoFlags) (err error) {
	if !(f.seconds >= 1 && f.seconds <= 3600) {
		return fail(exitUsage, "--seconds %g is outside 1 to 3600", f.seconds)
	}
	who := sender{fleet: "demo", device: "synthetic", run: newRun()}
	b, e, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	src, err := synth.NewSource(synth.SourceOptions{
		Params: synth.Params{
			Seed: f.seed, W: b.Shapes[0][1], H: b.Shapes[0][0], Time: synth.Night, Layout: synth.LayoutDemo, FPS: f.fps,
		},
		Frames: int(f.seconds * f.fps), Realtime: true, KeepLabels: 64,
	})
	if err != nil {
		return usage(err)
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	broker := settings.Default().Broker
	broker.URL, broker.Listen = brokerEmbedded, "127.0.0.1:0"
	l, err := openLink(linkOptions{Broker: broker, sender: who, queue: 8, logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	a.printf("A synthetic night drive (seed %d) through %s %s, %s on %s; broker %s\n",
		f.seed, b.Name, b.Version, e.Info().Precision, e.Info().Provider, l.url)
	return a.drive(ctx, f, who, b, e, l, src)
}

// drive runs the loop and a subscriber until the drive ends.
func (a *app) drive(
	ctx context.Context, f *demoFlags, who sender, b *model.Bundle, e engine, l *link, src *synth.Source,
) error {
	d := &demo{a: a, src: src, bundle: b, every: max(int(f.seconds*f.fps)/demoTries, 1), came: make(chan struct{}, 1)}
	if len(b.Classes) == synth.ClassCount {
		d.scores = score.NewConfusion(len(b.Classes))
	}
	d.labels = make([]uint8, b.Shapes[0][0]*b.Shapes[0][1])
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	watching, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	defer unwatch()
	var watchErr error
	wg.Go(func() {
		watchErr = mqtt.Watch(watching, mqtt.WatchOptions{
			Options: mqtt.Options{URL: l.url, Topics: mqtt.Topics{Fleet: who.fleet, Device: who.device}},
		}, d.message)
	})
	ln, err := newLane(laneParts{
		camera: "front", source: src, engine: e, publish: l.outlet(edge.Live, 0),
		tap: d, sender: who, Options: edge.Options{Policy: edge.Live, Health: edge.NewHealth(l.status)},
	}, settings.Default().Live(), b)
	if err != nil {
		return err
	}
	if err := l.waitConnected(ctx, connectWait); err != nil {
		return err
	}
	if err := awaitSubscriber(ctx, l, "front", connectWait); err != nil {
		return errors.Join(err, watchErr)
	}
	if err := src.Drawn(ctx); err != nil {
		return err
	}
	l.status(false, "")
	if err := l.sendMeta(who.run, b, e.Info(), []cameraMeta{{"front", "synth"}}); err != nil {
		return err
	}
	rep := &reporter{link: l, lanes: always(reported{ln, src, len(b.Classes)}), interval: time.Second, latest: d.line}
	stop := rep.start()
	err = ln.loop.Run(ctx)
	d.await(ln.loop.Stats().Totals().Masks)
	stop()
	unwatch()
	wg.Wait()
	if err = errors.Join(err, watchErr); err != nil {
		return err
	}
	return d.end(f, e, ln)
}

// demo is the subscriber of the demonstration, and the tap that keeps a few
// frames for the contact sheet.
type demo struct {
	a      *app
	src    *synth.Source
	bundle *model.Bundle
	every  int
	kept   []keptFrame // used by the loop's goroutine, and after its end

	mu      sync.Mutex
	mask    frame.Mask
	labels  []uint8
	scores  *score.Confusion // nil: the bundle has other classes than the drive
	latency samples          // of all masks
	recent  samples          // of those since the last line
	got     uint64
	bad     uint64
	late    uint64 // masks that came when their labels were no longer kept
	fault   error  // the first of scoring
	came    chan struct{}
}

type keptFrame struct {
	frame frame.Frame
	mask  frame.Mask
}

// See implements edge.Tap.
func (d *demo) See(src, _ *frame.Frame, m *frame.Mask) error {
	if len(d.kept) < demoTries && int(m.Seq) >= len(d.kept)*d.every+d.every/2 {
		k := keptFrame{mask: *m}
		k.frame.CopyFrom(src)
		k.mask.Class = append([]uint8(nil), m.Class...)
		d.kept = append(d.kept, k)
	}
	return nil
}

// message takes a mask from the broker and scores it.
func (d *demo) message(m mqtt.Message) {
	if m.Topic[len(m.Topic)-5:] != "/mask" {
		return
	}
	now := frame.Mono()
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := message.Parse(&d.mask, m.Payload)
	if err != nil {
		d.bad++
		return
	}
	d.got++
	ms := float64(now-h.Mono) / 1e6
	d.latency.add(ms)
	d.recent.add(ms)
	if err := d.score(h.Seq); err != nil && d.fault == nil {
		d.fault = err
	}
	select {
	case d.came <- struct{}{}:
	default:
	}
}

// score compares the mask with the drive's labels, where they are still kept.
func (d *demo) score(seq uint64) error {
	if d.scores == nil {
		return nil
	}
	err := d.src.LabelsFor(seq, d.labels)
	switch {
	case errors.Is(err, synth.ErrNoLabels): // they are kept for a while only
		d.late++
		return nil
	case err != nil:
		return err
	}
	return d.scores.Add(d.labels, d.mask.Class)
}

// miou is nil where nothing was compared.
func (d *demo) miou() *float64 {
	if d.scores == nil {
		return nil
	}
	v := 100 * d.scores.MIoU()
	if math.IsNaN(v) {
		return nil
	}
	return &v
}

func miouText(v *float64) string {
	if v == nil {
		return "no mIoU (other classes)"
	}
	return fmt.Sprintf("mIoU %.1f (synthetic)", *v)
}

// arriveWait is how long the last masks may take to the subscriber.
const arriveWait = 2 * time.Second

// await waits until n masks have arrived.
func (d *demo) await(n uint64) {
	late := time.NewTimer(arriveWait)
	defer late.Stop()
	for {
		d.mu.Lock()
		got := d.got + d.bad
		d.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-d.came:
		case <-late.C:
			return
		}
	}
}

// shortest is the part of a second that is worth a line.
const shortest = 0.5

// line is the live line, once a second.
func (d *demo) line(_ string, s statsDocument) {
	d.mu.Lock()
	p50, miou := d.recent.quantile(0.5), d.miou()
	d.recent.reset()
	d.mu.Unlock()
	if d.a.json || s.Seconds < shortest || s.Masks == 0 {
		return
	}
	text := fmt.Sprintf("%5.1f frames/s   capture to subscriber %4.1f ms   lost %d   %s",
		s.FPS, p50, sum(s.Drops)+sum(s.Broker.Drops), miouText(miou))
	if isTerminal(d.a.out) {
		d.a.printf("\r%-90s", text)
		return
	}
	d.a.printf("%s\n", text)
}

func sum(m map[string]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}

// demoReport is what demo found, as --json prints it.
type demoReport struct {
	Frames    uint64   `json:"frames"`
	Received  uint64   `json:"received"`
	Lost      uint64   `json:"lost"`
	Seconds   float64  `json:"seconds"`
	FPS       float64  `json:"fps"`
	P50       float64  `json:"latency_p50_ms"`
	P99       float64  `json:"latency_p99_ms"`
	MIoU      *float64 `json:"synthetic_miou"` // 0..100, against the drive's exact labels: not an accuracy figure
	Unscored  uint64   `json:"unscored"`       // masks that came too late to be compared
	FirstMask float64  `json:"first_mask_ms"`
	Sheet     string   `json:"contact_sheet"`
}

// end writes the contact sheet and the summary.
func (d *demo) end(f *demoFlags, e engine, ln *lane) error {
	t := ln.loop.Stats().Totals()
	name := filepath.Join(f.out, "contact-sheet.png")
	if err := d.sheet(name, f, e); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r := demoReport{
		Frames: t.Captured, Received: d.got, Lost: t.Dropped() + t.Masks - min(t.Masks, d.got),
		Seconds: f.seconds, P50: d.latency.quantile(0.5), P99: d.latency.quantile(0.99),
		MIoU: d.miou(), Unscored: d.late, FirstMask: firstMask(t), Sheet: name,
	}
	if span := (t.Last - t.First).Seconds(); span > 0 {
		r.FPS = float64(t.Masks-1) / span
	}
	if d.fault != nil {
		return d.fault
	}
	if d.got == 0 {
		return fmt.Errorf("of %d frames no mask reached the subscriber; lost: %v", r.Frames, t.Drops)
	}
	if d.a.json {
		return d.a.printJSON(r)
	}
	d.a.printf("\n%d masks received of %d frames, %d lost; %.1f frames/s\n", r.Received, r.Frames, r.Lost, r.FPS)
	d.a.printf("capture to subscriber %.1f ms (p50), %.1f ms (p99)\n", r.P50, r.P99)
	if r.MIoU != nil {
		d.a.printf("mIoU %.1f against the drive's exact labels (synthetic, not an accuracy figure: see docs/accuracy.md)\n",
			*r.MIoU)
	}
	d.a.printf("look at %s\n", name)
	return nil
}
