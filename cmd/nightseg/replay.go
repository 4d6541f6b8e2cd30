package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"nightseg/camera"
	"nightseg/edge"
	"nightseg/edge/settings"
	"nightseg/model"
)

// The words of --rate and --publish.
const (
	rateRealtime    = "realtime"
	rateMax         = "max"
	publishLossless = "lossless"
	publishLive     = "live"
)

// replayFlags are what replay was asked to do.
type replayFlags struct {
	modelFlags
	live    settings.Live
	std     float64
	camera  settings.Camera
	broker  settings.Broker
	sender  sender
	rate    string
	publish string
	out     string
	frames  int
	await   time.Duration
}

func newReplayCommand(a *app) *cobra.Command {
	f := &replayFlags{live: settings.Default().Live(), broker: settings.Default().Broker}
	c := &cobra.Command{
		Use:   "replay SOURCE",
		Short: "Run recorded frames through the loop that runs on the vehicle",
		Long: "replay takes a folder of pictures, a tree of Dark Zurich sequences, a video file or synth://\n" +
			"through the same loop as run: no frame is lost, and every mask reaches the broker (QoS 1),\n" +
			"unless --publish live asks for what a camera would see.\n\n" +
			"It ends with a summary; with --json with one JSON object. masks_sha256 is over sequence\n" +
			"number, width, height and classes of every mask in order.",
		Example: "  nightseg replay drive/ --rate max --out seen/\n" +
			"  nightseg replay drive.mp4 --broker embedded        # beside it: nightseg watch\n" +
			"  nightseg replay 'synth://?seed=7&frames=300' --broker mqtt://vehicle:1883 --json",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f.camera.Source = args[0]
			if c.Flags().Changed("std") {
				f.live.Reweight.Std = &f.std
			}
			return a.replay(c.Context(), f)
		},
	}
	fs := c.Flags()
	f.modelFlags.add(fs)
	f.addShape(fs)
	f.addLive(fs)
	addCameraFlags(fs, &f.camera)
	addBrokerFlags(fs, &f.broker, &f.sender)
	fs.StringVar(&f.rate, "rate", rateRealtime, "realtime (as recorded), max, or frames per second")
	fs.StringVar(&f.publish, "publish", publishLossless, "lossless: every frame, QoS 1; live: as on a vehicle")
	f.addParallel(fs, "0: with --rate max, and without --out, one a thread; else 1")
	fs.StringVar(&f.out, "out", "", "folder to write frame, relit frame, mask and overlay of each frame to")
	fs.IntVar(&f.frames, "frames", 0, "end after so many frames; 0: at the end of the source")
	fs.DurationVar(&f.await, "await-subscriber", 0, "embedded broker: wait so long for someone to subscribe to the masks")
	return c
}

// addLive adds the flags of the settings that a service can change while it runs.
func (f *replayFlags) addLive(fs *pflag.FlagSet) {
	fs.StringVar(&f.live.Relight.Mode, "relight", f.live.Relight.Mode, relightHelp)
	fs.StringVar(&f.live.Relight.Gate, "gate", f.live.Relight.Gate, "when to relight: always, dark or never")
	fs.Float64Var(&f.std, "std", 0, "spread of the class weights; 0: off (default: as the bundle says)")
	fs.StringVar(&f.live.Reweight.Mode, "reweight", f.live.Reweight.Mode, "bundle, probability or logit")
	fs.Float64Var(&f.live.Threshold, "threshold", 0, "a pixel below this probability is unknown; 0: none is")
	fs.StringVar(&f.live.Codec, "codec", f.live.Codec, "form of a mask message: png or rle-zstd")
}

func addCameraFlags(fs *pflag.FlagSet, c *settings.Camera) {
	c.Night = settings.DefaultNight()
	fs.StringVar(&c.ID, "camera", "front", "id of the camera in topics and messages")
	fs.StringVar(&c.Fit, "fit", "bundle", "how a picture gets the bundle's shape: bundle, stretch, crop or letterbox")
	fs.IntVar(&c.Rotate, "rotate", 0, "degrees clockwise: 0, 90, 180 or 270")
	fs.BoolVar(&c.FlipH, "flip-h", false, "mirror left and right, after rotating")
	fs.BoolVar(&c.FlipV, "flip-v", false, "mirror top and bottom, after rotating")
	fs.BoolVar(&c.Loop, "loop", false, "start again at the end")
}

