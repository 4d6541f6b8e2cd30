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
	flags    *runFlags
	settings settings.Settings // to start with
	source   string            // where they are from
	run      string
	stateDir string
	health   *edge.Health
	link     *link
	pipeline *pipeline
	degraded atomic.Bool
	ready    chan struct{} // closed when the cameras are there
	tracker  *settings.LiveTracker
	level    slog.LevelVar
	stats    chan time.Duration // another interval of the statistics
	manager  *alive.Manager     // nil: no service manager started this
	alive    *alive.Group       // nil: nobody wants to know
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
	s := &service{
		flags: f, run: newRun(), stateDir: stateDir(), ready: make(chan struct{}), stats: make(chan time.Duration, 1),
	}
	fileErr := s.load(f)
	if fileErr != nil && (f.strict && s.source != settings.FromFile) {
		return usage(fileErr)
	}
	s.level.Set(logLevel(s.settings.Log.Level))
	slog.SetDefault(slog.New(journal.New(a.err, s.settings.Log.Format, &s.level)))
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
	nets, err := s.networks(ctx)
	if err != nil {
		s.health.Set(partBundle, err.Error())
		return errors.Join(err, s.link.waitConnected(ctx, tellWait))
	}
	if err := s.build(nets); err != nil {
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
		onDesired: func(b []byte) { s.desired(ctx, b) }, logger: slog.Default(),
	})
	if err != nil {
		return err
	}
	s.link = l
	s.health = edge.NewHealth(func(degraded bool, reason string) {
		s.degraded.Store(degraded)
		l.status(degraded, reason)
	})
	if l.client != nil {
		l.client.SetSchema(settings.DesiredSchema())
	}
	return nil
}

// networks opens bundle and engine to start with. Where the named bundle is bad it
// goes on with the one that ships, degraded.
func (s *service) networks(ctx context.Context) (*loaded, error) {
	defer s.manager.Starting("networks are loaded, or compiled for this machine", mostStart)()
	nets, err := s.open(ctx, s.settings)
	if err == nil || s.flags.strict || s.settings.Bundle == "" && s.settings.Engine.Shape == "" {
		return nets, err
	}
	slog.Error("bundle refused", "error", err)
	ships := s.settings
	ships.Bundle, ships.Engine.Shape = "", ""
	nets, second := s.open(ctx, ships)
	if second != nil {
		return nil, errors.Join(err, second)
	}
	s.health.Set(partBundle, fmt.Sprintf("%v; running %s, which ships", err, nets.bundle.Name))
	return nets, nil
}

// open opens the bundle and the engine of settings.
func (s *service) open(ctx context.Context, c settings.Settings) (*loaded, error) {
	m := s.modelFlags(c)
	m.parallel = s.parallel(c)
	b, e, err := m.open(ctx)
	if err != nil {
		return nil, err
	}
	return &loaded{b, e}, nil
}

func (s *service) modelFlags(c settings.Settings) modelFlags {
	return modelFlags{bundle: c.Bundle, engine: c.Engine.Name, shape: c.Engine.Shape, Options: model.Options{
		Provider: c.Engine.Provider, Precision: c.Engine.Precision, Threads: c.Engine.Threads,
		CacheDir: s.flags.CacheDir, LibDir: c.Engine.LibDir,
	}}
}

// parallel is how many engines cameras share. Where there are several, as many
// frames at a time go through as threads allow, which gives all of them more a
// second, and each less wait, than one frame on all threads.
func (s *service) parallel(c settings.Settings) int {
	m := s.modelFlags(c)
	return min(len(c.Cameras), m.perThread())
}

// build makes the pipeline.
func (s *service) build(nets *loaded) error {
	s.pipeline = &pipeline{
		stationParts: stationParts{
			sender: sender{s.settings.Fleet, s.settings.Device, s.run},
			outlet: func(rate float64) edge.Publisher { return s.link.outlet(edge.Live, rate) },
			health: s.health, alive: s.alive, degraded: &s.degraded,
		},
		open: s.open, parallel: s.parallel,
		meta: func(cameras []cameraMeta, n *loaded) error {
			return s.link.sendMeta(s.run, n.bundle, n.engine.Info(), cameras)
		},
	}
	s.settings = s.settings.With(s.live(nets.bundle))
	s.tracker.File = s.settings
	if s.link.client != nil {
		s.link.client.SetReported(s.tracker.Reported().JSON())
	}
	return s.pipeline.begin(arrangement{settings: s.settings, nets: nets})
}

// live are the live settings to start with: those of the file, or where the
// bundle does not allow them, the bundle's own.
func (s *service) live(b *model.Bundle) settings.Live {
	l := s.settings.Live()
	_, bad := stagesOf(l, b)
	if len(bad) == 0 {
		return l
	}
	s.health.Set(partLiveSettings, settings.Errors(bad).Error())
	l = settings.Default().Live()
	if b.Graphs.Relight == nil && b.Graphs.Fused == nil {
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
		c, bad := s.pipeline.Prepare(ctx, s.settings.With(l), doc.Version)
		if len(bad) > 0 {
			return bad
		}
		if err := c.Apply(ctx); err != nil {
			return []settings.FieldError{{Problem: err.Error(), Remedy: "send it again"}}
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
	if bad, reason := s.health.State(); bad {
		s.link.status(bad, reason)
	} else {
		s.link.status(false, "")
	}
	rep := &reporter{
		link: s.link, lanes: s.pipeline.reported, interval: time.Duration(s.settings.Stats.Interval), every: s.stats,
		stateDir: s.stateDir,
	}
	stop := rep.start()
	nets := s.pipeline.now().nets
	slog.Info("running", "run", s.run, "bundle", nets.bundle.Name, "provider", nets.engine.Info().Provider,
		"broker", s.link.url)
	var wg sync.WaitGroup
	wg.Go(func() { s.pipeline.watchPast(ctx) })
	s.pipeline.start(ctx)
	close(s.ready)
	kept := s.keepAlive(ctx)
	s.pipeline.wait()
	wg.Wait()
	kept()
	stop()
	slog.Info("stopping")
}

// close ends what was opened, the connection last, so that "stopped" is told.
func (s *service) close() error {
	var errs []error
	if s.pipeline != nil {
		errs = append(errs, s.pipeline.close())
	}
	if s.link != nil {
		errs = append(errs, s.link.close())
	}
	return errors.Join(errs...)
}
