package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"nightseg/edge/disk"
	"nightseg/edge/settings"
	"nightseg/firmware/board"
	"nightseg/firmware/tree"
	"nightseg/firmware/update"
)

// Folders of the installed service.
const (
	serviceState = "/var/lib/nightseg"
	slotsDir     = "/var/lib/nightseg-slots" // of programs; root's, the service may read it
)

func newUpdateCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "update",
		Short: "Bring signed bundles and programs to devices, and back again",
		Example: "  nightseg update keygen maker\n" +
			"  nightseg update sign nightseg_1.2.0_amd64.deb --key maker\n" +
			"  nightseg update status",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newUpdateKeygen(a), newUpdateSign(a), newUpdateVerify(a), newUpdateStage(a), newUpdateStatus(a),
		newUpdateApply(a), newUpdateMarkGood(a), newUpdateRollback(a), newUpdateLaunch(a))
	return c
}

// updateFlags say where the device keeps its updates.
type updateFlags struct {
	state, slots, keys, config string
	folder                     string // of updates; "": in state
}

func (f *updateFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.state, "state-dir", deviceState(), "folder of the service's state")
	fs.StringVar(&f.slots, "slots", slotsDir, "folder of the slots of programs")
	f.addTrust(fs)
}

func (f *updateFlags) addTrust(fs *pflag.FlagSet) {
	fs.StringVar(&f.keys, "keys", update.KeysDir, "folder of the public keys (*.pub) that are trusted")
	fs.StringVar(&f.config, "config", defaultConfig, "settings file, which says what fleet and device this is")
}

// deviceState is where the service of this machine keeps its state.
func deviceState() string {
	if os.Getenv("STATE_DIRECTORY") == "" && exists(serviceState) {
		return serviceState
	}
	return stateDir()
}

func (f *updateFlags) updates() string { return cmp.Or(f.folder, filepath.Join(f.state, "update")) }

// target is this machine, as updates name it.
func (f *updateFlags) target() update.Target {
	bases, _, _ := settings.Load(f.config, "") // where the file is bad the device has no name
	s := settings.Settings{}
	if bases[0].Source == settings.FromFile {
		s = bases[0].Settings
	}
	return targetOf(s)
}

func targetOf(s settings.Settings) update.Target {
	t := update.Target{Arch: runtime.GOARCH, Fleet: s.Fleet, Device: s.Device}
	if d, err := board.Detect(tree.Root("/")); err == nil {
		t.Board = d.Name
	}
	return t
}

// filesOf reads files of a folder.
func filesOf(dir string) func(name string) ([]byte, error) {
	return func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) }
}

// openUpdate opens the file of an update.
func openUpdate(name string) (*update.Update, *os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	var u *update.Update
	if err == nil {
		u, err = update.Open(f, info.Size())
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return u, f, nil
}

func newUpdateVerify(a *app) *cobra.Command {
	f := &updateFlags{}
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Say what an update is, and whether a trusted key has signed it",
		Long: "verify checks signature and content, and says whether the update is for this device. Exit code 3:\n" +
			"it is not what a trusted key has signed.",
		Example: "  nightseg update verify nightseg_1.2.0_amd64.nsup\n" +
			"  nightseg update verify street.nsup --keys keys/",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			u, file, err := openUpdate(args[0])
			if err != nil {
				return refusal(err)
			}
			defer file.Close() //nolint:errcheck // only read from
			keys, err := update.LoadKeys(f.keys)
			if err != nil {
				return usage(err)
			}
			if err := errors.Join(u.Signed(keys), u.Content(c.Context())); err != nil {
				return refusal(err)
			}
			return a.showUpdate(u, u.Fits(f.target()))
		},
	}
	f.addTrust(c.Flags())
	return c
}

// refusal gives a refused update the exit code of what did not hold.
func refusal(err error) error {
	var r *update.Refusal
	if errors.As(err, &r) {
		return &exitError{exitRefused, err}
	}
	return err
}

func (a *app) showUpdate(u *update.Update, unfit error) error {
	if a.json {
		return a.printJSON(map[string]any{"id": u.ID, "manifest": u.Manifest, "fits": unfit == nil})
	}
	a.printf("%s %s, a %s: signed, %d files, %.1f MB\n", u.Name, u.Version, u.Kind, u.Payload.Files,
		float64(u.Payload.Unpacked)/1e6)
	a.printf("  id       %s\n", u.ID)
	a.printf("  created  %s\n", u.Created.Format("2006-01-02 15:04 MST"))
	for _, w := range []struct {
		what string
		are  []string
	}{{"arch", u.For.Arch}, {"fleets", u.For.Fleets}, {"devices", u.For.Devices}, {"boards", u.For.Boards}} {
		if len(w.are) > 0 {
			a.printf("  %-8s %v\n", w.what, w.are)
		}
	}
	if unfit != nil {
		a.printf("  not for this device: %v\n", unfit)
	}
	return nil
}

