package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"nightseg/model"
)

func newCalibrateCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "calibrate",
		Short: "Fit a bundle to your labels and drives, and prove that it lost nothing",
		Long: "calibrate measures what a bundle needs to know of your pictures, and writes it into a new version of\n" +
			"the bundle. It works on the device and offline: no training, no Python.",
		Example: "  nightseg calibrate weights --labels gt/train --out mine\n" +
			"  nightseg calibrate std --bundle mine --images val/images --labels val/labels --out tuned\n" +
			"  nightseg calibrate quantize --bundle tuned --source drive/ --out eight\n" +
			"  nightseg calibrate gate --bundle eight --source drive/",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(
		newCalibrateWeights(a),
		newCalibrateStd(a),
		newCalibrateRelight(a),
		newCalibrateQuantize(a),
		newCalibrateSensitivity(a),
		newCalibrateGate(a),
	)
	return c
}

// labelledFlags name labelled pictures to choose on.
type labelledFlags struct {
	images, labels, mapFile string
	block                   int // of the bootstrap
}

func (f *labelledFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.images, "images", "", "folder of pictures, or a tree of sequences")
	fs.StringVar(&f.labels, "labels", "", "folder of labels: PNG of class ids, named like the pictures")
	fs.StringVar(&f.mapFile, "map", "",
		`JSON file from label ids to classes, such as {"7": "road"}; other ids are left out`)
	fs.IntVar(&f.block, "block", 0, "frames in a block of the bootstrap; 0: the cube root of their number")
}

func (f *labelledFlags) check() error {
	switch {
	case f.images == "" || f.labels == "":
		return fail(exitUsage, "--images and --labels are needed")
	case f.block < 0:
		return fail(exitUsage, "--block %d must not be below 0", f.block)
	}
	return nil
}

// outFlags say where a new version of a bundle goes.
type outFlags struct {
	out, version string
}

func (f *outFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.out, "out", "", "folder to make: the bundle's next version, with what was found")
	fs.StringVar(&f.version, "set-version", "", "its version (default: the last number raised by one)")
}

// check refuses, before the work, what would be refused after it.
func (f *outFlags) check() error {
	if f.out == "" {
		if f.version != "" {
			return fail(exitUsage, "--set-version %s goes with --out", f.version)
		}
		return nil
	}
	if _, err := os.Lstat(f.out); err == nil {
		return fail(exitUsage, "--out %s is there already: name a folder that is not there yet", f.out)
	}
	return nil
}

// written is a new version of a bundle, as --json prints it.
type written struct {
	Path    string `json:"path"`
	Version string `json:"version"`
	SHA256  string `json:"sha256"`
}

// revise writes a new version of a bundle, where one was asked for.
func (f *outFlags) revise(b *model.Bundle, change func(*model.Manifest) error) (*written, error) {
	if f.out == "" {
		return nil, nil
	}
	next, err := b.Revise(model.Revision{Out: f.out, Version: f.version, Change: change})
	if err != nil {
		return nil, err
	}
	return &written{Path: f.out, Version: next.Version, SHA256: next.SHA256}, nil
}

func (w *written) String() string {
	return fmt.Sprintf("wrote %s: version %s, identity %.12s", w.Path, w.Version, w.SHA256)
}
