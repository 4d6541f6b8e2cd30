package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"nightseg/edge/disk"
	"nightseg/firmware/update"
)

// programPath is the program within a slot.
const programPath = "usr/bin/nightseg"

// What the launcher tells the program that it starts.
const (
	envBase   = "NIGHTSEG_BASE"    // version of the system's own program
	envUpdate = "NIGHTSEG_UPDATE"  // id of the update that the program is of
	envFolder = "NIGHTSEG_UPDATES" // the folder of updates, whatever settings say of the state's
)

func newUpdateStage(a *app) *cobra.Command {
	f := &updateFlags{}
	var hash string
	c := &cobra.Command{
		Use:   "stage FILE|URL",
		Short: "Fetch and verify an update, and hand it on: a bundle to the service, a program to the installer",
		Long: "stage does what the service does with a command on cmd/update, on this device and by this user, who\n" +
			"must be the service's. The running service goes on with it. Exit code 3: it was refused.",
		Example: "  sudo -u nightseg nightseg update stage /media/stick/nightseg_1.2.0_amd64.nsup\n" +
			"  sudo -u nightseg nightseg update stage https://updates.example/street.nsup",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.updateStage(c.Context(), f, args[0], hash) },
	}
	f.add(c.Flags())
	c.Flags().StringVar(&hash, "sha256", "", "of the file, where it is known")
	return c
}

func (a *app) updateStage(ctx context.Context, f *updateFlags, source, hash string) error {
	d, err := f.open()
	if err != nil {
		return err
	}
	if err := d.Close(); err != nil {
		return err
	}
	if !strings.Contains(source, "://") {
		if source, err = filepath.Abs(source); err != nil {
			return err
		}
	}
	o := f.options()
	o.Logger = slog.New(slog.DiscardHandler)
	o.Tell = func(j update.Job) {
		if j.State == update.Fetching && j.Total > 0 && !a.json {
			a.notef("%s: %.1f of %.1f MB", j.State, float64(j.Done)/1e6, float64(j.Total)/1e6)
		}
	}
	j, err := update.New(o).Stage(ctx, "here-"+rand.Text()[:12], source, hash)
	if errors.Is(err, disk.ErrInUse) {
		return fmt.Errorf("the service is at another update, see nightseg update status: %w", err)
	}
	if err != nil {
		return refusal(err)
	}
	if j.State == update.Failed {
		return fail(exitRefused, "%s", j.Error)
	}
	if a.json {
		return a.printJSON(j)
	}
	next := map[update.State]string{
		update.Staged:   "nightseg-update.service installs it",
		update.Verified: "the service puts it into a slot, when it runs",
	}[j.State]
	a.printf("%s %s: %s; %s: nightseg update status\n", j.Name, j.Version, j.State, next)
	return nil
}

// options are what a machine needs that does not belong to a running service.
func (f *updateFlags) options() update.Options {
	return update.Options{
		Open:     func() (disk.Tree, error) { return disk.OpenTreeLocked(f.updates()) },
		Bundles:  func() (disk.Tree, error) { return disk.OpenTree(filepath.Join(f.state, "bundles")) },
		Programs: filesOf(f.slots),
		Keys:     func() (update.Keys, error) { return update.LoadKeys(f.keys) },
		Target:   f.target(), Base: version(), HTTP: update.NewHTTP(), Now: time.Now,
	}
}

func newUpdateApply(a *app) *cobra.Command {
	f := &updateFlags{}
	c := &cobra.Command{
		Use:   "apply",
		Short: "Install the program that the service has handed over: what nightseg-update.service runs, as root",
		Long: "apply copies the update to where only root writes, verifies it from scratch, and unpacks it into the slot\n" +
			"that is not in use. It starts nothing and runs nothing of it. Exit code 3: it was refused.",
		Example: "  sudo systemctl start nightseg-update    # as the group nightseg, which the service reads slots by",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return a.updateApply(c.Context(), f) },
	}
	f.add(c.Flags())
	return c
}

func (a *app) updateApply(ctx context.Context, f *updateFlags) (err error) {
	dir := filepath.Join(f.updates(), update.RequestDir)
	switch info, err := os.Lstat(dir); {
	case errors.Is(err, os.ErrNotExist):
		a.printf("%v (there is no %s)\n", update.ErrNoRequest, dir)
		return nil
	case err != nil:
		return err
	case !info.IsDir(): // whoever may write there wants another folder looked at
		return fail(exitRefused, "refused: %s is no folder", dir)
	}
	drop, err := disk.OpenTree(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, drop.Close()) }()
	slots, err := disk.OpenTreeLocked(f.slots)
	if err != nil {
		return fmt.Errorf("%s: %w", f.slots, err)
	}
	defer func() { err = errors.Join(err, slots.Close()) }()
	keys, err := update.LoadKeys(f.keys)
	if err != nil {
		a.notef("%v", err) // none is trusted then; the request is taken away all the same
	}
	i := &update.Installer{
		Drop: drop, Slots: slots, Keys: keys, Target: f.target(), Base: version(), Now: time.Now,
		Trials: func() (update.Trials, error) { return update.ReadTrials(filesOf(f.updates())) },
	}
	o, err := i.Apply(ctx)
	switch {
	case errors.Is(err, update.ErrNoRequest):
		a.printf("%v\n", err)
		return nil
	case err != nil:
		return err
	case o.Slot == "":
		return fail(exitRefused, "refused: %s", o.Error)
	case a.json:
		return a.printJSON(o)
	}
	a.printf("%s is in slot %s: the next start of the service tries it\n", o.Title, o.Slot)
	return nil
}

func newUpdateLaunch(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "launch [ARGUMENT...]",
		Short: "Become the program in force, with these arguments: what nightseg.service starts with",
		Long: "launch chooses between the slots and this program, counts the start of one that has not proven itself,\n" +
			"and becomes it. Whatever is wrong with slots and records, it starts something.",
		Example:            "  nightseg update launch run --config /etc/nightseg/nightseg.yaml",
		DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "--help" || args[0] == "-h" {
				return c.Help()
			}
			return a.updateLaunch(c.Context(), args)
		},
	}
}

// launchSlots is the folder of slots; tests have another.
func launchSlots() string { return cmp.Or(os.Getenv("NIGHTSEG_SLOTS"), slotsDir) }

func (a *app) updateLaunch(ctx context.Context, args []string) error {
	slots := launchSlots()
	dir := filepath.Join(deviceState(), "update")
	open := func() (disk.FS, error) { return disk.Open(dir) }
	for name, value := range map[string]string{envBase: version(), envFolder: dir} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	for range 3 { // slots, and none
		c := update.Launch(filesOf(slots), open, version())
		for _, n := range c.Notes {
			slog.Warn("update", "note", n)
		}
		if c.Name == "" {
			break
		}
		program := filepath.Join(slots, c.Name, programPath)
		err := syscall.Exec(program, append([]string{program}, args...), append(os.Environ(), envUpdate+"="+c.ID))
		slog.Error("update", "program", c.Title(), "error", err)
		if err := takeBack(open, c.ID, err); err != nil {
			slog.Error("update", "error", err)
			break
		}
	}
	root := newRoot(a)
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(a.err)
	return root.ExecuteContext(ctx)
}

func takeBack(open func() (disk.FS, error), id string, why error) error {
	d, err := open()
	if err != nil {
		return err
	}
	return errors.Join(update.Return(d, id, "does not start: "+why.Error()), d.Close())
}
