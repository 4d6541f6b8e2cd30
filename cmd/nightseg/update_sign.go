package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"nightseg/firmware/update"
	"nightseg/model"
)

func newUpdateKeygen(a *app) *cobra.Command {
	var passwordFile string
	var plain bool
	c := &cobra.Command{
		Use:   "keygen NAME",
		Short: "Make a key that signs updates: NAME, secret, and NAME.pub for the devices",
		Long: "keygen writes a key of minisign's form, encrypted with a password, whose derivation takes 1 GB of\n" +
			"memory for some seconds. Keys that minisign -G has made do as well.",
		Example: "  nightseg update keygen maker\n  nightseg update keygen ci --no-password",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			password := ""
			if !plain {
				var err error
				if password, err = a.password(passwordFile); err != nil {
					return err
				}
				if password == "" {
					return fail(exitUsage, "the password is empty: give one, or --no-password")
				}
			}
			k, err := update.NewKey()
			if err != nil {
				return err
			}
			if err := update.SaveKey(args[0], k, password); err != nil {
				return err
			}
			a.printf("%s: keep it secret\n%s.pub: put it into %s of the devices\n", args[0], args[0], update.KeysDir)
			return nil
		},
	}
	c.Flags().StringVar(&passwordFile, "password-file", "", "file whose first line is the password (default: asked for)")
	c.Flags().BoolVar(&plain, "no-password", false, "write the secret key as it is")
	return c
}

// password reads the first line of a file, or asks.
func (a *app) password(file string) (string, error) {
	if file != "" {
		b, err := os.ReadFile(file)
		line, _, _ := strings.Cut(string(b), "\n")
		return strings.TrimSuffix(line, "\r"), usage(err)
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", fail(exitUsage, "--password-file is missing, and there is no terminal to ask at")
	}
	a.notef("password:")
	b, err := term.ReadPassword(int(os.Stdin.Fd()))
	return string(b), err
}

// signFlags are what sign was asked to make.
type signFlags struct {
	update.For
	key, passwordFile, out, min string
	replaces                    []string
}

func newUpdateSign(a *app) *cobra.Command {
	f := &signFlags{}
	c := &cobra.Command{
		Use:   "sign FROM...",
		Short: "Make an update of a bundle, or of Debian packages of one version",
		Long: "sign packs a bundle's folder, or the programs, libraries and bundles out of packages (nightseg first,\n" +
			"then nightseg-capture where devices use it), and signs what it is and for whom. An entry of --device,\n" +
			"--fleet and --board that ends in * stands for all that begin with it.",
		Example: "  nightseg update sign out/nightseg_1.2.0_amd64.deb out/nightseg-capture_1.2.0_amd64.deb --key maker\n" +
			"  nightseg update sign mine/ --key maker --fleet yard --device 'car*'",
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.updateSign(f, args) },
	}
	fs := c.Flags()
	fs.StringVar(&f.key, "key", "", "secret key, of keygen or minisign")
	fs.StringVar(&f.passwordFile, "password-file", "", "file whose first line is its password (default: asked for)")
	fs.StringVar(&f.out, "out", "", "file to write (default: NAME_VERSION.nsup, or NAME_VERSION_ARCH.nsup)")
	fs.StringSliceVar(&f.Fleets, "fleet", nil, "fleets that it is for (default: all)")
	fs.StringSliceVar(&f.Devices, "device", nil, "devices that it is for (default: all)")
	fs.StringSliceVar(&f.Boards, "board", nil, "boards that it is for, as nightseg board list names them (default: all)")
	fs.StringSliceVar(&f.Arch, "arch", nil, "architectures that a bundle is for (default: all)")
	fs.StringVar(&f.min, "min-version", "", "lowest version that it may follow")
	fs.StringSliceVar(&f.replaces, "replaces", nil, "higher version that it may take the place of all the same")
	return c
}

