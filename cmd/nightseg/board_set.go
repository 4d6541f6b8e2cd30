package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nightseg/firmware/board"
	"nightseg/firmware/indicate"
	"nightseg/firmware/poll"
	"nightseg/firmware/tree"
)

// mostFor is how long board set holds an output whose description gives no time.
const mostFor = 10 * time.Minute

func newBoardSet(a *app, f *boardFlags) *cobra.Command {
	hold := 5 * time.Second
	c := &cobra.Command{
		Use:   "set NAME VALUE",
		Short: "Turn an output of the description on for a while: an LED, a lamp's line",
		Long: "set opens the output NAME, sets VALUE, waits, turns it off and ends: the kernel keeps a line only as\n" +
			"long as it is open. VALUE is on, off, percent for a PWM, or a state that the LED shows (starting,\n" +
			"running, degraded, fault). The limits of the description hold.",
		Example: "  nightseg board set led degraded --for 10s\n" +
			"  nightseg board set lamp on --board board.yaml",
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			root, d, err := f.description()
			if err != nil {
				return err
			}
			limit := d.Outputs[args[0]].Longest
			if limit == 0 {
				limit = mostFor
			}
			if !c.Flags().Changed("for") {
				hold = min(hold, limit)
			}
			if hold <= 0 || hold > limit {
				return usage(fmt.Errorf("--for: %v is not above 0s to %v, the longest for this output", hold, limit))
			}
			return a.boardSet(c.Context(), root, d, args[0], args[1], hold)
		},
	}
	c.Flags().DurationVar(&hold, "for", hold, "how long it stays so")
	return c
}

// dimmer is an output that can be set to a share.
type dimmer interface {
	Dim(percent float64) error
}

func (a *app) boardSet(
	ctx context.Context, root tree.Root, d board.Description, name, value string, hold time.Duration,
) (err error) {
	if _, ok := d.Outputs[name]; !ok {
		return usage(fmt.Errorf("no output is called %q in the description of %s (there are: %s)",
			name, d.Name, orNone(sortedKeys(d.Outputs))))
	}
	o, err := board.OpenOutput(root, &d, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	state, isState := indicate.ParseState(value)
	percent, notNumber := strconv.ParseFloat(strings.TrimSuffix(value, "%"), 64)
	dim, dims := o.(dimmer)
	switch {
	case value == "off":
		return o.Set(false)
	case value == "on":
		err = o.Set(true)
	case isState && !dims:
		a.printf("%s: %s for %v\n", name, value, hold)
		i := indicate.New(o)
		i.Set(state)
		shown, cancel := context.WithTimeout(ctx, hold)
		defer cancel()
		i.Run(shown)
		return i.Err()
	case dims && notNumber == nil:
		if err := dim.Dim(percent); err != nil {
			return usage(err)
		}
	default:
		return usage(fmt.Errorf("%q is no value for %s: on, off, percent for a PWM, or for an LED starting, "+
			"running, degraded, fault", value, name))
	}
	if err != nil {
		return err
	}
	a.printf("%s: %s for %v\n", name, value, hold)
	poll.Wait(ctx, hold)
	return nil
}
