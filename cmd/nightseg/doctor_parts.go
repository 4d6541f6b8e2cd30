package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"nightseg/camera/jpeg"
	"nightseg/edge/mqtt"
	"nightseg/edge/settings"
	"nightseg/model"
)

// config reads the settings file; the later checks look at what it names.
func (d *doctor) config(context.Context) {
	if d.f.config == "" {
		return
	}
	bases, _, err := settings.Load(d.f.config, "")
	s := bases[0].Settings
	if bases[0].Source != settings.FromFile {
		d.fail("settings", err.Error(), "correct the file: nightseg config check "+d.f.config)
		return
	}
	d.settings = s
	if d.f.bundle == "" {
		d.f.bundle = s.Bundle
	}
	d.takeEngine(s.Engine)
	if d.f.broker.URL == "" {
		d.f.broker = s.Broker
	}
	d.ok("settings", fmt.Sprintf("%s, %d cameras", d.f.config, len(s.Cameras)))
}

// takeEngine takes the engine of the settings, but for what flags have named.
func (d *doctor) takeEngine(e settings.Engine) {
	if d.f.engine == engineORT {
		d.f.engine = e.Name
	}
	if d.f.Provider == model.Auto {
		d.f.Provider = e.Provider
	}
	if d.f.Precision == model.Auto {
		d.f.Precision = e.Precision
	}
	if d.f.Threads == 0 {
		d.f.Threads = e.Threads
	}
	if d.f.LibDir == "" {
		d.f.LibDir = e.LibDir
	}
}

func (d *doctor) libraries(context.Context) {
	const remedy = "run make setup-ort, or name the folder with --lib-dir"
	file, err := ortLibrary(d.f.LibDir)
	if err != nil {
		d.fail("onnxruntime", err.Error(), remedy)
		return
	}
	providers, err := ortProviders(d.f.LibDir)
	if err != nil {
		d.fail("onnxruntime", err.Error(), remedy)
		return
	}
	text := fmt.Sprintf("%s, providers %s", file, strings.Join(providers, ", "))
	if len(providers) == 1 && providers[0] == model.CPU {
		d.warn("onnxruntime", text,
			"on x86 the openvino provider is about a third faster in int8: run make setup-ort")
		return
	}
	d.ok("onnxruntime", text)
}

// bundle opens the bundle and runs its golden picture.
func (d *doctor) bundle(ctx context.Context) {
	b, err := d.f.openBundle()
	if err != nil {
		d.fail("bundle", err.Error(), "")
		return
	}
	d.ok("bundle", fmt.Sprintf("%s %s, %s", b.Name, b.Version, b.Path))
	e, err := openEngine(d.f.engine, b, d.f.Options)
	if err != nil {
		d.fail("engine", err.Error(), "")
		return
	}
	info := e.Info()
	checks, err := model.Verify(ctx, b, e)
	if d.f.fallsBack(b, err) {
		d.warn("engine", err.Error(), "fp32 runs instead, which takes longer; "+int8Remedy)
		if err := e.Close(); err != nil {
			d.fail("engine", err.Error(), "")
		}
		return
	}
	if err := errors.Join(err, e.Close()); err != nil {
		d.fail("engine", err.Error(), "another --provider or --precision may do: nightseg bundle verify "+b.Path)
		return
	}
	var shares []string
	for _, p := range sortedKeys(info.NodeShare) {
		shares = append(shares, fmt.Sprintf("%.0f %% of the nodes on %s", 100*info.NodeShare[p], p))
	}
	d.ok("engine", fmt.Sprintf("%s, %v; loaded in %d ms",
		strings.Join(shares, ", "), checks[0], info.LoadTime.Milliseconds()))
	for _, n := range info.Notes {
		d.ok("engine", "note: "+n)
	}
}

func (d *doctor) decoder(context.Context) {
	if jpeg.Library == "image/jpeg" {
		d.warn("jpeg", "decoded by "+jpeg.Library+", about five times slower than libjpeg-turbo",
			"install libjpeg62-turbo-dev and build with cgo")
		return
	}
	d.ok("jpeg", "decoded by "+jpeg.Library)
}

// reachBroker connects as a subscriber that asks for nothing that is sent.
func (d *doctor) reachBroker(ctx context.Context) {
	b := d.f.broker
	switch b.URL {
	case "":
		d.ok("broker", "none was named (--broker or --config)")
		return
	case brokerEmbedded, brokerNone:
		d.ok("broker", b.URL)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d.f.timeout)
	defer cancel()
	connected := false
	var last error
	start := time.Now()
	options := mqtt.WatchOptions{Filters: []string{mqtt.Root + "/doctor/doctor/none"}, Options: mqtt.Options{
		Logger: slog.New(slog.DiscardHandler),
		OnState: func(s mqtt.ConnectionState) {
			if s.Connected {
				connected = true
				cancel()
			} else if s.Err != nil && !connected {
				last = s.Err
			}
		},
	}}
	b.ClientID = "" // a second client of the service's id would throw it out
	endpointOf(b).Apply(&options.Options)
	err := mqtt.Watch(ctx, options, func(mqtt.Message) {})
	switch {
	case connected:
		d.ok("broker", fmt.Sprintf("%s answered after %d ms", b.URL, time.Since(start).Milliseconds()))
	case err != nil:
		d.fail("broker", err.Error(), "")
	case last != nil:
		d.fail("broker", last.Error(), "")
	default:
		d.fail("broker", fmt.Sprintf("%s does not answer within %v", b.URL, d.f.timeout),
			"check address and firewall")
	}
}
