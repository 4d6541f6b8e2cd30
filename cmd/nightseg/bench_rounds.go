package main

import (
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"nightseg/camera/fit"
	"nightseg/camera/images"
	jpegturbo "nightseg/camera/jpeg"
	"nightseg/camera/synth"
	"nightseg/edge"
	"nightseg/edge/frame"
	"nightseg/edge/settings"
	"nightseg/model"
	"nightseg/relight"
)

// bench holds what the measurements share.
type bench struct {
	f        *benchFlags
	bundle   *model.Bundle
	engine   engine
	load     *loadMeter
	url      string // of the broker, or none
	dir      string // folder of the pictures
	from     string // where the pictures are from
	perRound int
	frames   []*frame.Frame // decoded and fitted
	logits   []frame.Logits // what the networks make of them
	eighths  []frame.Logits // the same at 1/8 of the picture
	allocs   allocations
}

// benchRound is one measurement of each kind, in ms per frame.
type benchRound struct {
	decode, fit       float64 // processor time of one thread
	segment, networks cost    // networks alone: without relighting, and as asked for
	outside           cost    // the loop with networks that cost nothing
	stages            map[string]float64
	whole             cost
	decide            decideTimes

	others float64 // cores that other programs kept busy
}

// cost is the time of a frame in ms: on the wall clock, and of all processors
// for all threads of the process.
type cost struct{ wall, core float64 }

// benchSteps are the measurements, in the order in which they take turns.
var benchSteps = []struct {
	name string
	run  func(*bench, context.Context, *benchRound) error
}{
	{"decode and fit", (*bench).decodeAndFit},
	{"segment network", func(b *bench, ctx context.Context, r *benchRound) (err error) {
		r.segment, err = b.networks(ctx, false)
		return err
	}},
	{"networks", func(b *bench, ctx context.Context, r *benchRound) (err error) {
		r.networks, err = b.networks(ctx, true)
		return err
	}},
	{"decide", (*bench).decide},
	{"loop without networks", func(b *bench, ctx context.Context, r *benchRound) (err error) {
		p := &prepared{logits: b.logits}
		r.outside, r.stages, err = b.loop(ctx, b.url, p, nil)
		r.outside.core -= b.perFrame(time.Duration(p.copying.Load()))
		return err
	}},
	{"whole loop", func(b *bench, ctx context.Context, r *benchRound) (err error) {
		r.whole, _, err = b.loop(ctx, b.url, b.engine, nil)
		return err
	}},
}

// mostPictures bounds the pictures that are kept decoded.
const mostPictures = 64

