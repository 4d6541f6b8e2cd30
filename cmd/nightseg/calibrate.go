package main

import "github.com/spf13/cobra"

func newCalibrateCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "calibrate",
		Short:   "Fit a bundle to your own camera: integer networks from a drive at night",
		Example: "  nightseg calibrate quantize --bundle street-11 --source drive/ --out mine",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newCalibrateQuantize(a))
	return c
}
