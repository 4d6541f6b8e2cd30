package control

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/edge/disk"
	"nightseg/edge/disk/disktest"
	"nightseg/edge/settings"
)

// falls starts, and lets the process end each time before anything is proven.
func falls(t *testing.T, m *disktest.FS, n int, set ...func(*Options)) {
	t.Helper()
	for range n {
		_ = build(t, m, set...).Close()
	}
}

// begins starts and says with what.
func begins(t *testing.T, m *disktest.FS, want string, set ...func(*Options)) (reason string) {
	t.Helper()
	r := build(t, m, set...)
	defer func() { _ = r.Close() }()
	rep := r.reported()
	if got := fmt.Sprintf("%s %d", rep.Source, rep.Version); got != want {
		t.Errorf("starts with %s, want %s (%s)", got, want, r.reason)
	}
	return r.reason
}

// kept makes a folder with the documents 1 and 2.
func kept(t *testing.T, m *disktest.FS) {
	t.Helper()
	r := start(t, m)
	r.apply(1, "")
	r.apply(2, "")
	r.stop()
}

func TestStartsWithWhatWasKept(t *testing.T) {
	bubble(t, func(t *testing.T, m *disktest.FS) {
		kept(t, m)
		r := start(t, m) // no broker has said anything yet
		defer r.stop()
		if d := r.InForce(); d.Version != 2 || d.Settings.Threshold != threshold(2) || r.reason != "" {
			t.Errorf("starts with %+v, %s", d, r.reason)
		}
		r.want(r.send(doc(2, "")), "2 unchanged")
		if rec := r.store.current; rec.Bundle != "b1" || rec.Document != doc(2, "") || r.store.previous.Version != 1 {
			t.Errorf("kept %+v", rec)
		}
	})
}

// The settings file may have been edited meanwhile.
func TestDocumentOverAnotherFile(t *testing.T) {
	bubble(t, func(t *testing.T, m *disktest.FS) {
		kept(t, m)
		edit := func(change func(*settings.Settings)) func(*Options) {
			return func(o *Options) { change(&o.Bases[0].Settings) }
		}
		codec := edit(func(s *settings.Settings) { s.Codec = "rle-zstd" })
		r := start(t, m, codec)
		if d := r.InForce(); d.Version != 2 || d.Settings.Codec != "rle-zstd" || d.Settings.Threshold != threshold(2) {
			t.Errorf("starts with %+v", d)
		}
		r.want(r.send(doc(2, "")), "2 unchanged")
		r.apply(3, `,"relight":{"bright":100}`)
		r.stop()
		// Now the document contradicts the file.
		dark := edit(func(s *settings.Settings) { s.Relight.Dark, s.Relight.Bright = 120, 130 })
		why := begins(t, m, "previous 2", dark)
		if !strings.Contains(why, "version 3 does not fit any more: relight.bright") {
			t.Errorf("degraded %q", why)
		}
		begins(t, m, "desired 3", codec)
	})
}

func TestSettingsThatEndTheProcessAreSetAside(t *testing.T) {
	bubble(t, func(t *testing.T, m *disktest.FS) {
		kept(t, m)
		for _, next := range []string{"desired 2", "previous 1", "file 0", "last-good 0"} {
			begins(t, m, next)
			falls(t, m, maxFalls-1)
		}
		why := begins(t, m, "factory 0")
		for _, want := range []string{
			"version 2 is set aside: 3 starts in a row", "the settings file is set aside", "running",
		} {
			if !strings.Contains(why, want) {
				t.Errorf("degraded %q, want %q in it", why, want)
			}
		}
		// With the factory settings it ends too: it is not the settings. All are tried again.
		falls(t, m, maxFalls-1)
		if why := begins(t, m, "desired 2"); !strings.Contains(why, "all settings are tried again") {
			t.Errorf("degraded %q", why)
		}
	})
}

func TestSetAsideIsNotTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, m *disktest.FS) {
		kept(t, m)
		falls(t, m, maxFalls)
		r := start(t, m)
		if got := r.InForce().Version; got != 1 || r.reason == "" {
			t.Fatalf("starts with %d, %s", got, r.reason)
		}
		r.want(r.send(doc(2, "")), "2 rejected") // the broker still has it
		r.Started(nil)
		r.apply(3, "")
		if r.reason != "" {
			t.Errorf("still degraded: %s", r.reason)
		}
		r.stop()
		begins(t, m, "desired 3")
		falls(t, m, maxFalls-1)
		begins(t, m, "previous 1") // and not 2
	})
}

