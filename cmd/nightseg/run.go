package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"nightseg/camera"
	"nightseg/edge"
	"nightseg/edge/alive"
	"nightseg/edge/journal"
	"nightseg/edge/settings"
	"nightseg/model"
)

// defaultConfig is the settings file of the installed service.
const defaultConfig = "/etc/nightseg/nightseg.yaml"

// runFlags are what run was asked to do.
type runFlags struct {
	modelFlags
	config  string
	strict  bool
	changed func(flag string) bool
}

func newRunCommand(a *app) *cobra.Command {
	f := &runFlags{}
	c := &cobra.Command{
		Use:   "run",
		Short: "The service: cameras in, masks out, until it is told to stop",
		Long: "run reads the cameras of the settings file, publishes their masks, and goes on through lost\n" +
			"cameras and brokers. It takes settings over MQTT (config/desired) between two frames. Where the\n" +
			"settings file is bad it runs on the last good one, or the factory settings, says so in its\n" +
			"status and log, and exits only with --strict. Ctrl-C and SIGTERM end it: the last mask and the\n" +
			"status \"stopped\" are sent. The flags that choose networks and engine go before the file.",
		Example: "  nightseg run --config nightseg.yaml\n" +
			"  nightseg run --config nightseg.yaml --strict --provider openvino\n" +
			"  nightseg config example > nightseg.yaml",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f.changed = c.Flags().Changed
			return a.run(c.Context(), f)
		},
	}
	f.modelFlags.add(c.Flags())
	f.addShape(c.Flags())
	c.Flags().StringVar(&f.config, "config", "", "settings file (default: "+defaultConfig+" where it is there)")
	c.Flags().BoolVar(&f.strict, "strict", false, "exit with 2 on bad settings, and with 1 on a bad bundle")
	return c
}

// service is a running nightseg.
type service struct {
	settings settings.Settings
	source   string // where the settings are from
	run      string
	stateDir string
	health   *edge.Health
	link     *link
	bundle   *model.Bundle
	engine   engine
	lanes    []*lane
	cameras  []*liveCamera
	degraded atomic.Bool
	ready    chan struct{} // closed when the lanes are there
	tracker  *settings.LiveTracker
	manager  *alive.Manager // nil: no service manager started this
	alive    *alive.Group   // nil: nobody wants to know
}

// Parts of the service that can be a reason to be degraded, beside the cameras.
const (
	partSettings     = "settings"
	partLiveSettings = "live settings"
	partBundle       = "bundle"
)

// tellWait is how long a start that fails waits for a broker to tell it why.
const tellWait = 2 * time.Second

func (a *app) run(ctx context.Context, f *runFlags) (err error) {
	s := &service{run: newRun(), stateDir: stateDir(), ready: make(chan struct{})}
	fileErr := s.load(f)
	if fileErr != nil && (f.strict && s.source != settings.FromFile) {
		return usage(fileErr)
	}
	slog.SetDefault(slog.New(journal.New(a.err, s.settings.Log.Format, logLevel(s.settings.Log.Level))))
	s.findManager()
	defer func() { err = errors.Join(err, s.close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before close, which waits for those who wait for the lanes
	if err := s.connect(ctx); err != nil {
		return err
	}
	if fileErr != nil {
		slog.Error("settings", "error", fileErr, "in_force", s.source)
		s.health.Set(partSettings, fileErr.Error())
	}
	if err := s.networks(ctx, f); err != nil {
		s.health.Set(partBundle, err.Error())
		return errors.Join(err, s.link.waitConnected(ctx, tellWait))
	}
	if err := s.build(); err != nil {
		return err
	}
	s.loops(ctx)
	return nil
}

// load reads the settings file, or what stands in for it, and puts the flags
// that were given before it.
func (s *service) load(f *runFlags) error {
	name := f.config
	if _, err := os.Stat(defaultConfig); name == "" && err == nil {
		name = defaultConfig
	}
	var err error
	s.settings, s.source, err = settings.Load(name, filepath.Join(s.stateDir, "last-good.yaml"))
	if s.settings.StateDir != "" {
		s.stateDir = s.settings.StateDir
	}
	e := &s.settings.Engine
	for flag, set := range map[string]func(){
		"bundle":    func() { s.settings.Bundle = f.bundle },
		"engine":    func() { e.Name = f.engine },
		"provider":  func() { e.Provider = f.Provider },
		"precision": func() { e.Precision = f.Precision },
		"threads":   func() { e.Threads = f.Threads },
		"shape":     func() { e.Shape = f.shape },
		"lib-dir":   func() { e.LibDir = f.LibDir },
	} {
		if f.changed(flag) {
			set()
		}
	}
	s.tracker = &settings.LiveTracker{File: s.settings, Run: s.run, Source: s.source}
	if err != nil {
		s.tracker.FileError = err.Error()
	}
	return err
}

func logLevel(name string) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(name)); err != nil { // cannot be: settings are checked
		return slog.LevelInfo
	}
	return l
}

