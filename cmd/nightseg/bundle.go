package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"nightseg/calibrate/quantize"
	"nightseg/model"
)

func newBundleCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "bundle",
		Short: "Look into a bundle of networks, check it, pack it, or make one of your own network",
		Example: "  nightseg bundle info\n" +
			"  nightseg bundle verify street.tar.zst\n" +
			"  nightseg bundle new --onnx net.onnx --classes classes.txt --out mine",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newBundleInfo(a), newBundleVerify(a), newBundlePack(a), newBundleNew(a))
	return c
}

// pathArg is the first argument, or "" for the bundle that ships.
func pathArg(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func newBundleInfo(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "info [PATH]",
		Short:   "Print what a bundle holds (without PATH: the one that ships)",
		Example: "  nightseg bundle info\n  nightseg bundle info mine.tar.zst --json | jq .manifest.training",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			b, err := (&modelFlags{bundle: pathArg(args)}).openBundle()
			if err != nil {
				return err
			}
			return a.bundleInfo(b)
		},
	}
}

// bundleReport is a bundle as --json prints it.
type bundleReport struct {
	Path     string           `json:"path"`
	SHA256   string           `json:"sha256"`
	Manifest *model.Manifest  `json:"manifest"`
	Bytes    map[string]int64 `json:"bytes"` // by file
}

func (a *app) bundleInfo(b *model.Bundle) error {
	r := bundleReport{Path: b.Path, SHA256: b.SHA256, Manifest: &b.Manifest, Bytes: map[string]int64{}}
	for _, f := range b.AllFiles() {
		info, err := os.Stat(b.FilePath(f))
		if err != nil {
			return err
		}
		r.Bytes[f.File] = info.Size()
	}
	if a.json {
		return a.printJSON(r)
	}
	a.printf("%s %s\n", b.Name, b.Version)
	line := func(name, format string, args ...any) {
		a.printf("  %-12s "+format+"\n", append([]any{name}, args...)...)
	}
	line("path", "%s", b.Path)
	line("identity", "%s", b.SHA256)
	line("created", "%s", b.Created.Format("2006-01-02 15:04 MST"))
	line("licence", "%s", b.Licence)
	var shapes []string
	for _, s := range b.Shapes {
		shapes = append(shapes, fmt.Sprintf("%dx%d", s[1], s[0]))
	}
	line("input", "%s, %s, %s", strings.Join(shapes, " "), b.Resize.Fit, b.Resize.Filter)
	line("classes", "%s", strings.Join(b.ClassNames(), ", "))
	line("re-weighting", "%s, std %g", b.Reweight.Mode, b.Reweight.Std)
	b.Graphs.Each(func(name string, g *model.Graph) {
		for _, p := range sortedKeys(g.Files) {
			f := g.Files[p]
			line(name, "%s, %s, %.1f MB", p, f.File, float64(r.Bytes[f.File])/1e6)
		}
	})
	for _, p := range sortedKeys(b.Tolerance) {
		t := b.Tolerance[p]
		line("tolerance", "%s: logits %.3g of their range, masks %.2f %%", p, t.LogitsRelative, 100*t.MaskAgreement)
	}
	line("made for", "%s", b.Card.IntendedUse)
	line("data", "%s", b.Card.Data)
	line("limits", "%s", b.Card.Limits)
	for _, k := range sortedKeys(b.Card.More) {
		line(k, "%s", b.Card.More[k])
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func newBundlePack(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "pack DIR OUT.tar.zst",
		Short:   "Write a bundle as one file; the same bundle gives the same bytes",
		Example: "  nightseg bundle pack mine mine.tar.zst",
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			if !strings.HasSuffix(args[1], ".tar.zst") {
				return fail(exitUsage, "%s: the name of a packed bundle ends in .tar.zst", args[1])
			}
			if err := model.Pack(args[0], args[1]); err != nil {
				return err
			}
			info, err := os.Stat(args[1])
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"path": args[1], "bytes": info.Size()})
			}
			a.printf("%s: %.1f MB\n", args[1], float64(info.Size())/1e6)
			return nil
		},
	}
}

