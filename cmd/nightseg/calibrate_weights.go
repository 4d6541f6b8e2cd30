package main

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"nightseg/calibrate/shares"
	"nightseg/edge/decide"
	"nightseg/model"
)

// weightsFlags are what calibrate weights was asked to count.
type weightsFlags struct {
	modelFlags
	outFlags
	labels  []string
	form    string
	mapFile string
	stds    []float64
	anySize bool
	picture string
}

func newCalibrateWeights(a *app) *cobra.Command {
	f := &weightsFlags{}
	c := &cobra.Command{
		Use:   "weights",
		Short: "Count the class shares in folders of labels, from which the class weights follow",
		Long: "weights counts how many of the labelled pixels belong to each class of a bundle, prints and draws\n" +
			"the shares with the class weights that follow from them, and writes them into the bundle's next\n" +
			"version. Pixels without a class do not count. Give labels of what the networks learned from: labels\n" +
			"of sets to test on are refused.\n\n" +
			"Forms of labels: ids (of the bundle's classes), trainids and labelids (of Cityscapes; the classes\n" +
			"are found by name), palette (the colours of the bundle's classes). Folders are searched in depth.",
		Example: "  nightseg calibrate weights --labels set/labels\n" +
			"  nightseg calibrate weights --labels gtFine/train --form labelids --out mine\n" +
			"  nightseg calibrate weights --labels a/labels,b/labels --map ids.json --picture shares.png",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.calibrateWeights(c.Context(), f) },
	}
	fs := c.Flags()
	fs.StringVar(&f.bundle, "bundle", "", "bundle whose classes are counted (default: the one that ships)")
	fs.StringVar(&f.CacheDir, "cache-dir", "", "folder for unpacked bundles (default: the user's cache)")
	fs.StringSliceVar(&f.labels, "labels", nil, "folder of labels (PNG), or several")
	fs.StringVar(&f.form, "form", string(shares.IDs), "what a pixel holds: ids, trainids, labelids or palette")
	fs.StringVar(&f.mapFile, "map", "",
		`JSON file from label ids to classes, such as {"7": "road"}, in place of --form; other ids have none`)
	fs.Float64SliceVar(&f.stds, "std", []float64{0.05, 0.16}, "spread of the weights to print, or several")
	fs.BoolVar(&f.anySize, "any-size", false, "pictures of one folder may differ in size")
	fs.StringVar(&f.picture, "picture", "weights.png", `histogram to draw; "": none`)
	f.outFlags.add(fs)
	return c
}

// weightsReport is what calibrate weights found, as --json prints it.
type weightsReport struct {
	Bundle  string       `json:"bundle"`
	SHA256  string       `json:"bundle_sha256"`
	Labels  []string     `json:"labels"`
	Form    string       `json:"form"`
	Files   int          `json:"files"`
	Pixels  uint64       `json:"labelled_pixels"`
	Part    float64      `json:"labelled_share"` // of all pixels
	MaxStd  float64      `json:"max_std"`        // a weight reaches 0 there
	Stds    []float64    `json:"stds"`
	Classes []classShare `json:"classes"`
	Picture string       `json:"picture,omitempty"`
	Out     *written     `json:"out,omitempty"`

	colours []color.RGBA
}

type classShare struct {
	Name    string    `json:"name"`
	Pixels  uint64    `json:"pixels"`
	Share   float64   `json:"share"`
	Files   int       `json:"files"` // in which the class occurs
	Before  float64   `json:"share_before"`
	Weights []float64 `json:"weights"` // at each of stds
}

func (f *weightsFlags) check() error {
	if len(f.labels) == 0 {
		return fail(exitUsage, "--labels is missing")
	}
	for _, dir := range f.labels {
		if sets := testSets(dir); len(sets) > 0 {
			return fail(exitRefused, "%s is a test set: class shares come from what the networks may learn from", sets[0])
		}
	}
	if !slices.Contains(shares.Forms(), shares.Form(f.form)) {
		return fail(exitUsage, "--form %q: there are %v", f.form, shares.Forms())
	}
	if f.mapFile != "" && f.form != string(shares.IDs) {
		return fail(exitUsage, "--map takes the place of --form %s: leave one out", f.form)
	}
	return f.outFlags.check()
}

// reader reads labels as the flags say.
func (f *weightsFlags) reader(b *model.Bundle) (*shares.Reader, error) {
	if f.mapFile == "" {
		r, err := shares.NewReader(shares.Form(f.form), b.Classes, b.Unknown)
		return r, usage(err)
	}
	doc, err := os.ReadFile(f.mapFile)
	if err != nil {
		return nil, usage(err)
	}
	table, err := parseMap(doc, b.ClassNames())
	if err != nil {
		return nil, usage(fmt.Errorf("--map %s: %w", f.mapFile, err))
	}
	return shares.NewTableReader(b.Classes, table), nil
}