// stateDir is where a service keeps what it must remember.
func stateDir() string {
	if d, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); d != "" { // set by systemd
		return d
	}
	return filepath.Join(model.DefaultCacheDir(), "state")
}

// connect opens the way to the broker first, so that whatever goes wrong
// afterwards can be told.
func (s *service) connect(ctx context.Context) error {
	c := s.settings
	l, err := openLink(linkOptions{
		Broker: c.Broker, sender: sender{c.Fleet, c.Device, s.run}, qos: byte(c.Publish.QoS), queue: c.Publish.Queue,
		spool: spoolOptions(&c, s.stateDir), onDesired: func(b []byte) { s.desired(ctx, b) }, logger: slog.Default(),
	})
	if err != nil {
		return err
	}
	s.link = l
	s.health = edge.NewHealth(func(degraded bool, reason string) {
		s.degraded.Store(degraded)
		l.status(degraded, reason)
	})
	l.watch(s.health)
	if l.client != nil {
		l.client.SetSchema(settings.DesiredSchema())
	}
	return nil
}

// networks opens bundle and engine. Where the named bundle is bad it goes on
// with the one that ships, degraded.
func (s *service) networks(ctx context.Context, f *runFlags) error {
	e := s.settings.Engine
	m := modelFlags{bundle: s.settings.Bundle, engine: e.Name, shape: e.Shape, Options: model.Options{
		Provider: e.Provider, Precision: e.Precision, Threads: e.Threads, CacheDir: f.CacheDir, LibDir: e.LibDir,
	}}
	defer s.manager.Starting("networks are loaded, or compiled for this machine", mostStart)()
	// Cameras share the engine: where there are several, as many frames at a time go through it as threads
	// allow, which gives all of them more a second, and each less wait, than one frame on all threads.
	m.parallel = min(len(s.settings.Cameras), m.perThread())
	var err error
	s.bundle, s.engine, err = m.open(ctx)
	if err == nil || f.strict || m.bundle == "" && m.shape == "" {
		return err
	}
	slog.Error("bundle refused", "error", err)
	m.bundle, m.shape = "", ""
	var second error
	if s.bundle, s.engine, second = m.open(ctx); second != nil {
		return errors.Join(err, second)
	}
	s.health.Set(partBundle, fmt.Sprintf("%v; running %s, which ships", err, s.bundle.Name))
	return nil
}

