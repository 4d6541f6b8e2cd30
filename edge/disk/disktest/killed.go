package disktest

import (
	"bufio"
	"os"
	"os/exec"
	"testing"
)

// RunKilled runs one test of this program in a process of its own, with more of an
// environment, shows each line that it prints to heard, and kills the process when that
// first returns true. What it had printed before it died is shown all the same. A
// process that ends by itself is not killed.
func RunKilled(t testing.TB, child string, env []string, heard func(line string) (kill bool)) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^"+child+"$")
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }() // it was killed, or says so by what it did not print
	killed := false
	for sc := bufio.NewScanner(out); sc.Scan(); {
		if !heard(sc.Text()) || killed {
			continue
		}
		killed = true
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
	}
}
