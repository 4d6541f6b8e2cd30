package main

import (
	"bytes"
	"context"
	"fmt"
	"image/jpeg"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"nightseg/camera"
	"nightseg/edge"
	"nightseg/edge/frame"
	"nightseg/edge/outbox"
	"nightseg/edge/settings"
	"nightseg/model"
)

// memoryTap reads the allocations of the whole process at two frames.
type memoryTap struct {
	hash     *maskHash
	from, to int
	n        int
	end      func() // called after the second
	at       [2]runtime.MemStats
}

// See implements edge.Tap.
func (m *memoryTap) See(_, _ *frame.Frame, mask *frame.Mask) error {
	m.hash.Write(mask)
	switch m.n {
	case m.from:
		runtime.ReadMemStats(&m.at[0])
	case m.to:
		runtime.ReadMemStats(&m.at[1])
		m.end()
	}
	m.n++
	return nil
}

// perFrame are the allocations and bytes per frame between the two.
func (m *memoryTap) perFrame() (allocs, bytes float64) {
	n := float64(m.to - m.from)
	return float64(m.at[1].Mallocs-m.at[0].Mallocs) / n, float64(m.at[1].TotalAlloc-m.at[0].TotalAlloc) / n
}

// mostAllocs is what the rest of the process (timers, the runtime, the figures
// of each second) may take, per frame.
const mostAllocs = 0.2

// TestLoopAllocatesNothing counts the allocations of the whole process, without
// a broker: capture, relighting, networks, decision, encoding, and the hash of a
// replay.
func TestLoopAllocatesNothing(t *testing.T) {
	needEngine(t)
	dir := t.TempDir()
	for i := range 400 { // so many that the folder is listed once
		var b bytes.Buffer
		if err := jpeg.Encode(&b, scene(96, 64, i%8), nil); err != nil {
			t.Fatal(err)
		}
		saveText(t, filepath.Join(dir, fmt.Sprintf("%d.jpg", i)), b.String())
	}
	b, e := openTiny(t)
	for _, c := range []struct {
		name   string
		source string
		play   play
		policy edge.Policy
		relit  string
		codec  string
		broker bool
	}{
		{"folder, network, png", dir, playMax, edge.Lossless, "network", "png", false},
		{"folder, clahe, rle-zstd", dir, playMax, edge.Lossless, "clahe", "rle-zstd", false},
		{"synth, network, png", "synth://?seed=7&size=48x32&fps=240&loop=8", playLive, edge.Live, "network", "png", false},
		{"synth, gamma, png", "synth://?seed=7&size=48x32&fps=240&loop=8", playLive, edge.Live, "gamma", "png", false},
		{"synth, through a broker", "synth://?seed=7&size=48x32&fps=240&loop=8", playLive, edge.Live, "network", "png", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			live := settings.Default().Live()
			live.Relight.Mode, live.Relight.Gate, live.Codec = c.relit, "always", c.codec
			src := openTest(t, settings.Camera{ID: "front", Source: c.source, Loop: true}, b, c.play)
			publish := edge.Publisher(noOutlet{})
			from := 60
			if c.broker {
				publish = outletToProcess(t)
				from = 600 // by then as much is remembered for the broker's proof as ever will be
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			tap := &memoryTap{hash: newMaskHash(), from: from, to: from + 240, end: cancel}
			health := edge.NewHealth(nil)
			ln, err := newLane(laneParts{
				camera: "front", source: src, engine: e,
				publish: publish, tap: tap, sender: sender{"test", "car1", "r"},
				Options: edge.Options{Policy: c.policy, Health: health, CPUClock: true},
			}, live, b)
			if err != nil {
				t.Fatal(err)
			}
			if err := ln.loop.Run(ctx); err != nil {
				t.Fatal(err)
			}
			if tap.n <= tap.to {
				t.Fatalf("%d masks only; %v", tap.n, ln.loop.Stats().Totals().Drops)
			}
			allocs, bytes := tap.perFrame()
			t.Logf("%.3f allocations, %.0f bytes per frame", allocs, bytes)
			if allocs > mostAllocs {
				t.Errorf("%.2f allocations (%.0f bytes) per frame in the whole process, want at most %v", allocs, bytes, mostAllocs)
			}
		})
	}
}

// outletToProcess publishes to a broker in a process of its own, so that what is
// counted here is our side.
func outletToProcess(t *testing.T) edge.Publisher {
	t.Helper()
	t.Setenv(asProgram, "1")
	b, err := startBrokerProcess(t.Context(), selfInTest())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.close() }) // the test's context may have killed it
	broker := settings.Default().Broker
	broker.URL = b.url
	l, err := openLink(linkOptions{
		Broker: broker, sender: sender{"test", "car1", "r"}, queue: 8, logger: quietLog(),
		spool: outbox.Options{Dir: t.TempDir(), ReducedEvery: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.close() })
	if err := l.waitConnected(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	return l.outlet(edge.Live, 0)
}

// openTiny opens the small bundle with ONNX Runtime.
func openTiny(t *testing.T) (*model.Bundle, engine) {
	t.Helper()
	f := modelFlags{bundle: tinyBundle(t), engine: engineORT, Options: model.Options{Threads: 1}}
	b, e, err := f.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, e
}

func openTest(t *testing.T, c settings.Camera, b *model.Bundle, p play) *camera.Source {
	t.Helper()
	src, err := openCamera(t.Context(), c, b, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	})
	return src
}
