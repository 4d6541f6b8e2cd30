package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"nightseg/edge/decide"
	"nightseg/edge/frame"
	"nightseg/edge/message"
	"nightseg/edge/settings"
	"nightseg/relight"
)

// Limits of the time of one processor that a mask of 640x480 pixels takes to
// encode, in ms; for other sizes they do not count.
const (
	limitPNGMs    = 1.0
	limitRLEMs    = 0.5
	codecsLimited = 640 * 480
)

// codecFlags are what bench codecs was asked to time.
type codecFlags struct {
	benchFlags
	sources []string
	out     string
}

func newBenchCodecs(a *app) *cobra.Command {
	f := &codecFlags{}
	c := &cobra.Command{
		Use:   "codecs SOURCE...",
		Short: "Sizes of predicted masks in each codec, and the time to encode them",
		Long: "codecs takes frames of recordings through the networks, and puts each mask into a message of each\n" +
			"codec, header included, turn by turn on one thread. Times are of that thread's processor alone. With\n" +
			"--out the PNG messages are kept, for other programs to encode the same masks: bench/run.sh mask_sizes of\n" +
			"a checkout does so.\n\n" +
			"While other programs are at work it refuses (exit code 3), also with --check where a limit does not hold.",
		Example: "  nightseg bench codecs drive/images\n" +
			"  nightseg bench codecs drive/images other/images --frames 60 --out masks --json",
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f.sources = args
			return a.benchCodecs(c.Context(), f)
		},
	}
	fs := c.Flags()
	f.modelFlags.add(fs)
	fs.StringVar(&f.relit, "relight", modeBundle, relightHelp+"; on every frame")
	fs.IntVar(&f.frames, "frames", 120, "frames of each source, at most")
	fs.IntVar(&f.rounds, "rounds", 5, "times that each mask is encoded")
	fs.StringVar(&f.out, "out", "", "folder to write the PNG messages to; it is made")
	fs.BoolVar(&f.force, "force", false, "time although other programs are at work (the figures say so)")
	fs.BoolVar(&f.check, "check", false, "exit with 3 where a limit does not hold")
	f.codec, f.broker = string(message.PNG), brokerNone
	return c
}

// codecFigures are those of one codec.
type codecFigures struct {
	Codec string  `json:"codec"`
	Bytes float64 `json:"bytes_mean"`
	P95   float64 `json:"bytes_p95"`
	Ms    spread  `json:"ms_core"`
	P99   float64 `json:"ms_core_p99"`
}

// codecsResult is what bench codecs found, as --json prints it.
type codecsResult struct {
	Bundle    string         `json:"bundle"`
	SHA256    string         `json:"bundle_sha256"`
	Precision string         `json:"precision"`
	Provider  string         `json:"provider"`
	Sources   []string       `json:"sources"`
	Masks     int            `json:"masks"`
	Shape     [2]int         `json:"shape"` // height, width
	Rounds    int            `json:"rounds"`
	Others    float64        `json:"other_programs_cores"`
	Codecs    []codecFigures `json:"codecs"`
	Limits    []limit        `json:"limits"`
}

func (a *app) benchCodecs(ctx context.Context, f *codecFlags) (err error) {
	if err := f.validate(); err != nil {
		return err
	}
	load := newLoadMeter(os.DirFS("/"))
	if err := load.quiet(ctx, f.force, a); err != nil {
		return err
	}
	b, e, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	s, bad := stagesOf(f.live(), b)
	if len(bad) > 0 {
		return usage(settings.Errors(bad))
	}
	bn := &bench{f: &f.benchFlags, bundle: b, engine: e}
	var masks []*frame.Mask
	for _, source := range f.sources {
		more, err := bn.predict(ctx, source, s, a)
		if err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
		masks = append(masks, more...)
	}
	env, err := newEnvelope(b, sender{fleet: "bench", device: "codecs"}, message.PNG)
	if err != nil {
		return err
	}
	if err := keepMasks(f.out, masks, env); err != nil {
		return err
	}
	before, i := load.read(), e.Info()
	r := &codecsResult{
		Bundle: b.Name + " " + b.Version, SHA256: b.SHA256, Precision: i.Precision, Provider: i.Provider,
		Masks: len(masks), Shape: b.Shapes[0], Rounds: f.rounds,
	}
	for _, source := range f.sources {
		r.Sources = append(r.Sources, filepath.Base(filepath.Dir(source))+"/"+filepath.Base(source))
	}
	if r.Codecs, err = timeCodecs(ctx, masks, env, f.rounds, a); err != nil {
		return err
	}
	r.Others = load.since(before)
	r.Limits = r.limits()
	if err := f.refuseBusy(spreadOf([]float64{r.Others})); err != nil {
		return err
	}
	return a.codecsReport(f, r)
}