// updateStatus is what a device knows of its updates, as --json prints it.
type updateStatus struct {
	Job     *update.Job            `json:"job"` // the last one
	InForce string                 `json:"in_force"`
	Slots   map[string]update.Slot `json:"slots"`   // of programs
	Bundles map[string]update.Slot `json:"bundles"` // slots of bundles
	Trials  update.Trials          `json:"trials"`
	Base    string                 `json:"base"` // version of this program
	Last    *update.Outcome        `json:"installer,omitempty"`
	Notes   []string               `json:"notes,omitempty"`
}

func newUpdateStatus(a *app) *cobra.Command {
	f := &updateFlags{}
	c := &cobra.Command{
		Use:     "status",
		Short:   "Say what is in the slots, how it does, and what became of the last update",
		Example: "  sudo nightseg update status\n  sudo nightseg update status --json | jq .job.state",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.updateStatus(f) },
	}
	f.add(c.Flags())
	return c
}

func (a *app) updateStatus(f *updateFlags) error {
	st := updateStatus{Base: version(), Trials: update.Trials{}, InForce: "the system's own program"}
	note := func(err error) {
		if err != nil {
			st.Notes = append(st.Notes, err.Error())
		}
	}
	var err error
	st.Job, err = update.ReadJob(filesOf(f.updates()))
	note(err)
	trials, err := update.ReadTrials(filesOf(f.updates()))
	note(err)
	st.Trials = append(st.Trials, trials...)
	slots, err := update.ReadSlots(filesOf(f.slots))
	note(err)
	bundles, err := update.ReadSlots(filesOf(filepath.Join(f.state, "bundles")))
	note(err)
	st.Slots, st.Bundles = slots.Slots, bundles.Slots
	if o, err := update.ReadOutcome(filesOf(f.slots)); err != nil {
		note(err)
	} else if !o.Time.IsZero() {
		st.Last = &o
	}
	now := update.Choose(slots, st.Trials, version())
	if now.Name != "" {
		st.InForce = now.Title()
	}
	if a.json {
		return a.printJSON(st)
	}
	a.printf("in force  %s (installed by packages: %s)\n", st.InForce, st.Base)
	for _, k := range sortedKeys(st.Slots) {
		s := st.Slots[k]
		t := st.Trials.Of(s.ID)
		a.printf("slot %s    %s, %s\n", k, s.Title(), trialWords(t))
	}
	for _, k := range sortedKeys(st.Bundles) {
		a.printf("bundle %s  %s\n", k, st.Bundles[k].Title())
	}
	if j := st.Job; j != nil {
		a.printf("last      %s %s: %s %s\n", j.Name, j.Version, j.State, j.Error)
	}
	for _, n := range st.Notes {
		a.notef("%s", n)
	}
	return nil
}

func trialWords(t update.Trial) string {
	switch {
	case t.Returned != "":
		return "taken back: " + t.Returned
	case t.Good:
		return "good"
	case t.Starts == 0:
		return "not started yet"
	}
	return fmt.Sprintf("on trial, %d of %d starts", t.Starts, update.MostStarts)
}

func newUpdateMarkGood(a *app) *cobra.Command {
	return a.newUpdateTrial("mark-good", "Keep the program on trial, although it has not proven itself",
		func(d disk.FS, id string) error { return update.MarkGood(d, id) })
}

func newUpdateRollback(a *app) *cobra.Command {
	return a.newUpdateTrial("rollback", "Take the program in force back; the next start is of the one before it",
		func(d disk.FS, id string) error { return update.Return(d, id, "by hand") })
}

func (a *app) newUpdateTrial(use, short string, do func(d disk.FS, id string) error) *cobra.Command {
	f := &updateFlags{}
	c := &cobra.Command{
		Use: use, Short: short,
		Example: "  sudo -u nightseg nightseg update " + use + " && sudo systemctl restart nightseg",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) (err error) {
			d, err := f.open()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, d.Close()) }()
			slots, err := update.ReadSlots(filesOf(f.slots))
			if err != nil {
				return err
			}
			trials, err := update.ReadTrials(filesOf(f.updates()))
			if err != nil {
				return err
			}
			now := update.Choose(slots, trials, version())
			if now.Name == "" {
				return fail(exitRefused, "no update is in force: the system's own program runs")
			}
			if err := do(d, now.ID); err != nil {
				return err
			}
			a.printf("%s: %s\n", now.Title(), use)
			return nil
		},
	}
	f.add(c.Flags())
	return c
}

// open opens the folder of updates, which must stay the service's own.
func (f *updateFlags) open() (disk.Tree, error) {
	var st unix.Stat_t
	if err := unix.Stat(f.state, &st); err == nil && int(st.Uid) != os.Geteuid() {
		return nil, fail(exitUsage, "%s belongs to another user, and what you would write there it could not change: "+
			"use sudo -u %s", f.state, serviceUser)
	}
	return disk.OpenTree(f.updates())
}