func TestWhatDoesNotCountAsAFall(t *testing.T) {
	t.Run("proven", func(t *testing.T) {
		bubble(t, func(t *testing.T, m *disktest.FS) {
			for range 2 * maxFalls {
				r := build(t, m)
				r.Started(map[string]int{"frames": 7})
				if rep := r.reported(); r.kept != 1 || string(rep.Figures) != `{"frames":7}` {
					t.Errorf("kept %d, figures %s", r.kept, rep.Figures)
				}
				r.Started(nil)
				_ = r.Close()
			}
			begins(t, m, "file 0")
		})
	})
	t.Run("stopped", func(t *testing.T) {
		bubble(t, func(t *testing.T, m *disktest.FS) {
			falls(t, m, maxFalls-1)
			for range 2 * maxFalls {
				r := start(t, m)
				r.stop()
			}
			begins(t, m, "file 0")
			begins(t, m, "last-good 0")
		})
	})
	t.Run("a document was proven", func(t *testing.T) {
		bubble(t, func(t *testing.T, m *disktest.FS) {
			falls(t, m, maxFalls-1)
			r := start(t, m)
			r.apply(1, "")
			r.stop()
			falls(t, m, maxFalls-1)
			begins(t, m, "desired 1")
		})
	})
	t.Run("power cuts", func(t *testing.T) {
		bubble(t, func(t *testing.T, m *disktest.FS) {
			boots := 0
			next := func(o *Options) {
				boots++
				o.Boot = fmt.Sprint(boots)
			}
			falls(t, m, maxCuts-1, next)
			begins(t, m, "file 0", next)
			begins(t, m, "last-good 0", next) // but not for ever: a driver may take the machine down
			falls(t, m, maxFalls-1, func(o *Options) { o.Boot = fmt.Sprint(boots) })
			begins(t, m, "factory 0", func(o *Options) { o.Boot = fmt.Sprint(boots) })
		})
	})
	t.Run("edited", func(t *testing.T) {
		bubble(t, func(t *testing.T, m *disktest.FS) {
			falls(t, m, maxFalls)
			begins(t, m, "last-good 0")
			begins(t, m, "file 0", func(o *Options) { o.Bases[0].Settings.Codec = "rle-zstd" })
		})
	})
}

// A document on whose trial the process ends is tried three times.
func TestTrialThatEndsTheProcess(t *testing.T) {
	bubble(t, func(t *testing.T, m *disktest.FS) {
		begin := start(t, m)
		begin.apply(1, "")
		begin.stop()
		for i := range maxFalls {
			r := start(t, m)
			if got := r.InForce().Version; got != 1 {
				t.Errorf("start %d with %d", i, got)
			}
			r.Started(nil)
			r.want(r.send(doc(2, "")), "2 trial")
			before := m.Killed(m.Count(), 0).Sealed() // the process ends here
			r.stop()
			m = before
		}
		r := start(t, m)
		r.Offer([]byte(doc(2, "")))
		a := r.last()
		if a.Result != settings.ResultRejected || !strings.Contains(a.Reason, "ended 3 times while it was on trial") {
			t.Errorf("answer %+v", a)
		}
		r.apply(3, "")
		r.stop()
	})
}

func TestFallback(t *testing.T) {
	bubble(t, func(t *testing.T, m *disktest.FS) {
		kept(t, m)
		r := build(t, m)
		if d := r.Fallback("bundle x: no such folder"); d.Version != 1 || r.InForce().Version != 1 {
			t.Errorf("falls back to %+v", d)
		}
		rep := r.reported()
		if rep.Source != settings.FromPrevious || !strings.Contains(r.reason, "version 2: bundle x: no such") {
			t.Errorf("reported %+v, degraded %q", rep, r.reason)
		}
		r.run()
		r.want(r.send(doc(2, "")), "2 trial") // the bundle may be there by now
		r.want(r.pass(5*time.Second), "2 applied")
		r.stop()
		r = build(t, m)
		for range 10 {
			r.Fallback("nothing works")
		}
		if rep := r.reported(); rep.Source != settings.FromFactory {
			t.Errorf("reported %+v", rep)
		}
		_ = r.Close()
		begins(t, m, "desired 2") // in that run only
	})
}

