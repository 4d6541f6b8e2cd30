package main

import (
	"context"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"nightseg/edge/settings"
)

// doctorFlags are what doctor was asked to look at.
type doctorFlags struct {
	modelFlags
	config  string
	broker  settings.Broker
	timeout time.Duration
}

func newDoctorCommand(a *app) *cobra.Command {
	f := &doctorFlags{}
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine has, what is missing, and how to get it",
		Long: "doctor looks at the program, the processor, the libraries, the bundle, the cameras, the broker,\n" +
			"the clock, temperatures, folders and the installed service. A line per check: ok, warn (it works,\n" +
			"but worse than it could) or FAIL (something will not work), with the remedy. Exit code 1 where a\n" +
			"check fails.",
		Example: "  nightseg doctor\n" +
			"  nightseg doctor --config nightseg.yaml --json | jq '.checks[] | select(.state != \"ok\")'\n" +
			"  nightseg doctor --broker mqtts://hub:8883 --ca-file ca.pem",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.doctor(c.Context(), f) },
	}
	fs := c.Flags()
	f.modelFlags.add(fs)
	fs.StringVar(&f.config, "config", "", "settings file to check and to take bundle, engine and broker from")
	addBroker(fs, &f.broker, "broker to reach, such as mqtt://localhost:1883 (default: that of --config)")
	fs.DurationVar(&f.timeout, "timeout", 5*time.Second, "how long to wait for the broker")
	return c
}

// The states of a check.
const (
	stateOK   = "ok"
	stateWarn = "warn"
	stateFail = "FAIL"
)

// finding is the outcome of one check.
type finding struct {
	Name   string `json:"name"`
	State  string `json:"state"` // ok, warn or FAIL
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}

// doctorReport is what doctor found, as --json prints it.
type doctorReport struct {
	Checks   []finding `json:"checks"`
	Warnings int       `json:"warnings"`
	Failures int       `json:"failures"`
}

// doctor examines one machine, whose /proc, /sys and /dev are below root.
type doctor struct {
	root     fs.FS
	f        *doctorFlags
	settings settings.Settings
	findings []finding
}

func (d *doctor) ok(name, text string) {
	d.findings = append(d.findings, finding{Name: name, State: stateOK, Text: text})
}

func (d *doctor) warn(name, text, remedy string) {
	d.findings = append(d.findings, finding{Name: name, State: stateWarn, Text: text, Remedy: remedy})
}

func (d *doctor) fail(name, text, remedy string) {
	d.findings = append(d.findings, finding{Name: name, State: stateFail, Text: text, Remedy: remedy})
}

func (a *app) doctor(ctx context.Context, f *doctorFlags) error {
	d := &doctor{root: os.DirFS("/"), f: f, settings: settings.Default()}
	checks := []func(context.Context){
		d.program, d.config, d.processor, d.memory, d.libraries, d.bundle, d.decoder, d.capture, d.cameras,
		d.reachBroker, d.clock, d.heat, d.folders, d.service,
	}
	bar := a.progress(len(checks), "doctor")
	for _, check := range checks {
		if err := ctx.Err(); err != nil {
			return err
		}
		check(ctx)
		bar.Add(1)
	}
	bar.Done()
	return a.doctorReport(d.findings)
}

func (a *app) doctorReport(findings []finding) error {
	r := doctorReport{Checks: findings}
	for _, f := range findings {
		switch f.State {
		case stateWarn:
			r.Warnings++
		case stateFail:
			r.Failures++
		}
		a.printf("%-4s  %-12s %s\n", f.State, f.Name, f.Text)
		if f.Remedy != "" {
			a.printf("%-4s  %-12s -> %s\n", "", "", f.Remedy)
		}
	}
	if a.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
	}
	if r.Failures > 0 {
		return fail(exitFailed, "%d of %d checks failed", r.Failures, len(findings))
	}
	a.printf("nothing is missing; warnings: %d\n", r.Warnings)
	return nil
}