// newFlags are what bundle new was asked to make.
type newFlags struct {
	modelFlags
	model.NewOptions
	size string
	mean []float64
	std  []float64
}

func newBundleNew(a *app) *cobra.Command {
	f := &newFlags{}
	c := &cobra.Command{
		Use:   "new",
		Short: "Make a bundle of your own segmentation network (ONNX) and class list",
		Long: "new reads inputs, outputs and stride out of an ONNX file (a picture in, logits out), counts the\n" +
			"class shares in a folder of labels, runs the network once for the golden vectors, and writes a\n" +
			"bundle that run, replay, eval and bench take. The class list has a line per class in the order of\n" +
			"the ids: name, and if wished a colour (#rrggbb) and the word static or moving.",
		Example: "  nightseg bundle new --onnx net.onnx --classes classes.txt --labels gt/train --out mine\n" +
			"  nightseg bundle new --onnx net.onnx --classes classes.txt --out mine \\\n" +
			"      --size 1024x512 --mean 0,0,0 --std 1,1,1",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.bundleNew(f) },
	}
	fs := c.Flags()
	fs.StringVar(&f.ONNX, "onnx", "", "the network")
	fs.StringVar(&f.Classes, "classes", "", "text file with a class per line")
	fs.StringVar(&f.Out, "out", "", "folder to make; it must not be there yet")
	fs.StringVar(&f.Labels, "labels", "",
		"folder of label pictures to count class shares in (default: equal shares)")
	fs.StringVar(&f.Picture, "picture", "", "picture for the golden vectors (default: an artificial one)")
	fs.StringVar(&f.Name, "name", "", "name of the bundle (default: of the network's file)")
	fs.StringVar(&f.Version, "set-version", "", "version of the bundle (default: 0.1.0)")
	fs.StringVar(&f.Licence, "licence", "", "licence of the weights and of the data behind them")
	fs.StringVar(&f.size, "size", "", "input size, width x height, where the network leaves it open")
	fs.Float64SliceVar(&f.mean, "mean", nil, "mean of red, green, blue, of values in 0..1 (default: ImageNet's)")
	fs.Float64SliceVar(&f.std, "std", nil, "standard deviation of red, green, blue (default: ImageNet's)")
	fs.BoolVar(&f.AlignCorners, "align-corners", false,
		"logits are enlarged with corner points on corner pixels")
	fs.StringVar(&f.engine, "engine", engineORT, "library that runs the network: onnxruntime")
	fs.StringVar(&f.Provider, "provider", model.CPU,
		"hardware that makes the golden vectors: cpu, or auto, openvino, ...")
	fs.StringVar(&f.LibDir, "lib-dir", "", "folder of the engine's library (default: where the set-up put it)")
	return c
}

func (a *app) bundleNew(f *newFlags) error {
	for flag, v := range map[string]string{"onnx": f.ONNX, "classes": f.Classes, "out": f.Out} {
		if v == "" {
			return fail(exitUsage, "--%s is missing", flag)
		}
	}
	if f.size != "" {
		w, h, err := parseSize(f.size)
		if err != nil {
			return err
		}
		f.Shape = [2]int{h, w}
	}
	if err := f.normalise(); err != nil {
		return err
	}
	f.NewOptions.Engine = func(b *model.Bundle) (model.Engine, error) {
		return openEngine(f.engine, b, f.Options)
	}
	b, warnings, err := model.NewBundle(f.NewOptions)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		a.notef("assumed: %s", w)
	}
	return a.bundleInfo(b)
}

// normalise takes mean and deviation from the flags, both or none.
func (f *newFlags) normalise() error {
	if f.mean == nil && f.std == nil {
		return nil
	}
	if len(f.mean) != 3 || len(f.std) != 3 {
		return fail(exitUsage, "--mean and --std go together, each with three values for red, green and blue")
	}
	f.Normalise = model.Normalise{Mean: [3]float64(f.mean), Std: [3]float64(f.std)}
	for _, v := range f.std {
		if !(v > 0) || math.IsInf(v, 0) {
			return fail(exitUsage, "--std %v: a deviation must be above 0", f.std)
		}
	}
	return nil
}

