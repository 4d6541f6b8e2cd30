package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"nightseg/edge/mqtt"
	"nightseg/edge/settings"
)

// The waits for a device, unless --timeout says another.
const (
	waitAnswer   = 2 * time.Minute // a trial, and networks that have to be built before it
	waitRetained = 10 * time.Second
)

func newConfigPush(a *app) *cobra.Command {
	f := &deviceFlags{broker: settings.Broker{URL: "mqtt://localhost:1883"}}
	c := &cobra.Command{
		Use:   "push FILE",
		Short: "Send settings to a running device, and wait until it keeps or refuses them",
		Long: "push sends the keys of FILE (YAML or JSON) to config/desired, retained. What FILE does not name is\n" +
			"as in the device's own settings file. Version is one above what the device reports, unless FILE\n" +
			"has one. Bad settings are not sent. Exit codes: 0 in force, 1 no answer, 2 bad settings, 3 rejected\n" +
			"by the device or rolled back.",
		Example: "  nightseg config push night.yaml --broker mqtt://hub:1883 --device car7\n" +
			"  echo '{\"threshold\": 0.2}' | nightseg config push /dev/stdin --json",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.configPush(c.Context(), f, args[0]) },
	}
	f.add(c.Flags(), waitAnswer)
	return c
}

func newConfigDiff(a *app) *cobra.Command {
	f := &deviceFlags{broker: settings.Broker{URL: "mqtt://localhost:1883"}}
	c := &cobra.Command{
		Use:   "diff FILE",
		Short: "Say what push would change on a running device",
		Example: "  nightseg config diff night.yaml --broker mqtt://hub:1883 --device car7\n" +
			"  nightseg config diff night.yaml --json | jq '.changes[].path'",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.configDiff(c.Context(), f, args[0]) },
	}
	f.add(c.Flags(), waitRetained)
	return c
}

// prepare makes a document of a file, and checks it as the device will.
func (r *remote) prepare(name string) (text []byte, d settings.Desired, err error) {
	if err := r.checkSchema(); err != nil {
		return nil, d, err
	}
	text, err = os.ReadFile(name)
	if err != nil {
		return nil, d, usage(err)
	}
	version := r.reported.Version
	if last := r.reported.Rejected; last != nil {
		version = max(version, last.Version)
	}
	text, err = settings.Document(text, version+1, rand.Text()[:12])
	if err != nil {
		return nil, d, usage(fmt.Errorf("%s: %w", name, err))
	}
	d, errs := settings.ParseDesired(text, r.base())
	if len(errs) > 0 {
		return nil, d, usage(fmt.Errorf("%s: not sent:\n%w", name, settings.Errors(errs)))
	}
	return text, d, nil
}

func (a *app) configPush(ctx context.Context, f *deviceFlags, name string) error {
	return withDevice(ctx, f, func(ctx context.Context, r *remote) error {
		text, d, err := r.prepare(name)
		if err != nil {
			return err
		}
		if err := mqtt.Send(ctx, r.options, r.Desired(), text, true); err != nil {
			return err
		}
		a.printf("sent version %d to %s\n", d.Version, r.name())
		for {
			ack, err := r.answer(ctx, d)
			if err != nil {
				return fmt.Errorf("version %d: %w within %v; it stays on config/desired", d.Version, err, f.timeout)
			}
			if err := a.printAck(ack); err != nil {
				return err
			}
			switch ack.Result {
			case settings.ResultApplied, settings.ResultUnchanged:
				return nil
			case settings.ResultRejected, settings.ResultRolledBack:
				return fail(exitRefused, "version %d was %s by %s; version %d is in force",
					ack.Version, ack.Result, r.name(), ack.InForce)
			case settings.ResultTrial: // one more comes
			}
		}
	})
}

// answer waits for the next answer to a document.
func (r *remote) answer(ctx context.Context, d settings.Desired) (a settings.Ack, err error) {
	for {
		select {
		case m, ok := <-r.messages:
			if !ok {
				return a, errNoAnswer
			}
			if m.Topic != r.Ack() || json.Unmarshal(m.Payload, &a) != nil || a.ID != d.ID || a.Version != d.Version {
				a = settings.Ack{}
				continue
			}
			return a, nil
		case <-ctx.Done():
			return a, errNoAnswer
		}
	}
}

func (a *app) printAck(k settings.Ack) error {
	if a.json {
		_, err := fmt.Fprintf(a.out, "%s\n", k.JSON())
		return err
	}
	text := fmt.Sprintf("%s: version %d is in force", k.Result, k.InForce)
	if k.Until != nil {
		text += ", on trial until " + k.Until.Local().Format(time.TimeOnly) + " at the latest"
	}
	for _, s := range []string{k.Reason, k.Warning} {
		if s != "" {
			text += "; " + s
		}
	}
	a.printf("%s\n", text)
	for _, e := range k.Errors {
		e.Path = e.Pointer
		a.printf("  %s\n", e.Error())
	}
	return nil
}

// diffReport is what push would change, as --json prints it.
type diffReport struct {
	Device  string                `json:"device"`
	From    int64                 `json:"from"` // versions
	To      int64                 `json:"to"`
	Changes []settings.Difference `json:"changes"`
}

func (a *app) configDiff(ctx context.Context, f *deviceFlags, name string) error {
	return withDevice(ctx, f, func(_ context.Context, r *remote) error {
		_, d, err := r.prepare(name)
		if err != nil {
			return err
		}
		changed := settings.Changes(r.reported.Settings, d.Settings.Redacted())
		if a.json {
			list := append([]settings.Difference{}, changed.List...)
			return a.printJSON(diffReport{r.name(), r.reported.Version, d.Version, list})
		}
		a.printf("%s: version %d -> %d, %d changes\n", r.name(), r.reported.Version, d.Version, len(changed.List))
		for _, c := range changed.List {
			a.printf("  %s\n", c)
		}
		return nil
	})
}

// configShowDevice prints the settings that are in force on a running device.
func (a *app) configShowDevice(ctx context.Context, f *deviceFlags) error {
	return withDevice(ctx, f, func(_ context.Context, r *remote) error {
		if a.json {
			return a.printJSON(r.text)
		}
		p := r.reported
		a.printf("# %s: version %d from %s, %s, since %s\n", r.name(), p.Version, p.Source, p.State,
			p.Since.Local().Format(time.DateTime))
		if p.FileError != "" {
			a.printf("# settings file: %q\n", p.FileError)
		}
		if k := p.Rejected; k != nil {
			a.printf("# version %d was %s: %q\n", k.Version, k.Result, reasonOf(k))
		}
		_, err := a.out.Write(p.Settings.YAML(false))
		return err
	})
}

func reasonOf(k *settings.Ack) string {
	if k.Reason != "" || len(k.Errors) == 0 {
		return k.Reason
	}
	e := k.Errors[0]
	e.Path = e.Pointer
	return e.Error()
}
