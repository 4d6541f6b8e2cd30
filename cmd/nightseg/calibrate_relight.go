package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"nightseg/edge/settings"
	"nightseg/model"
	"nightseg/relight"
	"nightseg/score"
)

// relightFlags are what calibrate relight was asked to compare.
type relightFlags struct {
	modelFlags
	outFlags
	labelledFlags
	modes []string
	worth float64 // points of mIoU
}

// relightRule says how the mode is chosen; modes are listed from the cheapest on.
const relightRule = "the first, which is the cheapest, that is not surely behind the best " +
	"by more than --worth (the interval of the difference reaches it)"

func newCalibrateRelight(a *app) *cobra.Command {
	f := &relightFlags{}
	c := &cobra.Command{
		Use:   "relight",
		Short: "Choose how pictures are relit, on labelled pictures taken by night",
		Long: "relight scores a bundle on labelled pictures that are relit in each way: not at all, by gamma, CLAHE,\n" +
			"or its own network. It prints a table, and writes the choice into the bundle's next version: what\n" +
			"relight.mode: bundle then stands for.\n\n" +
			"Chosen is " + relightRule + ".\n" +
			"Intervals (95 %) are from a bootstrap over blocks of neighbouring frames. Sets to test on are refused.",
		Example: "  nightseg calibrate relight --images night/images --labels night/labels\n" +
			"  nightseg calibrate relight --bundle mine --images night/images --labels night/labels --out tuned",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.calibrateRelight(c.Context(), f) },
	}
	fs := c.Flags()
	f.modelFlags.add(fs)
	f.labelledFlags.add(fs)
	fs.StringSliceVar(&f.modes, "relight", nil, "modes to try, the cheapest first (default: none, gamma, clahe, and "+
		"network where the bundle has it)")
	fs.Float64Var(&f.worth, "worth", 0, "points of mIoU that a dearer mode must surely bring")
	f.outFlags.add(fs)
	return c
}

func (f *relightFlags) check() error {
	if err := f.labelledFlags.check(); err != nil {
		return err
	}
	if err := f.outFlags.check(); err != nil {
		return err
	}
	if !(f.worth >= 0 && f.worth < 100) {
		return fail(exitUsage, "--worth %g is outside 0 to 100 points", f.worth)
	}
	return new(lookFlags).guard(f.images, f.labels)
}

// newRelights makes an evaluation with a variant per mode.
func newRelights(f *relightFlags, b *model.Bundle) (*evaluation, error) {
	ev := &evaluation{bundle: b}
	var err error
	if ev.labels, err = newLabelReader(f.labels, f.mapFile, b.ClassNames()); err != nil {
		return nil, err
	}
	precision, err := b.Precision(f.Precision)
	if err != nil {
		return nil, usage(err)
	}
	modes := f.modes
	if len(modes) == 0 {
		modes = []string{"none", "gamma", "clahe"}
		if b.Graphs.Relight != nil || b.Graphs.Fused != nil {
			modes = append(modes, "network")
		}
	}
	for _, mode := range modes {
		g := &evalGroup{precision: precision}
		l := settings.Default().Live()
		l.Relight.Mode, l.Relight.Gate = mode, string(relight.Always)
		if err := g.add(l, b); err != nil {
			return nil, err
		}
		ev.groups = append(ev.groups, g)
	}
	return ev, nil
}

func (a *app) calibrateRelight(ctx context.Context, f *relightFlags) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	b, err := f.openBundle()
	if err != nil {
		return err
	}
	ev, err := newRelights(f, b)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ev.close()) }()
	if _, err := a.examine(ctx, f.images, ev, &f.modelFlags, new(lookFlags)); err != nil {
		return err
	}
	r := newRelightReport(f, ev)
	r.Out, err = f.revise(b, func(m *model.Manifest) error {
		m.Relight = r.Chosen.Mode
		return nil
	})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(r)
	}
	a.printf("%s", r.text())
	return nil
}

// relightReport is what calibrate relight found, as --json prints it. Scores are in
// percent.
type relightReport struct {
	Bundle    string         `json:"bundle"`
	SHA256    string         `json:"bundle_sha256"`
	Engine    string         `json:"engine"`
	Precision string         `json:"precision"`
	Set       string         `json:"set"`
	Frames    int            `json:"frames"`
	Block     int            `json:"bootstrap_block"`
	Modes     []relightPoint `json:"modes"`
	Chosen    relightPoint   `json:"chosen"`
	Rule      string         `json:"rule"`
	Worth     float64        `json:"worth"`
	Out       *written       `json:"out,omitempty"`
}

type relightPoint struct {
	Mode     string         `json:"mode"`
	MIoU     float64        `json:"miou"`
	Interval score.Interval `json:"interval"`
	Gain     float64        `json:"gain"` // over the first mode
	Spread   score.Interval `json:"gain_interval"`
	Behind   score.Interval `json:"behind_best_interval"`
}

func newRelightReport(f *relightFlags, ev *evaluation) *relightReport {
	boot := bootstrap(f.block, len(ev.lumas))
	b, all := ev.bundle, ev.variants()
	r := &relightReport{
		Bundle: b.Name + " " + b.Version, SHA256: b.SHA256, Engine: ev.source, Precision: all[0].precision,
		Set: setName(f.images), Frames: len(ev.lumas), Block: boot.Block, Rule: relightRule, Worth: f.worth,
	}
	miou := func(c *score.Confusion) float64 { return c.MIoU() }
	best := slices.MaxFunc(all, func(a, b *evalVariant) int {
		return cmp.Compare(total(a.frames).MIoU(), total(b.frames).MIoU())
	})
	for _, v := range all {
		p := relightPoint{
			Mode: v.relight, MIoU: percent(total(v.frames).MIoU()), Interval: inPercent(boot.Interval(v.frames, miou)),
			Behind: inPercent(boot.Difference(v.frames, best.frames, miou)),
			Spread: inPercent(boot.Difference(v.frames, all[0].frames, miou)),
		}
		if len(r.Modes) > 0 {
			p.Gain = p.MIoU - r.Modes[0].MIoU
		}
		r.Modes = append(r.Modes, p)
		if r.Chosen.Mode == "" && p.Behind.High >= -f.worth {
			r.Chosen = p
		}
	}
	return r
}

// text is the report for people.
func (r *relightReport) text() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s: %d frames; %s %s on %s; 95 %% intervals, blocks of %d frames\n",
		r.Set, r.Frames, r.Bundle, r.Precision, r.Engine, r.Block)
	fmt.Fprintf(&s, "  %-8s %6s %16s %8s %18s\n", "relight", "mIoU", "interval", "gain", "interval")
	for _, p := range r.Modes {
		mark := ""
		if p == r.Chosen {
			mark = "  chosen"
		}
		fmt.Fprintf(&s, "  %-8s %6.2f [%6.2f, %6.2f] %+8.2f [%+7.2f, %+7.2f]%s\n", p.Mode, p.MIoU,
			p.Interval.Low, p.Interval.High, p.Gain, p.Spread.Low, p.Spread.High, mark)
	}
	fmt.Fprintf(&s, "chosen: %s: %s\n", r.Chosen.Mode, r.Rule)
	if r.Out != nil {
		fmt.Fprintf(&s, "%s\n", r.Out)
	}
	return s.String()
}
