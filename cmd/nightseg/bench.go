package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"nightseg/edge/settings"
	"nightseg/relight"
)

// benchFlags are what bench was asked to time.
type benchFlags struct {
	modelFlags
	source string
	relit  string
	codec  string
	broker string
	frames int
	rounds int
	starts int
	force  bool
	check  bool
	self   []string // how this program is started, for starts and a broker beside it
}

// brokerProcess is a broker in a process of its own, whose time is not ours.
const brokerProcess = "process"

func newBenchCommand(a *app) *cobra.Command {
	f := &benchFlags{}
	c := &cobra.Command{
		Use:   "bench [SOURCE]",
		Short: "Time the stages, the networks, the whole loop, and the start of the program",
		Long: "bench times, in rounds that take turns: decoding and fitting, the networks alone, the loop with\n" +
			"networks that cost nothing (what is left is everything outside the networks: its processor time\n" +
			"counts all threads of the process), and the whole loop as fast as it goes. Then the time from\n" +
			"starting the program to its first mask at a subscriber, with and without compiled networks kept;\n" +
			"the files are in the page cache (bench/start.py in a checkout puts them out of it).\n\n" +
			"SOURCE is a folder of pictures; without one it draws a synthetic drive and stores it as JPEG.\n" +
			"Masks go to a broker in a process of its own (--broker). While other programs are at work it\n" +
			"refuses: exit code 3, also with --check where a limit does not hold.",
		Example: "  nightseg bench\n" +
			"  nightseg bench drive/images --precision fp32 --json\n" +
			"  nightseg bench --rounds 9 --starts 0 --check",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				f.source = args[0]
			}
			return a.bench(c.Context(), f)
		},
	}
	fs := c.Flags()
	f.modelFlags.add(fs)
	f.addShape(fs)
	f.addParallel(fs, "0: one a thread, as replay --rate max")
	fs.StringVar(&f.source, "images", "", "the same as SOURCE")
	fs.StringVar(&f.relit, "relight", modeBundle, relightHelp+"; on every frame")
	fs.StringVar(&f.codec, "codec", settings.Default().Codec, "form of a mask message: png or rle-zstd")
	fs.StringVar(&f.broker, "broker", brokerProcess,
		"process (one beside this program), mqtt://host:1883, or none")
	fs.IntVar(&f.frames, "frames", 120, "frames of each measurement")
	fs.IntVar(&f.rounds, "rounds", 5, "measurements of each kind")
	fs.IntVar(&f.starts, "starts", 3, "starts of the program with and without compiled networks; 0: none")
	fs.BoolVar(&f.force, "force", false, "time although other programs are at work (the figures say so)")
	fs.BoolVar(&f.check, "check", false, "exit with 3 where a limit does not hold")
	c.AddCommand(newServeBroker(a), newBenchCodecs(a))
	return c
}

func (f *benchFlags) validate() error {
	if err := f.checkParallel(); err != nil {
		return err
	}
	f.parallel = f.perThread()
	switch {
	case f.frames < 2 || f.frames > 10000:
		return fail(exitUsage, "--frames %d is outside 2 to 10000", f.frames)
	case f.rounds < 1 || f.rounds > 1000:
		return fail(exitUsage, "--rounds %d is outside 1 to 1000", f.rounds)
	case f.starts < 0 || f.starts > 100:
		return fail(exitUsage, "--starts %d is outside 0 to 100", f.starts)
	case f.starts > 0 && f.broker == brokerNone:
		return fail(exitUsage, "--broker none: nobody would see the first mask; add --starts 0")
	}
	if len(f.self) == 0 {
		exe, err := os.Executable()
		if err != nil {
			return err
		}
		f.self = []string{exe}
	}
	return nil
}

func (f *benchFlags) live() settings.Live {
	l := settings.Default().Live()
	l.Relight.Mode, l.Relight.Gate, l.Codec = f.relit, string(relight.Always), f.codec
	return l
}

func (a *app) bench(ctx context.Context, f *benchFlags) (err error) {
	if err := f.validate(); err != nil {
		return err
	}
	load := newLoadMeter(os.DirFS("/"))
	if err := load.quiet(ctx, f.force, a); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "nightseg-bench-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b, e, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if _, bad := stagesOf(f.live(), b); len(bad) > 0 {
		return usage(settings.Errors(bad))
	}
	bn := &bench{f: f, bundle: b, engine: e, load: load, url: f.broker}
	if err := bn.pictures(ctx, dir, a); err != nil {
		return err
	}
	if f.broker == brokerProcess {
		child, err := startBrokerProcess(ctx, f.self)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, child.close()) }()
		bn.url = child.url
		load.beside(child.cmd.Process.Pid)
	}
	r, err := bn.measure(ctx, a)
	if err != nil {
		return err
	}
	if r.Starts, err = bn.starts(ctx, a, dir); err != nil {
		return err
	}
	return a.benchReport(f, r)
}

// measure runs all rounds; the allocations are counted before, which warms up.
func (bn *bench) measure(ctx context.Context, a *app) (*benchResult, error) {
	bar := a.progress(bn.f.rounds*len(benchSteps), "bench")
	defer bar.Done()
	if err := bn.countAllocations(ctx); err != nil {
		return nil, fmt.Errorf("bench: allocations: %w", err)
	}
	var all []benchRound
	for range bn.f.rounds {
		var r benchRound
		before := bn.load.read()
		for _, step := range benchSteps {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := step.run(bn, ctx, &r); err != nil {
				return nil, fmt.Errorf("bench: %s: %w", step.name, err)
			}
			bar.Add(1)
		}
		r.others = bn.load.since(before)
		all = append(all, r)
	}
	return bn.result(all)
}

// info describes what was timed.
func (bn *bench) info() benchInfo {
	i := bn.engine.Info()
	return benchInfo{
		Bundle: bn.bundle.Name + " " + bn.bundle.Version, SHA256: bn.bundle.SHA256,
		Engine: i.Engine, Provider: i.Provider, Precision: i.Precision, Library: i.Library, Threads: i.Threads,
		Parallel: max(i.Parallel, 1), Classes: len(bn.bundle.Classes),
		NodeShare: i.NodeShare, LoadMs: float64(i.LoadTime) / 1e6,
		Relight: relightOr(bn.f.relit, bn.bundle), Codec: bn.f.codec,
		Pictures: bn.from, Shape: bn.bundle.Shapes[0], Frames: bn.perRound,
		Rounds: bn.f.rounds, Broker: bn.f.broker,
	}
}