func (a *app) updateSign(f *signFlags, from []string) (err error) {
	if f.key == "" {
		return fail(exitUsage, "--key is missing")
	}
	m := &update.Manifest{
		Schema: update.Schema, Created: time.Now().UTC().Truncate(time.Second), For: f.For, MinVersion: f.min,
		Replaces: f.replaces,
	}
	tmp, err := os.MkdirTemp("", "nightseg-update-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	folder, keep := from[0], func(string) bool { return true }
	if strings.HasSuffix(from[0], ".deb") {
		folder, keep = filepath.Join(tmp, "tree"), ofProgram
		err = fromPackages(m, folder, from)
	} else {
		err = fromBundle(m, from)
	}
	if err != nil {
		return err
	}
	key, err := a.readKey(f)
	if err != nil {
		return err
	}
	payload, err := packPayload(m, filepath.Join(tmp, "payload"), folder, keep)
	if err != nil {
		return err
	}
	defer payload.Close() //nolint:errcheck // a temporary file
	if f.out == "" {
		f.out = strings.Join(append([]string{m.Name, m.Version}, m.For.Arch...), "_") + ".nsup"
	}
	out, err := os.Create(f.out)
	if err != nil {
		return err
	}
	if err := errors.Join(update.Make(out, m, key, payload), out.Close()); err != nil {
		return errors.Join(usage(err), os.Remove(f.out))
	}
	if a.json {
		return a.printJSON(map[string]any{"path": f.out, "manifest": m})
	}
	a.printf("%s: %s %s, %d files, %.1f MB\n", f.out, m.Name, m.Version, m.Payload.Files, float64(m.Payload.Size)/1e6)
	return nil
}

func (a *app) readKey(f *signFlags) (*update.Key, error) {
	text, err := os.ReadFile(f.key)
	if err != nil {
		return nil, usage(err)
	}
	k, err := update.ReadKey(text, "")
	if err == nil {
		return k, nil
	}
	password, err := a.password(f.passwordFile)
	if err != nil {
		return nil, err
	}
	k, err = update.ReadKey(text, password)
	return k, usage(err)
}

// packPayload packs a folder into a file, and notes in the manifest what is in it.
func packPayload(m *update.Manifest, name, folder string, keep func(string) bool) (*os.File, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	m.Payload.Files, m.Payload.Unpacked, err = update.Pack(io.MultiWriter(f, hash), os.DirFS(folder), keep)
	if err == nil {
		m.Payload.Size, err = f.Seek(0, io.SeekCurrent)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	m.Payload.SHA256 = hex.EncodeToString(hash.Sum(nil))
	return f, nil
}

func fromBundle(m *update.Manifest, from []string) error {
	if len(from) > 1 {
		return fail(exitUsage, "one bundle makes one update, but %d were given", len(from))
	}
	b, err := model.Open(from[0])
	if err != nil {
		return err
	}
	if b.Dir != b.Path {
		return fail(exitUsage, "%s is no folder: name the folder of the bundle, or a .deb", from[0])
	}
	m.Kind, m.Name, m.Version = update.Bundle, b.Name, b.Version
	return nil
}

// ofProgram are the files of packages that a slot holds. Units, rules and users stay
// with the system's own package.
func ofProgram(name string) bool {
	for _, dir := range []string{"usr/bin/", "usr/lib/nightseg/", "usr/share/nightseg/bundles/"} {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return false
}

// fromPackages unpacks packages of one version into a folder.
func fromPackages(m *update.Manifest, folder string, from []string) error {
	for i, deb := range from {
		out, err := exec.Command("dpkg-deb", "-f", deb, "Package", "Version", "Architecture").CombinedOutput()
		if err != nil {
			return usage(fmt.Errorf("dpkg-deb -f %s: %w: %s", deb, err, out))
		}
		field := map[string]string{}
		for line := range strings.Lines(string(out)) {
			k, v, _ := strings.Cut(strings.TrimSpace(line), ": ")
			field[k] = v
		}
		name, version, arch := field["Package"], field["Version"], field["Architecture"]
		if i == 0 {
			m.Kind, m.Name, m.Version, m.For.Arch = update.Package, name, version, []string{arch}
		}
		if version != m.Version || arch != m.For.Arch[0] {
			return fail(exitUsage, "%s is %s for %s, but %s is %s for %s: programs of one update belong together",
				deb, version, arch, from[0], m.Version, m.For.Arch[0])
		}
		if out, err := exec.Command("dpkg-deb", "-x", deb, folder).CombinedOutput(); err != nil {
			return fmt.Errorf("dpkg-deb -x %s: %w: %s", deb, err, out)
		}
	}
	if m.Name != "nightseg" || !exists(filepath.Join(folder, programPath)) {
		return fail(exitUsage, "%s is not the package nightseg, with /%s in it: name that first", from[0], programPath)
	}
	return nil
}
