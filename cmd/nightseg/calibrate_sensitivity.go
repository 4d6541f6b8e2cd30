package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"nightseg/calibrate/quantize"
)

// sensitivityFlags are what calibrate sensitivity was asked to measure.
type sensitivityFlags struct {
	rangeFlags
	keep []string
}

func newCalibrateSensitivity(a *app) *cobra.Command {
	f := &sensitivityFlags{}
	c := &cobra.Command{
		Use:   "sensitivity",
		Short: "Measure what each layer costs in 8 bits, and what time it costs to leave layers in float",
		Long: "sensitivity makes int8 networks of a drive as calibrate quantize does, puts one layer at a time into\n" +
			"8 bits with all others in float, and measures the error of the logits. Then it gives the most\n" +
			"sensitive layers back to float, one, two, four and so on, tries single ones of them,\n" +
			"of which one may do as much in less time, prints a table and draws a picture of error against time.\n" +
			"It writes no bundle; quantize does all this by itself where the gate does not hold.\n\n" +
			"Times are medians of one pass in which all networks take turns frame by frame.",
		Example: "  nightseg calibrate sensitivity --source drive/\n" +
			"  nightseg calibrate sensitivity --source drive/ --most-float 32 --markdown --picture layers.png",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.sensitivity(c.Context(), f) },
	}
	fs := c.Flags()
	f.rangeFlags.add(fs)
	fs.StringSliceVar(&f.keep, "keep-float", nil, "layers that are float in any case: parts of names, such as /head/")
	picture := fs.Lookup("picture")
	picture.DefValue = "sensitivity.png"
	f.picture = picture.DefValue
	return c
}

func (a *app) sensitivity(ctx context.Context, f *sensitivityFlags) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	if f.picture == "" {
		return fail(exitUsage, `--picture "" names none: the work so far is kept beside it`)
	}
	b, err := f.openBundle()
	if err != nil {
		return err
	}
	beside := strings.TrimSuffix(f.picture, filepath.Ext(f.picture))
	r, err := a.ranges(ctx, &f.rangeFlags, b, beside, f.keep)
	if err != nil {
		return err
	}
	s, err := a.newSearch(&f.rangeFlags, b, r, beside)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	found, err := s.run(ctx)
	if err != nil {
		a.tellKept(beside)
		return err
	}
	if a.json {
		if err := a.printJSON(found.table); err != nil {
			return err
		}
	}
	return errors.Join(a.searchReport(&f.rangeFlags, found.table), quantize.Done(beside))
}
