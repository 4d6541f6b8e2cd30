package control

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"nightseg/edge/disk/disktest"
	"nightseg/edge/settings"
)

const killDir = "NIGHTSEG_TEST_CONTROL"

// TestKilledChild is the process that TestKill kills: it applies documents as fast
// as it can, and says which are acknowledged.
func TestKilledChild(t *testing.T) {
	dir := os.Getenv(killDir)
	if dir == "" {
		t.Skip("only as a child of TestKill")
	}
	c := New(Options{Bases: bases(), Dir: dir, Answer: func(a settings.Ack) {
		if a.Result == settings.ResultApplied && a.Warning == "" {
			fmt.Printf("applied %d\n", a.Version)
		}
	}})
	c.Started(nil)
	p := &fake{probation: func(context.Context) (any, error) { return nil, nil }}
	for version := c.InForce().Version + 1; ; version++ {
		c.handle(t.Context(), p, []byte(doc(version, "")), nil)
	}
}

// TestKill kills a process at random moments, again and again on one folder.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := filepath.Join(t.TempDir(), "settings")
	r := rand.New(rand.NewPCG(5, 5))
	last := int64(0)
	for i := range 12 {
		lines, most := 0, 1+r.IntN(20)
		disktest.RunKilled(t, "TestKilledChild", []string{killDir + "=" + dir}, func(line string) bool {
			if _, err := fmt.Sscanf(line, "applied %d", &last); err != nil {
				t.Errorf("the child says %q", line)
				return true
			}
			lines++
			return lines > most
		})
		c := New(Options{Bases: bases(), Dir: dir, Degraded: func(why string) { t.Errorf("kill %d: degraded: %s", i, why) }})
		d := c.InForce()
		// One more may have been written down, but not yet told.
		if d.Version != last && d.Version != last+1 || d.Settings.Threshold != threshold(d.Version) {
			t.Errorf("kill %d: starts with %d, but %d was acknowledged", i, d.Version, last)
		}
		last = d.Version
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if last < 12 {
		t.Errorf("%d documents only", last)
	}
}