// verifyFlags are what bundle verify was asked to check.
type verifyFlags struct{ modelFlags }

const everyEngine = "all"

func newBundleVerify(a *app) *cobra.Command {
	f := &verifyFlags{}
	c := &cobra.Command{
		Use:   "verify [PATH]",
		Short: "Check a bundle's files, and its golden vectors on the engines of this machine",
		Long: "verify checks schema, hashes, inputs and outputs, then runs the golden picture through every\n" +
			"engine, provider and precision that is here (or those named), and compares the logits and the\n" +
			"mask with the bundle's own and with each other. Records of how int8 networks were made and of the gate\n" +
			"are shown; that of the gate must be of these networks. Exit code 3: a tolerance or the record does not hold.",
		Example: "  nightseg bundle verify\n" +
			"  nightseg bundle verify mine.tar.zst --engine tensorflow --precision fp32 --json",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f.bundle = pathArg(args)
			return a.bundleVerify(c.Context(), f)
		},
	}
	fs := c.Flags()
	fs.StringVar(&f.engine, "engine", everyEngine, "onnxruntime, tensorflow, or all")
	fs.StringVar(&f.Provider, "provider", everyEngine, "tensorrt, cuda, openvino, cpu, or all")
	fs.StringVar(&f.Precision, "precision", everyEngine, "fp32, fp16, int8, or all")
	fs.IntVar(&f.Threads, "threads", 0, "processor threads of the networks; 0: one per core")
	fs.StringVar(&f.LibDir, "lib-dir", "", "folder of the engine's library (default: where the set-up put it)")
	fs.StringVar(&f.CacheDir, "cache-dir", "", "folder for compiled networks (default: the user's cache)")
	return c
}

func (a *app) bundleVerify(ctx context.Context, f *verifyFlags) error {
	b, err := f.openBundle()
	if err != nil {
		return err
	}
	v := &verification{bundle: b, Bundle: b.Name + " " + b.Version, SHA256: b.SHA256}
	v.Calibration = quantize.ReadRecord(b)
	if v.Gate, err = gateRecord(b); err != nil {
		return err
	}
	plans, err := v.plans(f)
	if err != nil {
		return err
	}
	bar := a.progress(len(plans), "verify")
	for _, p := range plans {
		if err := ctx.Err(); err != nil {
			return err
		}
		v.check(p)
		bar.Add(1)
	}
	bar.Done()
	v.compare()
	if a.json {
		if err := a.printJSON(v); err != nil {
			return err
		}
	}
	a.printf("%s: files and hashes are right\n", v.Bundle)
	for _, l := range v.Checks {
		a.printf("  %s\n", l.text())
	}
	for _, s := range v.Missing {
		a.printf("  not here: %s\n", s)
	}
	for _, l := range v.Pairs {
		a.printf("  %s\n", l.text())
	}
	if v.Calibration != nil {
		a.printf("  int8: %s\n", strings.ReplaceAll(v.Calibration.String(), "\n", "\n    "))
	}
	if v.Gate != nil {
		a.printf("  %s", v.Gate.text())
	}
	return v.verdict()
}

// verdict is the outcome as an exit code.
func (v *verification) verdict() error {
	if n := v.failures(); n > 0 {
		all := len(v.Checks) + len(v.Pairs)
		if v.Gate != nil {
			all++
		}
		return fail(exitRefused, "bundle %s: %d of %d comparisons do not hold", v.Bundle, n, all)
	}
	if len(v.Checks) == 0 {
		return fmt.Errorf("bundle %s: no engine is here to replay the golden vectors: %s",
			v.Bundle, strings.Join(v.Missing, "; "))
	}
	return nil
}
