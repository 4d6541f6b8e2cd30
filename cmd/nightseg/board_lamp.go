package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newBoardLamp(a *app, f *boardFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "lamp",
		Short: "Print what nightseg-lamp is to be told of the description's lamp: JSON for its -config",
		Example: "  nightseg board lamp --board board.yaml > lamp.json\n" +
			"  nightseg-lamp -config lamp.json",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, d, err := f.description()
			if err != nil {
				return err
			}
			c, ok := d.LampConfig()
			if !ok {
				return usage(fmt.Errorf("the description of %s has no lamp: add the group lamp, see docs/board.md", d.Name))
			}
			return a.printJSON(c)
		},
	}
}
