package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"nightseg/edge/settings"
)

func newConfigCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Check, show and explain settings, and change those of a running device",
		Example: "  nightseg config example > nightseg.yaml\n" +
			"  nightseg config check nightseg.yaml",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(
		&cobra.Command{
			Use:   "check FILE",
			Short: "Say all that is wrong with a settings file; exit code 2 where something is",
			Example: "  nightseg config check nightseg.yaml\n" +
				"  nightseg config check nightseg.yaml --json | jq '.errors[].problem'",
			Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return a.configCheck(args[0]) },
		},
		newConfigShow(a), newConfigPush(a), newConfigDiff(a),
		newConfigSchema(a),
		&cobra.Command{
			Use:     "example",
			Short:   "Print a settings file with every key explained",
			Example: "  nightseg config example > nightseg.yaml",
			Args:    cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				_, err := a.out.Write(settings.Default().YAML(true))
				return err
			},
		},
	)
	return c
}

func newConfigShow(a *app) *cobra.Command {
	f := &deviceFlags{}
	c := &cobra.Command{
		Use:   "show [FILE]",
		Short: "Print all settings that a file stands for (without FILE: the factory's), or that are in force",
		Example: "  nightseg config show nightseg.yaml\n" +
			"  nightseg config show --broker mqtt://hub:1883 --device car7",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case f.broker.URL == "":
				return a.configShow(args)
			case len(args) > 0:
				return usage(errors.New("give a FILE or --broker, not both"))
			}
			return a.configShowDevice(c.Context(), f)
		},
	}
	f.add(c.Flags(), waitRetained)
	return c
}

func newConfigSchema(a *app) *cobra.Command {
	var desired bool
	c := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the settings file",
		Example: "  nightseg config schema > nightseg.schema.json\n" +
			"  nightseg config schema --desired      # of what config/desired takes over MQTT",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if desired {
				return a.printJSON(json.RawMessage(settings.DesiredSchema()))
			}
			_, err := fmt.Fprintf(a.out, "%s\n", settings.Schema())
			return err
		},
	}
	c.Flags().BoolVar(&desired, "desired", false, "the schema of the settings that can be changed over MQTT")
	return c
}

// configReport is the outcome of a check, as --json prints it.
type configReport struct {
	File   string                `json:"file"`
	Valid  bool                  `json:"valid"`
	Errors []settings.FieldError `json:"errors"`
}

func (a *app) configCheck(name string) error {
	bases, _, err := settings.Load(name, "")
	r := configReport{File: name, Valid: bases[0].Source == settings.FromFile, Errors: []settings.FieldError{}}
	var list settings.Errors
	switch {
	case errors.As(err, &list):
		r.Errors = list
	case err != nil:
		r.Errors = append(r.Errors, settings.FieldError{Problem: err.Error()})
	}
	if a.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
	}
	if !r.Valid {
		return usage(err)
	}
	a.printf("%s is valid\n", name)
	return nil
}

func (a *app) configShow(args []string) error {
	s := settings.Default()
	if len(args) == 1 {
		bases, _, err := settings.Load(args[0], "")
		if err != nil {
			return usage(err)
		}
		s = bases[0].Settings
	}
	if a.json {
		return a.printJSON(s)
	}
	_, err := a.out.Write(s.YAML(false))
	return err
}
