// Command nightseg reads a camera by night, segments each frame and publishes
// the class masks over MQTT; it also replays, scores, times and checks.
// Each sub-command is in a file of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2 // bad usage or bad settings
	exitRefused = 3 // a gate or a comparison did not hold
	exitStopped = 4 // run: the board asked for the end, and nobody is to start it again
)

// exitError is an error that carries the exit code of the program.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// fail makes an error that ends the program with code.
func fail(code int, format string, args ...any) error {
	return &exitError{code: code, err: fmt.Errorf(format, args...)}
}

// usage gives err the exit code of bad usage.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code: exitUsage, err: err}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends what hangs
	code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// execute runs the program with arguments and returns its exit code.
func execute(ctx context.Context, args []string, out, errOut io.Writer) int {
	a := &app{out: out, err: errOut}
	root := newRoot(a)
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	a.fault(err)
	var e *exitError
	switch {
	case errors.As(err, &e):
		return e.code
	case strings.HasPrefix(err.Error(), "unknown command"):
		return exitUsage
	}
	return exitFailed
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "nightseg",
		Short: "Lets a vehicle see at night: camera in, class masks out over MQTT",
		Long: "nightseg reads a camera, relights each frame, segments it with a quantised network,\n" +
			"re-weights the class probabilities and publishes class masks over MQTT.\n\n" +
			"Exit codes: 0 done, 1 failed, 2 bad usage or settings, 3 a gate or a comparison did not hold,\n" +
			"4 run was ended by a button or for the battery's sake.",
		Example: "  nightseg demo\n" +
			"  nightseg replay drive/ --rate max --json\n" +
			"  nightseg run --config nightseg.yaml",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().BoolVar(&a.json, "json", false, "write what a program reads: JSON on standard output")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w (see %s --help)", err, c.CommandPath()))
	})
	root.AddCommand(
		newRunCommand(a), newReplayCommand(a), newDemoCommand(a), newWatchCommand(a),
		newEvalCommand(a), newBenchCommand(a), newBundleCommand(a), newCalibrateCommand(a),
		newSynthCommand(a), newDoctorCommand(a), newConfigCommand(a), newBoardCommand(a),
		newUpdateCommand(a),
	)
	for _, c := range root.Commands() {
		checkArgs(c)
	}
	return root
}

// checkArgs makes wrong arguments end with the exit code of bad usage.
func checkArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			err := check(c, args)
			if err == nil {
				return nil
			}
			return usage(fmt.Errorf("%w (see %s --help)", err, c.CommandPath()))
		}
	}
	for _, sub := range c.Commands() {
		checkArgs(sub)
	}
}

// packaged is the version of the package that the program is in, set by its maker.
var packaged string

// version is the version of the package, or that of the module and the commit that
// it was built from.
func version() string {
	if packaged != "" {
		return packaged
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" {
		v = "(devel)"
	}
	return v
}
