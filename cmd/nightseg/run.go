package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	"nightseg/edge/control"
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
	root    string
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
	c.Flags().StringVar(&f.root, "root", "/", "folder with /sys, /proc and /dev of a recorded machine, for its board")
	return c
}

// service is a running nightseg.
type service struct {
	flags    *runFlags
	settings settings.Settings // to start with
	run      string
	stateDir string
	health   *edge.Health
	link     *link
	pipeline *pipeline
	degraded atomic.Bool
	control  *control.Controller
	updates  *updates
	stop     context.CancelFunc // ends the service as a signal does
	level    slog.LevelVar
	stats    chan time.Duration // another interval of the statistics
	manager  *alive.Manager     // nil: no service manager started this
	alive    *alive.Group       // nil: nobody wants to know
	board    *boardService      // nil: none
	around   surroundings
	reported reportedNow
}

// Parts of the service that can be a reason to be degraded, beside the cameras.
const (
	partFile   = "settings file"
	partLive   = "live settings"
	partBundle = "bundle"
	partChange = "settings"
)

// tellWait is how long a start that fails waits for a broker to tell it why.
const tellWait = 2 * time.Second

func (a *app) run(ctx context.Context, f *runFlags) (err error) {
	s := &service{flags: f, run: newRun(), stateDir: stateDir(), stats: make(chan time.Duration, 1)}
	s.health = edge.NewHealth(func(degraded bool, reason string) {
		s.degraded.Store(degraded)
		if s.link != nil {
			s.link.status(degraded, reason)
		}
		s.board.show(degraded, reason)
	})
	fileErr := s.load(a.err)
	if fileErr != nil && f.strict {
		return usage(fileErr)
	}
	s.findManager()
	defer func() { err = errors.Join(err, s.close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.stop, s.updates = cancel, newUpdates(s)
	if err := s.connect(); err != nil {
		return err
	}
	if fileErr != nil {
		s.health.Set(partFile, fileErr.Error())
	}
	if err := s.openBoard(cancel); err != nil {
		return err
	}
	defer s.board.start(ctx)()
	if !s.awaitCool(ctx) {
		return s.board.ended()
	}
	nets, err := s.networks(ctx)
	if ctx.Err() != nil { // told to stop meanwhile
		if nets != nil {
			return errors.Join(s.board.ended(), nets.engine.Close())
		}
		return s.board.ended()
	}
	if err != nil {
		s.health.Set(partBundle, err.Error())
		return errors.Join(err, s.link.waitConnected(ctx, tellWait))
	}
	if err := s.build(nets); err != nil {
		return err
	}
	s.loops(ctx)
	return s.board.ended()
}

// load reads the settings file, or what stands in for it, with the flags that were
// given over it, and what was remembered of changes to it. It returns why the file
// is not used.
func (s *service) load(log io.Writer) error {
	name := s.flags.config
	if _, err := os.Stat(defaultConfig); name == "" && err == nil {
		name = defaultConfig
	}
	lastGood := filepath.Join(s.stateDir, "last-good.yaml")
	bases, text, err := settings.Load(name, lastGood)
	for i := range bases {
		s.flags.over(&bases[i].Settings)
	}
	if d := bases[0].Settings.StateDir; d != "" {
		s.stateDir = d
	}
	o := control.Options{
		Bases: bases, Dir: filepath.Join(s.stateDir, "settings"), Run: s.run,
		Answer: func(a settings.Ack) {
			s.link.answer(a)
			s.updates.answered(a)
		},
		Report:   s.report,
		Degraded: func(reason string) { s.health.Note(partChange, reason) },
		Keep:     func() error { return settings.Keep(lastGood, text) },
		Bundle:   func() string { return s.pipeline.now().nets.bundle.SHA256 },
	}
	s.level.Set(logLevel(bases[0].Settings.Log.Level))
	slog.SetDefault(slog.New(journal.New(log, bases[0].Settings.Log.Format, &s.level)))
	o.Logger = slog.Default()
	if err != nil {
		o.FileError = err.Error()
		slog.Error("settings", "error", err, "in_force", bases[0].Source)
	}
	s.control = control.New(o)
	s.settings = s.control.InForce().Settings
	s.level.Set(logLevel(s.settings.Log.Level))
	if bases[0].Source == settings.FromFile {
		return nil // what is wrong is the copy, which is told
	}
	return err
}

// over puts the flags that were given over settings.
func (f *runFlags) over(s *settings.Settings) {
	for flag, set := range map[string]func(){
		"bundle":    func() { s.Bundle = f.bundle },
		"engine":    func() { s.Engine.Name = f.engine },
		"provider":  func() { s.Engine.Provider = f.Provider },
		"precision": func() { s.Engine.Precision = f.Precision },
		"threads":   func() { s.Engine.Threads = f.Threads },
		"shape":     func() { s.Engine.Shape = f.shape },
		"lib-dir":   func() { s.Engine.LibDir = f.LibDir },
	} {
		if f.changed(flag) {
			set()
		}
	}
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
func (s *service) connect() error {
	c := s.settings
	l, err := openLink(linkOptions{
		Broker: c.Broker, sender: sender{c.Fleet, c.Device, s.run}, qos: byte(c.Publish.QoS), queue: c.Publish.Queue,
		spool: spoolOptions(&c, s.stateDir), onDesired: s.control.Offer, onCommand: s.updates.command,
		logger: slog.Default(),
	})
	if err != nil {
		return err
	}
	s.link = l
	if degraded, reason := s.health.State(); degraded {
		l.status(degraded, reason)
	}
	l.watch(s.health)
	if l.client != nil {
		l.client.SetSchema(settings.DesiredSchema())
	}
	return nil
}

// networks opens bundle and engine to start with. Where those of a document cannot
// be opened it goes back to the settings before it; where those of the file cannot,
// it goes on with the bundle that ships, degraded.
func (s *service) networks(ctx context.Context) (*loaded, error) {
	defer s.manager.Starting("networks are loaded, or compiled for this machine", mostStart)()
	nets, err := s.open(ctx, s.settings)
	for err != nil && ctx.Err() == nil && s.control.InForce().Version > 0 {
		slog.Error("settings", "version", s.control.InForce().Version, "error", err)
		was := s.settings
		s.settings = s.control.Fallback(err.Error()).Settings
		if settings.Changes(was, s.settings).Broker && s.link.client != nil {
			if err := s.link.client.Redirect(endpointOf(s.settings.Broker)); err != nil {
				slog.Error("broker", "error", err)
			}
		}
		nets, err = s.open(ctx, s.settings)
	}
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
	e := c.Engine
	return modelFlags{bundle: c.Bundle, engine: e.Name, shape: e.Shape, state: s.stateDir, Options: model.Options{
		Provider: e.Provider, Precision: e.Precision, Threads: e.Threads, CacheDir: s.flags.CacheDir, LibDir: e.LibDir,
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
			health: s.health, alive: s.alive, degraded: &s.degraded, around: &s.around,
		},
		open: s.open, parallel: s.parallel,
		meta: func(cameras []cameraMeta, n *loaded) error {
			return s.link.sendMeta(s.run, n.bundle, n.engine.Info(), cameras)
		},
	}
	d := s.control.InForce()
	return s.pipeline.begin(arrangement{
		settings: d.Settings.With(s.live(d.Settings, nets.bundle)), version: d.Version, nets: nets,
	})
}

// live are the live settings to start with: those of the file, or where the
// bundle does not allow them, the bundle's own.
func (s *service) live(c settings.Settings, b *model.Bundle) settings.Live {
	_, bad := stagesOf(c.Live(), b)
	if len(bad) == 0 {
		return c.Live()
	}
	s.health.Set(partLive, settings.Errors(bad).Error())
	return settings.Default().Live()
}

// loops runs the lanes until ctx is done.
func (s *service) loops(ctx context.Context) {
	rep := &reporter{
		link: s.link, lanes: s.pipeline.reported, interval: time.Duration(s.settings.Stats.Interval), every: s.stats,
		stateDir: s.stateDir, board: s.board.snapshot,
	}
	stop := rep.start()
	nets := s.pipeline.now().nets
	slog.Info("running", "run", s.run, "bundle", nets.bundle.Name, "provider", nets.engine.Info().Provider,
		"broker", s.link.url)
	s.pipeline.start(ctx)
	s.settle(s.settings)
	s.board.started(s.pipeline)
	s.link.status(s.health.State())
	var wg sync.WaitGroup
	wg.Go(func() { s.pipeline.watchPast(ctx) })
	wg.Go(func() { s.begun(ctx) })
	wg.Go(func() { s.control.Run(ctx, s) })
	wg.Go(func() { s.updates.run(ctx) })
	kept := s.keepAlive(ctx)
	wg.Wait()
	s.pipeline.wait()
	kept()
	stop()
	slog.Info("stopping")
}

// begun tells when the settings that this run began with have shown that the
// process lives with them.
func (s *service) begun(ctx context.Context) {
	figures, _ := s.pipeline.prove(ctx, s.settings.Probation, nil) // how cameras do is not asked
	if ctx.Err() == nil {
		s.control.Started(trialReport{Since: figures})
	}
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
	return errors.Join(append(errs, s.control.Close())...)
}