// pictures takes the pictures of the source, or draws some, and prepares what
// the networks make of them.
func (bn *bench) pictures(ctx context.Context, tmp string, a *app) (err error) {
	bn.dir, bn.from = bn.f.source, bn.f.source
	if bn.dir == "" {
		bn.dir, bn.from = filepath.Join(tmp, "drive"), "synthetic drive, JPEG"
		if err := drawDrive(ctx, bn.dir, bn.bundle.Shapes[0], a); err != nil {
			return err
		}
	}
	src, err := openCamera(ctx, settings.Camera{ID: "bench", Source: bn.dir, Fit: "bundle"}, bn.bundle, playMax)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	planner, err := bn.planner()
	if err != nil {
		return err
	}
	for len(bn.frames) < mostPictures {
		var f, relit frame.Frame
		if err := src.Next(ctx, &f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		shown, err := planner.Plan(&relit, &f)
		if err != nil {
			return err
		}
		var l frame.Logits
		if err := bn.engine.Infer(&l, shown); err != nil {
			return err
		}
		bn.frames, bn.logits, bn.eighths = append(bn.frames, shown), append(bn.logits, l), append(bn.eighths, eighth(&l))
	}
	if len(bn.frames) == 0 {
		return fmt.Errorf("no pictures in %s", bn.dir)
	}
	bn.perRound = bn.f.frames
	if src.Len() != len(bn.frames) { // the loop must see the prepared pictures only
		bn.perRound = min(bn.perRound, len(bn.frames))
	}
	return nil
}

func (bn *bench) planner() (*relight.Planner, error) {
	s, bad := stagesOf(bn.f.live(), bn.bundle)
	if len(bad) > 0 {
		return nil, settings.Errors(bad)
	}
	return relight.New(s.relight)
}

// The drive that is drawn: not one of training, and long enough for pictures
// that differ.
const (
	driveSeed   = 7002
	driveFrames = 24
	driveStep   = 10
)

func drawDrive(ctx context.Context, dir string, shape [2]int, a *app) error {
	r, err := synth.New(synth.Params{
		Seed: driveSeed, W: shape[1], H: shape[0], Time: synth.Night, Layout: synth.LayoutDemo,
	})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	bar := a.progress(driveFrames, "drawing pictures")
	defer bar.Done()
	var f frame.Frame
	for i := range driveFrames {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.Render(&f, nil, i*driveStep); err != nil {
			return err
		}
		file, err := os.Create(filepath.Join(dir, fmt.Sprintf("%06d.jpg", i)))
		if err != nil {
			return err
		}
		err = jpeg.Encode(file, rgba(&f), &jpeg.Options{Quality: 92})
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
		bar.Add(1)
	}
	return nil
}

// decodeAndFit times the two parts of the capture stage on one thread.
func (bn *bench) decodeAndFit(ctx context.Context, r *benchRound) (err error) {
	dec, err := jpegturbo.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dec.Close()) }()
	src, err := images.Open(bn.dir, images.Options{JPEG: dec, Loop: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	b := bn.bundle
	fitter, err := fit.New(fit.Settings{
		W: b.Shapes[0][1], H: b.Shapes[0][0], Fit: b.Resize.Fit, Filter: b.Resize.Filter,
		Antialias: b.Resize.Antialias,
	})
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var raw, fitted frame.Frame
	var decode, fitting time.Duration
	for range bn.perRound {
		t0 := threadCPU()
		if err := src.Next(ctx, &raw); err != nil {
			return err
		}
		t1 := threadCPU()
		if err := fitter.Fit(&fitted, &raw); err != nil {
			return err
		}
		decode, fitting = decode+t1-t0, fitting+threadCPU()-t1
	}
	r.decode, r.fit = bn.perFrame(decode), bn.perFrame(fitting)
	return nil
}

func (bn *bench) perFrame(d time.Duration) float64 { return float64(d) / 1e6 / float64(bn.perRound) }

func threadCPU() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// networks times the networks on pictures that are in memory, as many at a time
// as the loop gives them.
func (bn *bench) networks(ctx context.Context, relit bool) (cost, error) {
	next, workers := new(atomic.Int64), max(bn.engine.Info().Parallel, 1)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	cpu, wall := processCPU(), time.Now()
	for w := range workers {
		wg.Go(func() {
			var l frame.Logits
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= bn.perRound {
					return
				}
				f := *bn.frames[i%len(bn.frames)] // the pixels are shared
				if !relit {
					f.Relight = frame.RelightNone
				}
				if errs[w] = bn.engine.Infer(&l, &f); errs[w] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	c := cost{wall: bn.perFrame(time.Since(wall)), core: bn.perFrame(processCPU() - cpu)}
	return c, errors.Join(append(errs, ctx.Err())...)
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// prepared stands for the networks: it hands over what they made of the pictures, as a
// copy that lies in the processor's cache, like theirs.
type prepared struct {
	logits  []frame.Logits
	copying atomic.Int64 // ns of processor time, which are a part of the networks' own
}

// Infer implements edge.Inferer.
func (p *prepared) Infer(dst *frame.Logits, src *frame.Frame) error {
	cpu := threadCPU()
	l := &p.logits[src.Seq%uint64(len(p.logits))]
	dst.Reset(l.C, l.H, l.W)
	dst.Meta, dst.OutH, dst.OutW = src.Meta, l.OutH, l.OutW
	copy(dst.Data, l.Data)
	p.copying.Add(int64(threadCPU() - cpu))
	return nil
}

// loop runs the loop of the service over the pictures, as fast as it goes.
// counter may be nil.
func (bn *bench) loop(
	ctx context.Context, url string, nets edge.Inferer, counter *allocCounter,
) (c cost, stages map[string]float64, err error) {
	who := sender{fleet: "bench", device: "loop", run: newRun()}
	broker := settings.Default().Broker
	broker.URL = url
	l, err := openLink(linkOptions{Broker: broker, sender: who, queue: 8, logger: quietLog()})
	if err != nil {
		return c, nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	src, err := openCamera(ctx, settings.Camera{ID: "bench", Source: bn.dir, Fit: "bundle", Loop: true},
		bn.bundle, playMax)
	if err != nil {
		return c, nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if err := l.waitConnected(ctx, connectWait); err != nil {
		return c, nil, err
	}
	parts := laneParts{
		camera: "bench", source: src, frames: bn.perRound, engine: nets,
		publish: l.outlet(edge.Lossless, 0), sender: who,
		Options: edge.Options{
			Policy: edge.Lossless, CPUClock: true, Grace: connectWait, Parallel: bn.engine.Info().Parallel,
		},
	}
	if counter != nil {
		parts.tap = counter
	}
	ln, err := newLane(parts, bn.f.live(), bn.bundle)
	if err != nil {
		return c, nil, err
	}
	cpu := processCPU()
	err = ln.loop.Run(ctx)
	if err == nil {
		err = l.flush(ctx)
	}
	c.core = bn.perFrame(processCPU() - cpu)
	if err != nil {
		return c, nil, err
	}
	t := ln.loop.Stats().Totals()
	if t.Masks != uint64(bn.perRound) {
		return c, nil, fmt.Errorf("%d masks of %d frames: %v", t.Masks, bn.perRound, t.Drops)
	}
	c.wall = float64(t.Last-t.First) / 1e6 / float64(bn.perRound-1)
	return c, t.CoreMs, nil
}