func TestDamagedFiles(t *testing.T) {
	good := func(v any) []byte {
		b, err := disk.Seal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, b := range map[string][]byte{
		"empty": nil, "zeros": make([]byte, 300), "noise": []byte("\x00\xff{"), "no JSON": []byte("{"),
		"no seal": []byte(`{"version":2}`), "another type": good("text"), "another key": good(map[string]int{"versoin": 2}),
		"longer": append(good(record{Version: 2, Document: doc(2, "")}), '1'),
		"huge":   make([]byte, maxFile+1),
	} {
		for file, want := range map[string]string{
			currentFile: "previous 1", previousFile: "desired 2", refusedFile: "desired 2", startsFile: "desired 2",
		} {
			t.Run(name+" "+file, func(t *testing.T) {
				bubble(t, func(t *testing.T, m *disktest.FS) {
					kept(t, m)
					m.Put(file, b)
					if why := begins(t, m, want); !strings.Contains(why, file+" cannot be read") {
						t.Errorf("degraded %q", why)
					}
					if name != "huge" && m.Bytes(file+badSuffix) == nil {
						t.Errorf("files %v", m.Names())
					}
					r := start(t, m)
					r.apply(3, "")
					r.stop()
				})
			})
		}
	}
	t.Run("every bit", func(t *testing.T) {
		bubble(t, func(t *testing.T, m *disktest.FS) {
			kept(t, m)
			for i := range *m.Bytes(currentFile) {
				s := m.Killed(m.Count(), 0)
				(*s.Bytes(currentFile))[i] ^= 1 << (i % 8)
				r := build(t, s)
				if v := r.InForce().Version; v != 1 && !(v == 2 && r.InForce().Settings.Threshold == threshold(2)) {
					t.Fatalf("bit of byte %d: starts with %d", i, v)
				}
				_ = r.Close()
			}
		})
	})
}

func TestBadDisk(t *testing.T) {
	for name, c := range map[string]struct {
		err error
		ops string
	}{
		"read-only":       {syscall.EROFS, "create truncate write sync rename remove syncdir"},
		"full":            {syscall.ENOSPC, "write"},
		"no folder":       {syscall.EROFS, "folder"},
		"in use":          {disk.ErrInUse, "folder"},
		"nothing is read": {syscall.EIO, "read list"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, m *disktest.FS) {
				broken := func(op, _ string, n int) (int, error) {
					if strings.Contains(" "+c.ops+" ", " "+op+" ") {
						return 0, c.err
					}
					return n, nil
				}
				if name == "nothing is read" {
					kept(t, m)
				}
				m.SetFault(broken)
				r := start(t, m)
				defer func() { r.stop() }()
				if r.reason == "" {
					t.Error("not degraded")
				}
				r.Offer([]byte(doc(8, "")))
				<-time.After(5 * time.Second)
				a := r.last()
				works := name == "nothing is read"
				if a.Result != settings.ResultApplied || !works && !strings.Contains(a.Warning, "will not outlive a restart") ||
					!works && !strings.Contains(a.Warning, c.err.Error()) {
					t.Errorf("answer %+v", a)
				}
				if r.f.running().Version != 8 {
					t.Error("not in force")
				}
				m.SetFault(nil)
				r.Offer([]byte(doc(9, "")))
				<-time.After(5 * time.Second)
				if a := r.last(); a.Result != settings.ResultApplied || a.Warning != "" || r.reason != "" {
					t.Errorf("the disk is well again: %+v, degraded %q", a, r.reason)
				}
				r.stop()
				begins(t, m, "desired 9")
			})
		})
	}
}

// On a real disk, with a lock.
func TestOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "settings")
	synctest.Test(t, func(t *testing.T) {
		real := func(o *Options) { o.Dir, o.Open = dir, disk.OpenLocked }
		r := start(t, disktest.New(), real)
		r.apply(1, "")
		second := build(t, disktest.New(), real)
		if !strings.Contains(second.reason, "another process") || second.InForce().Version != 0 {
			t.Errorf("a second service: %q", second.reason)
		}
		_ = second.Close()
		r.stop()
		if err := r.Close(); err != nil {
			t.Errorf("closed twice: %v", err)
		}
		begins(t, disktest.New(), "desired 1", real)
		if err := os.WriteFile(filepath.Join(dir, currentFile), []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
		begins(t, disktest.New(), "file 0", real)
		if _, err := os.Stat(filepath.Join(dir, currentFile+badSuffix)); err != nil {
			t.Error(err)
		}
	})
	if errors.Is(os.RemoveAll(dir), os.ErrPermission) {
		t.Error("the folder cannot be removed")
	}
}

func FuzzStore(f *testing.F) {
	b, err := disk.Seal(record{Version: 2, Document: doc(2, ""), SHA256: strings.Repeat("0", 64)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"sha256":"","body":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := unseal[record](b)
		if err != nil {
			return
		}
		again, err := disk.Seal(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := unseal[record](again); err != nil || got.Document != r.Document {
			t.Fatalf("%q became %q", b, again)
		}
	})
}
