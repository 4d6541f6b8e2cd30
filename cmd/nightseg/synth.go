package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nightseg/camera/synth"
)

// synthFlags are what synth was asked to write.
type synthFlags struct {
	synth.DatasetOptions
	out  string
	size string
}

func newSynthCommand(a *app) *cobra.Command {
	f := &synthFlags{}
	c := &cobra.Command{
		Use:   "synth",
		Short: "Write a data set of made-up streets with exact labels, by day, dusk and night",
		Long: "synth draws drives through made-up streets and writes pictures and labels in the folder layout\n" +
			"of Dark Zurich (rgb_anon/ and gt/). Frames of one name at different times of day show the same\n" +
			"things, pixel for pixel. The same seed gives the same bytes. A run that was cut off goes on where\n" +
			"it ended. Seeds below " + strconv.Itoa(synth.TrainingSeeds) + " are for training; measure on others.",
		Example: "  nightseg synth --out streets --frames 50 --sequences 20\n" +
			"  nightseg synth --out streets --split val --seed 2000 --frames 20 --times night\n" +
			"  nightseg eval --images streets/rgb_anon/val/night --labels streets/gt/val/night",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.synth(c.Context(), f) },
	}
	fs := c.Flags()
	fs.StringVar(&f.out, "out", "", "folder to write to")
	fs.IntVar(&f.Frames, "frames", 20, "frames of each drive and time of day")
	fs.Uint64Var(&f.Seed, "seed", 1, "seed of the first drive; the next ones count up")
	fs.IntVar(&f.Sequences, "sequences", 1, "drives")
	fs.StringSliceVar(&f.Times, "times", []string{synth.Day, synth.Dusk, synth.Night}, "times of day")
	fs.StringVar(&f.Split, "split", "train", "name of the folder between rgb_anon and the time of day")
	fs.StringVar(&f.Layout, "layout", synth.LayoutAuto, "kind of street: auto, terrace, suburb, avenue or demo")
	fs.StringVar(&f.size, "size", "640x480", "pixels, width x height")
	fs.Float64Var(&f.Speed, "speed", 8, "metres per second of the camera")
	fs.Float64Var(&f.FPS, "fps", 1, "frames per second of the drive's own time")
	fs.IntVar(&f.Workers, "workers", 0, "frames drawn at a time; 0: one per processor")
	return c
}

// synthReport is what synth wrote, as --json prints it.
type synthReport struct {
	Out     string  `json:"out"`
	Frames  int     `json:"frames"` // pictures that are there now, of all times of day
	Seconds float64 `json:"seconds"`
	synth.DatasetOptions
}

func (a *app) synth(ctx context.Context, f *synthFlags) error {
	if f.out == "" {
		return fail(exitUsage, "--out is missing: the folder to write to")
	}
	var err error
	if f.W, f.H, err = parseSize(f.size); err != nil {
		return err
	}
	start := time.Now()
	total := f.Sequences * f.Frames * len(f.Times)
	bar := a.progress(total, "synth")
	last := 0
	err = synth.WriteDataset(ctx, f.out, f.DatasetOptions, func(done, _ int) {
		bar.Add(done - last)
		last = done
	})
	bar.Done()
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%w; the same command goes on where this one ended", err)
	case err != nil && last == 0: // refused before the first frame: options, or another data set's folder
		return usage(err)
	case err != nil:
		return err
	}
	r := synthReport{
		Out: f.out, Frames: last, Seconds: time.Since(start).Seconds(),
		DatasetOptions: f.DatasetOptions,
	}
	if a.json {
		return a.printJSON(r)
	}
	a.printf("%d frames with labels in %s (%.1f s)\n", r.Frames, f.out, r.Seconds)
	return nil
}

// parseSize reads WIDTHxHEIGHT.
func parseSize(s string) (w, h int, err error) {
	left, right, ok := strings.Cut(s, "x")
	w, err1 := strconv.Atoi(left)
	h, err2 := strconv.Atoi(right)
	if !ok || err1 != nil || err2 != nil || w <= 0 || h <= 0 {
		return 0, 0, fail(exitUsage, "--size %q is not like 640x480", s)
	}
	return w, h, nil
}
