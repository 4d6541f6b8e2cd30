package disk_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"nightseg/edge/disk"
	"nightseg/edge/disk/disktest"
)

// versions are contents of a file, each longer than a sector.
func versions(n int) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		for j := range 200 {
			list[i] = fmt.Appendf(list[i], "%d/%d ", i, j)
		}
	}
	return list
}

// broken writes versions of a file on a disk that keeps a journal, cuts it after
// every operation in many ways, and returns what is then wrong.
func broken(t *testing.T, lazy ...string) (wrong []string) {
	m := disktest.New()
	m.Lazy(lazy...)
	all := versions(6)
	safe := make([]int, len(all)) // operations done when WriteAtomic returned
	for i, b := range all {
		if err := disk.WriteAtomic(m, "f", b); err != nil {
			t.Fatal(err)
		}
		safe[i] = m.Count()
	}
	r := rand.New(rand.NewPCG(1, 2))
	for at := range m.Count() + 1 {
		states := []*disktest.FS{m.Killed(at, r.Float64())}
		for range 20 {
			states = append(states, m.Cut(at, r))
		}
		for _, s := range states {
			least := -1
			for i := range safe {
				if safe[i] <= at {
					least = i
				}
			}
			got, err := disk.ReadFile(s, "f", 1<<20)
			found := -1
			for i := range all {
				if string(all[i]) == string(got) {
					found = i
				}
			}
			switch {
			case errors.Is(err, fs.ErrNotExist) && least < 0:
			case err != nil:
				wrong = append(wrong, fmt.Sprintf("after %d: %v", at, err))
			case found < least:
				wrong = append(wrong, fmt.Sprintf("after %d: content %d, must be %d or later", at, found, least))
			}
		}
	}
	return wrong
}

func TestWriteAtomicThroughCrashes(t *testing.T) {
	if wrong := broken(t); len(wrong) > 0 {
		t.Errorf("%d states are wrong, the first: %s", len(wrong), wrong[0])
	}
}

// The test above is worth what it finds.
func TestCrashesAreFoundWithoutSync(t *testing.T) {
	for _, kind := range []string{"sync", "syncdir"} {
		if len(broken(t, kind)) == 0 {
			t.Errorf("without %s all is well", kind)
		}
	}
}

func TestWriteAtomicOnABadDisk(t *testing.T) {
	for _, op := range []string{"open", "create", "truncate", "write", "sync", "rename", "syncdir"} {
		t.Run(op, func(t *testing.T) {
			m := disktest.New()
			if err := disk.WriteAtomic(m, "f", []byte("old")); err != nil {
				t.Fatal(err)
			}
			m.SetFault(func(o, _ string, n int) (int, error) {
				if o == op {
					return n / 2, syscall.ENOSPC
				}
				return n, nil
			})
			if err := disk.WriteAtomic(m, "f", []byte("new content")); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("got %v", err)
			}
			m.SetFault(nil)
			got, err := disk.ReadFile(m, "f", 100)
			want := "old"
			if op == "syncdir" {
				want = "new content" // there, but nobody knows for how long
			}
			if err != nil || string(got) != want {
				t.Errorf("got %q, %v", got, err)
			}
			if names := m.Names(); len(names) != 1 || m.Handles() != 0 {
				t.Errorf("files %v, %d open", names, m.Handles())
			}
		})
	}
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	f, err := disk.OpenLocked(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.OpenLocked(dir); !errors.Is(err, disk.ErrInUse) {
		t.Errorf("a second lock: %v", err)
	}
	if err := disk.Keep(filepath.Join(dir, "kept"), []byte("text")); err != nil { // needs no lock
		t.Error(err)
	}
	before, err := os.Stat(filepath.Join(dir, "kept"))
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.Keep(filepath.Join(dir, "kept"), []byte("text")); err != nil {
		t.Error(err)
	}
	if after, err := os.Stat(filepath.Join(dir, "kept")); err != nil || !os.SameFile(before, after) {
		t.Errorf("equal content was written again: %v", err)
	}
	if got, err := disk.ReadFile(f, "kept", 4); err != nil || string(got) != "text" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := disk.ReadFile(f, "kept", 3); err == nil {
		t.Error("a file above the limit was read")
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.ReadFile(f, "folder", 3); err == nil {
		t.Error("a folder was read")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	again, err := disk.OpenLocked(dir)
	if err != nil {
		t.Fatalf("the lock was not given back: %v", err)
	}
	_ = again.Close()
}
