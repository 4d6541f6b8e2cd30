package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"nightseg/calibrate/gate"
	"nightseg/model"
)

// gateFlags are what calibrate gate was asked to judge.
type gateFlags struct {
	modelFlags
	lookFlags
	outFlags
	gateSet
	inPlace bool
}

func newCalibrateGate(a *app) *cobra.Command {
	f := &gateFlags{}
	c := &cobra.Command{
		Use:   "gate",
		Short: "Hold a bundle's int8 networks against its float networks, on labels or on a drive",
		Long:  gateHelp(gate.Default()),
		Example: "  nightseg calibrate gate --bundle mine --images val/images --labels val/labels\n" +
			"  nightseg calibrate gate --bundle mine --source drive/ --out proven\n" +
			"  nightseg calibrate gate --bundle mine --source drive.mp4 --in-place",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.calibrateGate(c.Context(), f) },
	}
	fs := c.Flags()
	f.modelFlags.add(fs)
	fs.Lookup("precision").Hidden = true // both, always
	fs.StringVar(&f.images, "images", "", "folder of pictures that have labels")
	fs.StringVar(&f.labels, "labels", "", "folder of their labels: PNG of class ids, named like the pictures")
	fs.StringVar(&f.mapFile, "map", "", `JSON file from label ids to classes, such as {"7": "road"}`)
	fs.StringVar(&f.source, "source", "", "drive without labels: folder, video or URI")
	fs.StringVar(&f.relight, "relight", "", relightHelp)
	fs.IntVar(&f.block, "block", 0, "frames in a block of the bootstrap; 0: the cube root of their number")
	fs.BoolVar(&f.inPlace, "in-place", false, "write the record into the bundle itself, as its next version")
	f.lookFlags.add(fs)
	f.outFlags.add(fs)
	return c
}

// gateHelp says what is judged, with the limits in force.
func gateHelp(l gate.Limits) string {
	return fmt.Sprintf("gate runs the int8 and the float networks of one bundle over the same frames.\n\n"+
		"With labels: the mIoU of int8 may lie %g point below that of float, and the IoU of each class with\n"+
		"at least %g %% of the labelled pixels %g points; the upper ends of the 95 %% intervals decide\n"+
		"(bootstrap over blocks of frames), not the means.\n"+
		"Without labels, over the whole drive: the IoU of int8 against float is at least %g %% for every class\n"+
		"with at least %g %% of the pixels, and both agree on at least %g %% of the pixels whose float margin\n"+
		"(best minus second logit) is not among the lowest %g %%.\n\n"+
		"Exit code 3: something does not hold; no bundle is written. Otherwise the record goes into the\n"+
		"bundle's next version, where --out or --in-place asks for it, and bundle verify shows it.",
		l.MIoUDrop, l.LabelShare, l.ClassDrop, l.IoU, l.PixelShare, l.Agreement, l.Uncertain)
}

func (f *gateFlags) check() error {
	switch {
	case f.source != "" && (f.images != "" || f.labels != ""):
		return fail(exitUsage, "--source is a drive without labels: leave out --images and --labels")
	case f.source == "" && (f.images == "" || f.labels == ""):
		return fail(exitUsage, "--images and --labels are needed (or --source)")
	case f.block < 0:
		return fail(exitUsage, "--block %d must not be below 0", f.block)
	case f.inPlace && f.out != "":
		return fail(exitUsage, "--in-place and --out: choose one")
	case f.look != "" && (f.inPlace || f.out != ""):
		return fail(exitRefused, "--look %s with --out or --in-place: nothing is chosen on a test set", f.look)
	case f.Precision != model.Auto:
		return fail(exitUsage, "--precision %s: the gate runs int8 and fp32", f.Precision)
	}
	if !f.inPlace {
		if err := f.outFlags.check(); err != nil {
			return err
		}
	}
	return f.guard(f.images, f.labels, f.source)
}

// gateReport is what calibrate gate found, as --json prints it.
type gateReport struct {
	Bundle  string     `json:"bundle"`
	SHA256  string     `json:"bundle_sha256"`
	Verdict string     `json:"verdict"` // holds or fails
	Record  model.Gate `json:"record"`
	Out     *written   `json:"out,omitempty"`
}

func (a *app) calibrateGate(ctx context.Context, f *gateFlags) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	b, err := f.openBundle()
	if err != nil {
		return err
	}
	g, err := newGateRun(&f.gateSet, b, b)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.ev.close()) }()
	log, err := f.openLog()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.close()) }()
	if err := g.ev.openEngines(ctx, &f.modelFlags); err != nil {
		return err
	}
	if err := a.gateFrames(ctx, g); err != nil {
		return err
	}
	r := &gateReport{Bundle: b.Name + " " + b.Version, SHA256: b.SHA256, Verdict: "fails"}
	record, err := g.record(0)
	if err != nil {
		return err
	}
	if record.Subject, err = b.Subject(); err != nil {
		return err
	}
	r.Record = *record
	if gate.Holds(record.Figures) {
		r.Verdict = "holds"
	}
	if err := log.add(f.look, r.glance()); err != nil {
		return err
	}
	return a.gateReport(f, b, r)
}

// glance is what is written down of a look.
func (r *gateReport) glance() glance {
	s := glance{bundle: r.Bundle, sha256: r.SHA256, frames: r.Record.Frames}
	for _, f := range r.Record.Figures {
		s.figures = append(s.figures, "gate: "+gate.Text(f))
	}
	return s
}

// gateReport writes the record where all holds, prints, and refuses where not.
func (a *app) gateReport(f *gateFlags, b *model.Bundle, r *gateReport) error {
	failed := failures(r.Record.Figures)
	if len(failed) == 0 && (f.out != "" || f.inPlace) {
		next, err := b.Revise(model.Revision{Out: f.out, Version: f.version, Change: func(m *model.Manifest) error {
			m.Gate = &r.Record
			return nil
		}})
		if err != nil {
			return err
		}
		r.Out = &written{Path: next.Dir, Version: next.Version, SHA256: next.SHA256}
	}
	if a.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
	}
	a.printf("%s: %d frames; %s, int8 against fp32, relight %s, on %s\n", r.Record.Set, r.Record.Frames, r.Bundle,
		r.Record.Relight, r.Record.Engine)
	for _, v := range r.Record.Figures {
		a.printf("  %s %s\n", holds(v.Holds), gate.Text(v))
	}
	if len(failed) > 0 {
		return fail(exitRefused, "int8 of %s is not as good as float: %s", r.Bundle, strings.Join(failed, "; "))
	}
	if r.Out != nil {
		a.printf("%s\n", r.Out)
	}
	return nil
}