func addBrokerFlags(fs *pflag.FlagSet, b *settings.Broker, s *sender) {
	b.URL = brokerNone
	addBroker(fs, b, "mqtt://host:1883, mqtts://host:8883, embedded or none")
	fs.StringVar(&b.Listen, "listen", b.Listen, "address of the embedded broker")
	fs.BoolVar(&b.AllowRemote, "allow-remote", false, "let the embedded broker listen where other machines reach it")
	d := settings.Default()
	fs.StringVar(&s.fleet, "fleet", d.Fleet, "first level of the topics")
	fs.StringVar(&s.device, "device", d.Device, "second level of the topics")
}

// settings checks the flags by the rules of the settings file.
func (f *replayFlags) settings() (settings.Settings, error) {
	s := settings.Default().With(f.live)
	s.Fleet, s.Device, s.Broker, s.Cameras = f.sender.fleet, f.sender.device, f.broker, []settings.Camera{f.camera}
	switch {
	case f.publish != publishLossless && f.publish != publishLive:
		return s, fail(exitUsage, "--publish %q is not lossless or live", f.publish)
	case f.frames < 0:
		return s, fail(exitUsage, "--frames %d must not be below 0", f.frames)
	case f.parallel > 1 && f.out != "":
		return s, fail(exitUsage, "--parallel %d does not go with --out: relit pictures are kept of one frame at a time",
			f.parallel)
	case f.await > 0 && f.broker.URL != brokerEmbedded:
		return s, fail(exitUsage, "--await-subscriber needs --broker embedded: another broker does not tell who subscribes")
	}
	if err := f.checkParallel(); err != nil {
		return s, err
	}
	if f.rate == rateMax && f.out == "" {
		f.parallel = f.perThread()
	}
	switch f.rate {
	case rateRealtime, rateMax:
	default:
		v, err := strconv.ParseFloat(f.rate, 64)
		if err != nil || !(v > 0 && v <= 1000) {
			return s, fail(exitUsage, "--rate %q is not realtime, max, or a number above 0 and at most 1000", f.rate)
		}
		s.Cameras[0].Rate = v
	}
	return s, usage(s.Validate())
}

func (f *replayFlags) policy() edge.Policy {
	if f.publish == publishLive {
		return edge.Live
	}
	return edge.Lossless
}

func (f *replayFlags) play() play {
	switch {
	case f.rate == rateMax:
		return playMax
	case f.publish == publishLive:
		return playLive
	}
	return playRealtime
}

// newRun returns the id of this start of the program.
func newRun() string { return rand.Text()[:12] }

// connectWait is how long replay waits for the broker.
const connectWait = 10 * time.Second