// build makes a lane for each camera.
func (s *service) build() error {
	var described []cameraMeta
	live := s.live()
	s.tracker.File = s.settings.With(live)
	if s.link.client != nil {
		s.link.client.SetReported(s.tracker.Reported().JSON())
	}
	for _, c := range s.settings.Cameras {
		described = append(described, cameraMeta{c.ID, camera.Redact(c.Source)})
		open := func(ctx context.Context) (opened, error) { return openCamera(ctx, c, s.bundle, playLive) }
		cam := newLiveCamera(c.ID, open, camera.NewWatcher(), s.health)
		s.cameras = append(s.cameras, cam)
		l, err := newLane(laneParts{
			camera: c.ID, source: cam, degraded: &s.degraded, engine: s.engine,
			publish: s.link.outlet(edge.Live, s.settings.Publish.Rate),
			sender:  sender{s.settings.Fleet, s.settings.Device, s.run},
			Options: edge.Options{Policy: edge.Live, Health: s.health, Alive: s.alive},
		}, live, s.bundle)
		if err != nil {
			return usage(fmt.Errorf("camera %s: %w", c.ID, err))
		}
		s.lanes = append(s.lanes, l)
	}
	return s.link.sendMeta(s.run, s.bundle, s.engine.Info(), described)
}

// live are the live settings to start with: those of the file, or where the
// bundle does not allow them, the bundle's own.
func (s *service) live() settings.Live {
	l := s.settings.Live()
	_, bad := stagesOf(l, s.bundle)
	if len(bad) == 0 {
		return l
	}
	s.health.Set(partLiveSettings, settings.Errors(bad).Error())
	l = settings.Default().Live()
	if s.bundle.Graphs.Relight == nil && s.bundle.Graphs.Fused == nil {
		l.Relight.Mode = "gamma"
	}
	return l
}

// desired handles a document from config/desired.
func (s *service) desired(ctx context.Context, b []byte) {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return
	}
	doc, _ := settings.ParseDesired(b, s.tracker.File) // for its version; Handle tells what is wrong
	ack := s.tracker.Handle(b, func(l settings.Live) []settings.FieldError {
		stages, bad := stagesOf(l, s.bundle)
		if len(bad) > 0 {
			return bad
		}
		for _, lane := range s.lanes {
			if err := lane.apply(ctx, stages, doc.Version); err != nil {
				return []settings.FieldError{{Problem: err.Error(), Remedy: "send it again"}}
			}
		}
		return nil
	})
	if ack.Result == "applied" {
		s.health.Clear(partLiveSettings)
	}
	reported := s.tracker.Reported()
	slog.Info("config/desired", "version", ack.Version, "result", ack.Result, "errors", settings.Errors(ack.Errors))
	s.link.client.SetReported(reported.JSON())
	if !s.link.client.Ack(ack.JSON()) {
		slog.Warn("config/ack: the broker does not take answers", "version", ack.Version)
	}
}

// loops runs the lanes until ctx is done.
func (s *service) loops(ctx context.Context) {
	close(s.ready)
	if bad, reason := s.health.State(); bad {
		s.link.status(bad, reason)
	} else {
		s.link.status(false, "")
	}
	sources := make([]edge.Source, len(s.cameras))
	for i, c := range s.cameras {
		sources[i] = c
	}
	rep := &reporter{
		link: s.link, lanes: s.lanes, sources: sources, classes: len(s.bundle.Classes),
		interval: time.Duration(s.settings.Stats.Interval), stateDir: s.stateDir,
	}
	stop := rep.start()
	slog.Info("running", "run", s.run, "bundle", s.bundle.Name, "provider", s.engine.Info().Provider, "broker", s.link.url)
	var wg sync.WaitGroup
	for _, l := range s.lanes {
		wg.Go(func() {
			if err := l.loop.Run(ctx); err != nil {
				s.health.Set(l.camera, err.Error())
				slog.Error("loop ended", "camera", l.camera, "error", err)
			}
		})
	}
	kept := s.keepAlive(ctx)
	wg.Wait()
	kept()
	stop()
	slog.Info("stopping")
}

// close ends what was opened, the connection last, so that "stopped" is told.
func (s *service) close() error {
	var errs []error
	for _, c := range s.cameras {
		errs = append(errs, c.Close())
	}
	if s.engine != nil {
		errs = append(errs, s.engine.Close())
	}
	if s.link != nil {
		errs = append(errs, s.link.close())
	}
	return errors.Join(errs...)
}