func (a *app) calibrateWeights(ctx context.Context, f *weightsFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	b, err := f.openBundle()
	if err != nil {
		return err
	}
	r, err := f.reader(b)
	if err != nil {
		return err
	}
	counts, err := a.tally(ctx, f, r)
	if err != nil {
		return err
	}
	report, values, err := newWeightsReport(f, b, counts)
	if err != nil {
		return err
	}
	if f.picture != "" {
		img, err := report.draw()
		if err != nil {
			return err
		}
		if err := writePNG(f.picture, img); err != nil {
			return fmt.Errorf("--picture: %w", err)
		}
	}
	if f.out != "" && b.Reweight.Std >= report.MaxStd {
		return fail(exitFailed, "the bundle's std %g does not go with these shares, which take one below %.3g: "+
			"set it lower first (nightseg calibrate std --bundle %s ...)", b.Reweight.Std, report.MaxStd, b.Path)
	}
	report.Out, err = f.revise(b, func(m *model.Manifest) error {
		m.ClassShares = values
		return nil
	})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(report)
	}
	a.printWeights(report)
	return nil
}

// tally counts all folders; what is not readable ends it: shares of half a set
// would pass for those of the whole.
func (a *app) tally(ctx context.Context, f *weightsFlags, r *shares.Reader) (*shares.Counts, error) {
	files := make([][]string, len(f.labels))
	total := 0
	for i, dir := range f.labels {
		var err error
		if files[i], err = shares.Find(dir, shares.Form(f.form)); err != nil {
			return nil, err
		}
		total += len(files[i])
	}
	t := shares.NewTally(r, f.anySize)
	bar := a.progress(total, "labels")
	defer bar.Done()
	for i, dir := range f.labels {
		for _, name := range files[i] {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := t.Add(dir, name); err != nil {
				return nil, err
			}
			bar.Add(1)
		}
	}
	return t.Counts(), nil
}

func newWeightsReport(f *weightsFlags, b *model.Bundle, c *shares.Counts) (*weightsReport, []float64, error) {
	values, err := c.Shares()
	if err != nil {
		return nil, nil, err
	}
	r := &weightsReport{
		Bundle: b.Name + " " + b.Version, SHA256: b.SHA256, Labels: f.labels, Form: f.form, Files: c.Labels,
		Pixels: c.Total(), Part: float64(c.Total()) / float64(c.Total()+c.None), Stds: f.stds, Picture: f.picture,
	}
	if f.mapFile != "" {
		r.Form = "map"
	}
	if r.MaxStd, err = decide.MaxStd(values); err != nil {
		return nil, nil, err
	}
	for k, class := range b.Classes {
		r.Classes = append(r.Classes, classShare{
			Name: class.Name, Pixels: c.Pixels[k], Share: values[k], Files: c.Files[k], Before: b.ClassShares[k],
		})
		r.colours = append(r.colours, color.RGBA{class.Colour[0], class.Colour[1], class.Colour[2], 255})
	}
	for _, std := range f.stds {
		w, err := decide.Weights(values, std)
		if err != nil {
			return nil, nil, usage(fmt.Errorf("--std: %w", err))
		}
		for k := range w {
			r.Classes[k].Weights = append(r.Classes[k].Weights, w[k])
		}
	}
	return r, values, nil
}

// draw is the histogram, in the order of the classes.
func (r *weightsReport) draw() (*image.RGBA, error) {
	var bars []bar
	for k, c := range r.Classes {
		note := fmt.Sprintf("%.3g %%", 100*c.Share)
		if c.Pixels == 0 {
			note = "none"
		}
		if n := len(r.Stds); n > 0 {
			note += fmt.Sprintf(", weight %.2f", c.Weights[n-1])
		}
		bars = append(bars, bar{name: c.Name, value: c.Share, mark: c.Before, note: note, colour: r.colours[k]})
	}
	subtitle := fmt.Sprintf("%d labels of %s, %.1f million labelled pixels", r.Files, setNames(r.Labels),
		float64(r.Pixels)/1e6)
	if n := len(r.Stds); n > 0 {
		subtitle += fmt.Sprintf("; weights at std %g", r.Stds[n-1])
	}
	return barChart("Class shares", subtitle, "share in "+r.Bundle, bars)
}

// setNames names the sets of several folders.
func setNames(dirs []string) string {
	var out string
	for i, d := range dirs {
		if i > 0 {
			out += ", "
		}
		out += setName(strings.TrimSuffix(filepath.ToSlash(filepath.Clean(d)), "/labels"))
	}
	return out
}

func (a *app) printWeights(r *weightsReport) {
	a.printf("%s: %d labels, %d pixels with a class (%.1f %% of all); classes of %s\n",
		setNames(r.Labels), r.Files, r.Pixels, 100*r.Part, r.Bundle)
	a.printf("  %-16s %10s %8s %10s", "class", "share", "labels", "before")
	for _, std := range r.Stds {
		a.printf(" %10s", fmt.Sprintf("w at %g", std))
	}
	a.printf("\n")
	for _, c := range r.Classes {
		a.printf("  %-16s %8.4f %% %8d %8.4f %%", c.Name, 100*c.Share, c.Files, 100*c.Before)
		for _, w := range c.Weights {
			a.printf(" %10.3f", w)
		}
		if c.Pixels == 0 {
			a.printf("  not in these labels")
		}
		a.printf("\n")
	}
	a.printf("std below %.3g goes with these shares\n", r.MaxStd)
	if r.Picture != "" {
		a.printf("drawn in %s\n", r.Picture)
	}
	if r.Out != nil {
		a.printf("%s\n", r.Out)
	}
}
