// Command nightseg-lamp drives the lamp beside the camera. It shines only while somebody
// writes levels to its standard input, or to a pipe, at least each half a second: whatever
// happens to nightseg, the lamp goes out. It is a program of its own, and a small one, so
// that it has nothing in it that could hang.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"nightseg/firmware/lamp"
	"nightseg/firmware/tree"
)

func main() {
	// Without this a write to a feeder that has died would end the program, with the lamp on.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// flags are what the program was asked to do.
type flags struct {
	config, feed, root string
	off                bool
}

// execute runs the program and returns its exit code.
func execute(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	var f flags
	set := flag.NewFlagSet("nightseg-lamp", flag.ContinueOnError)
	set.SetOutput(errOut)
	set.StringVar(&f.config, "config", "", "JSON of the lamp, as nightseg board lamp writes it")
	set.StringVar(&f.feed, "feed", "", "pipe to read levels from, which is made (default: standard input)")
	set.StringVar(&f.root, "root", "/", "folder with /sys and /dev of a recorded machine")
	set.BoolVar(&f.off, "off", false, "turn the lamp off and end")
	set.Usage = func() {
		fmt.Fprint(errOut, "nightseg-lamp -config FILE [-feed PIPE] [-off]\n\nReads a level from 0 to 1 in each line. "+
			"Without one for half a second, at the end\nof the input and on SIGTERM the lamp is off.\n\n")
		set.PrintDefaults()
	}
	if err := set.Parse(args); err != nil {
		return 2
	}
	c, err := readConfig(f.config)
	if err != nil {
		fmt.Fprintln(errOut, "nightseg-lamp:", err)
		return 2
	}
	if err := f.run(ctx, c, in, out); err != nil {
		fmt.Fprintln(errOut, "nightseg-lamp:", err)
		return 1
	}
	return 0
}

func readConfig(name string) (c lamp.Config, err error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return c, fmt.Errorf("-config: %w", err)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("%s: %w; nightseg board lamp writes it", name, err)
	}
	if err := c.Validate(); err != nil {
		return c, fmt.Errorf("%s: %w; nightseg board lamp writes it", name, err)
	}
	return c, nil
}

func (f *flags) run(ctx context.Context, c lamp.Config, in io.Reader, out io.Writer) error {
	l := lamp.New(tree.Root(f.root), c)
	switch {
	case f.off:
		return l.Off()
	case f.feed == "":
		return l.Serve(ctx, in, out)
	}
	pipe, err := openPipe(f.feed)
	if err != nil {
		return errors.Join(err, l.Off())
	}
	return errors.Join(l.Serve(ctx, pipe, out), pipe.Close())
}

// openPipe makes a named pipe. It is open for writing too, so that it does not end when
// one feeder goes and the next comes: between them there is silence, which turns the lamp
// off as well.
func openPipe(name string) (*os.File, error) {
	if err := unix.Mkfifo(name, 0o660); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("-feed %s: %w", name, err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("-feed: %w", err)
	}
	s, err := f.Stat()
	if err == nil && s.Mode()&os.ModeNamedPipe == 0 {
		err = fmt.Errorf("-feed %s: not a pipe", name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
