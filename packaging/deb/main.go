// Command deb makes a Debian package of a description in nfpm's form. It holds
// nfpm as a library: its own program has parts for other kinds of packages, whose
// sources not every mirror has.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: deb DESCRIPTION.yaml PACKAGE.deb")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "deb:", err)
		os.Exit(1)
	}
}

func run(description, file string) (err error) {
	config, err := nfpm.ParseFileWithEnvMapping(description, os.Getenv)
	if err != nil {
		return err
	}
	info, err := config.Get("deb")
	if err != nil {
		return err
	}
	info = nfpm.WithDefaults(info)
	if err := nfpm.Validate(info); err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := errors.Join(deb.Default.Package(info, out), out.Close()); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}