func (a *app) replay(ctx context.Context, f *replayFlags) (err error) {
	s, err := f.settings()
	if err != nil {
		return err
	}
	f.sender.run = newRun()
	l, err := openLink(linkOptions{
		Broker: s.Broker, sender: f.sender, qos: 0, queue: s.Publish.Queue,
		logger: atLeast(slog.LevelWarn, slog.Default()),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	b, e, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	src, err := openCamera(ctx, s.Cameras[0], b, f.play())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if err := l.waitConnected(ctx, connectWait); err != nil {
		return err
	}
	if l.broker != nil {
		a.notef("broker of this process: %s", l.url)
	}
	if f.await > 0 {
		if err := awaitSubscriber(ctx, l, s.Cameras[0].ID, f.await); err != nil {
			return err
		}
	}
	return a.play(ctx, f, b, e, l, src)
}

// play runs the loop and tells what came of it.
func (a *app) play(
	ctx context.Context, f *replayFlags, b *model.Bundle, e engine, l *link, src *camera.Source,
) (err error) {
	total := src.Len()
	if f.frames > 0 && (total < 0 || f.frames < total) {
		total = f.frames
	}
	bar := a.progress(total, "replay")
	taps := &taps{hash: newMaskHash(), bar: bar}
	if f.out != "" {
		if taps.pictures, err = newPictures(f.out, b); err != nil {
			return err
		}
	}
	ln, err := newLane(laneParts{
		camera: f.camera.ID, source: src, frames: f.frames, engine: e,
		publish: l.outlet(f.policy(), 0), tap: taps, sender: f.sender,
		Options: edge.Options{
			Policy: f.policy(), KeepRelit: f.out != "", CPUClock: true, Parallel: e.Info().Parallel,
			Health: edge.NewHealth(l.status), Grace: connectWait,
		},
	}, f.live, b)
	if err != nil {
		return err
	}
	cameras := []cameraMeta{{f.camera.ID, camera.Redact(f.camera.Source)}}
	if err := l.sendMeta(f.sender.run, b, e.Info(), cameras); err != nil {
		return err
	}
	l.status(false, "")
	rep := &reporter{link: l, lanes: always(reported{ln, src, len(b.Classes)}), interval: time.Second}
	stop := rep.start()
	cpu, wall := processCPU(), time.Now()
	err = ln.loop.Run(ctx)
	if err == nil {
		err = flushAll(ctx, l)
	}
	spent := measured{cpu: processCPU() - cpu, wall: time.Since(wall)}
	stop()
	bar.Done()
	if err != nil {
		return err
	}
	if err := a.replayReport(f, b, e.Info(), ln, src.Counters(), taps.hash.Sum(), spent); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fail(exitFailed, "interrupted after %d frames", ln.loop.Stats().Totals().Masks)
	}
	return nil
}

// stopWait is how long masks may still be acknowledged after Ctrl-C.
const stopWait = 2 * time.Second

// flushAll waits for the broker to acknowledge all masks: until Ctrl-C, or after
// it for a while.
func flushAll(ctx context.Context, l *link) error {
	if ctx.Err() != nil {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
		defer cancel()
		ctx = late
	}
	return l.flush(ctx)
}

// measured is what a run cost.
type measured struct{ cpu, wall time.Duration }

// replayReport is the JSON object at the end of a replay.
type replayReport struct {
	Frames       uint64                    `json:"frames"` // masks that were decided and handed over
	Dropped      uint64                    `json:"dropped"`
	Drops        map[string]uint64         `json:"drops"`
	Source       map[string]uint64         `json:"source"`
	Seconds      float64                   `json:"seconds"`
	FPS          float64                   `json:"fps"`
	Stages       map[string]edge.Quantiles `json:"stages_ms"`
	CoreMs       map[string]float64        `json:"core_ms"` // thread time per frame and stage of the loop's own threads
	CorePerFrame float64                   `json:"core_ms_per_frame"`
	MaskBytes    uint64                    `json:"mask_bytes"`
	FirstMaskMs  float64                   `json:"first_mask_ms"` // from the start of the program
	Engine       string                    `json:"engine"`
	Provider     string                    `json:"provider"`
	Precision    string                    `json:"precision"`
	Library      string                    `json:"library"`
	Parallel     int                       `json:"parallel"` // frames in the networks at a time
	Bundle       string                    `json:"bundle_sha256"`
	Masks        string                    `json:"masks_sha256"`
}

func (a *app) replayReport(
	f *replayFlags, b *model.Bundle, info model.Info, ln *lane, lost map[string]uint64, hash string, spent measured,
) error {
	t := ln.loop.Stats().Totals()
	r := replayReport{
		Frames: t.Masks, Dropped: t.Dropped(), Drops: t.Drops, Source: lost,
		Seconds: spent.wall.Seconds(), Stages: t.Stages, CoreMs: t.CoreMs, MaskBytes: t.MaskBytes,
		FirstMaskMs: firstMask(t), Engine: info.Engine, Provider: info.Provider, Precision: info.Precision,
		Library: info.Library, Parallel: max(info.Parallel, 1), Bundle: b.SHA256, Masks: hash,
	}
	for why, n := range lost {
		if !strings.HasPrefix(why, camera.RestartPrefix) { // those are no frames
			r.Dropped += n
		}
	}
	if r.Seconds > 0 {
		r.FPS = float64(r.Frames) / r.Seconds
	}
	if r.Frames > 0 {
		r.CorePerFrame = spent.cpu.Seconds() * 1000 / float64(r.Frames)
	}
	if a.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
	}
	a.printf("%d frames in %.1f s: %.1f frames/s, %d lost\n", r.Frames, r.Seconds, r.FPS, r.Dropped)
	a.printf("%s, %s on %s; %.1f ms of processor time a frame, %.1f ms from capture to hand-over (p50)\n",
		b.Name, info.Precision, info.Provider, r.CorePerFrame, r.Stages[edge.StageTotal.String()].P50)
	a.printf("first mask %.0f ms after the start of the program\n", r.FirstMaskMs)
	a.printf("masks_sha256 %s\n", hash)
	if f.out != "" {
		a.printf("pictures in %s\n", f.out)
	}
	if r.Frames == 0 {
		return fmt.Errorf("no frame of %s got a mask", camera.Redact(f.camera.Source))
	}
	return nil
}