// predict returns the masks of a source's frames.
func (bn *bench) predict(ctx context.Context, source string, s stageSettings, a *app) (_ []*frame.Mask, err error) {
	src, err := openCamera(ctx, settings.Camera{ID: "bench", Source: source, Fit: "bundle"}, bn.bundle, playMax)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	planner, err := relight.New(s.relight)
	if err != nil {
		return nil, err
	}
	decider, err := decide.New(s.decide)
	if err != nil {
		return nil, err
	}
	bar := a.progress(bn.f.frames, "masks")
	defer bar.Done()
	var masks []*frame.Mask
	var f, relit frame.Frame
	var logits frame.Logits
	run := newRun()
	for len(masks) < bn.f.frames {
		if err := src.Next(ctx, &f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		shown, err := planner.Plan(&relit, &f)
		if err != nil {
			return nil, err
		}
		if err := bn.engine.Infer(&logits, shown); err != nil {
			return nil, err
		}
		m := new(frame.Mask)
		if err := decider.Decide(m, &logits); err != nil {
			return nil, err
		}
		m.Camera, m.Run = "bench", run
		masks = append(masks, m)
		bar.Add(1)
	}
	if len(masks) == 0 {
		return nil, errors.New("it holds no frames")
	}
	return masks, nil
}

// keepMasks writes the masks as PNG messages, if a folder is named.
func keepMasks(dir string, masks []*frame.Mask, env *envelope) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	var b []byte
	for i, m := range masks {
		var err error
		if b, err = env.Append(b[:0], m); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%06d.png", i)), b, 0o644); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	return nil
}

// timeCodecs encodes each mask with each codec in turn, the order turned round
// from round to round; what the encoder allocates at first is not part of it.
func timeCodecs(
	ctx context.Context, masks []*frame.Mask, env *envelope, rounds int, a *app,
) ([]codecFigures, error) {
	bar := a.progress(rounds, "encode")
	defer bar.Done()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	codecs := message.Codecs()
	sizes, times := make([]samples, len(codecs)), make([]samples, len(codecs))
	var b []byte
	for n := -1; n < rounds; n++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for _, m := range masks {
			for k := range codecs {
				if n%2 == 0 {
					k = len(codecs) - 1 - k
				}
				env.apply(codecs[k])
				t := threadCPU()
				var err error
				if b, err = env.Append(b[:0], m); err != nil {
					return nil, err
				}
				if t = threadCPU() - t; n >= 0 {
					times[k].add(float64(t) / 1e6)
				} else {
					sizes[k].add(float64(len(b)))
				}
			}
		}
		if n >= 0 {
			bar.Add(1)
		}
	}
	found := make([]codecFigures, len(codecs))
	for k, c := range codecs {
		sum := 0.0
		for _, v := range sizes[k].values {
			sum += v
		}
		found[k] = codecFigures{
			Codec: string(c), Bytes: sum / float64(len(sizes[k].values)), P95: sizes[k].quantile(0.95),
			Ms: spreadOf(times[k].values), P99: times[k].quantile(0.99),
		}
	}
	return found, nil
}

// limits holds the median times against their bounds, which are for one size.
func (r *codecsResult) limits() []limit {
	if r.Shape[0]*r.Shape[1] != codecsLimited {
		return nil
	}
	most := map[string]float64{string(message.PNG): limitPNGMs, string(message.RLEZstd): limitRLEMs}
	var list []limit
	for _, c := range r.Codecs {
		if l, ok := most[c.Codec]; ok {
			list = append(list, limit{
				What: c.Codec + ", ms to encode a mask, median", Value: c.Ms.Median, Limit: l, Holds: c.Ms.Median <= l,
			})
		}
	}
	return list
}

func (a *app) codecsReport(f *codecFlags, r *codecsResult) error {
	if a.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
	}
	a.printf("%s", r.text())
	if f.check && slices.ContainsFunc(r.Limits, func(l limit) bool { return !l.Holds }) {
		return fail(exitRefused, "an encoder is slower than its limit")
	}
	return nil
}

// text is the report for people.
func (r *codecsResult) text() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d masks of %d x %d pixels by %s, %s on %s, each %d times; other programs kept %.2f cores busy\n",
		r.Masks, r.Shape[1], r.Shape[0], r.Bundle, r.Precision, r.Provider, r.Rounds, r.Others)
	fmt.Fprintf(&s, "%-10s %10s %10s  ms of one core, median (least to most), p99\n", "codec", "bytes", "p95")
	for _, c := range r.Codecs {
		fmt.Fprintf(&s, "%-10s %10.0f %10.0f  %v  %.2f\n", c.Codec, c.Bytes, c.P95, c.Ms, c.P99)
	}
	for _, l := range r.Limits {
		fmt.Fprintf(&s, "%s %s: %.4g (limit %g)\n", holds(l.Holds), l.What, l.Value, l.Limit)
	}
	return s.String()
}
