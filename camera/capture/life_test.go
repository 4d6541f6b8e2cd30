package capture

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightseg/camera/capture/ring"
	"nightseg/edge/frame"
)

func TestCloseEndsTheProcess(t *testing.T) {
	t.Run("in order", func(t *testing.T) {
		note := filepath.Join(t.TempDir(), "note")
		s := openFakeSource(t, recording("note="+note), quick())
		pid := s.pid()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if alive(pid) {
			t.Error("the process lives on")
		}
		if _, err := os.Stat(note); err != nil {
			t.Errorf("the device was not closed: %v", err)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		lim := quick()
		lim.grace = 10 * time.Millisecond
		s := openFakeSource(t, recording("frames=9"), lim)
		pid := s.pid()
		signalTo(t, pid, syscall.SIGSTOP)
		for range 2 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if alive(pid) {
			t.Error("the process lives on")
		}
	})
	t.Run("hung", func(t *testing.T) { // the process ends itself when its input does
		lim := quick()
		lim.grace = time.Minute
		s := openFakeSource(t, recording("hang=0"), lim)
		pid := s.pid()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if alive(pid) {
			t.Error("the process lives on")
		}
	})
}

// beParent opens a source, says the number of its process and waits to be killed.
func beParent() int {
	exe, err := os.Executable()
	if err != nil {
		return 2
	}
	s, err := open(context.Background(), recording(os.Getenv("ADDRESS")), []string{exe}, []string{roleFake}, quick())
	if err != nil {
		return 3
	}
	fmt.Println(s.pid())
	<-s.done
	return 4
}

func TestProcessEndsWithItsParent(t *testing.T) {
	for _, address := range []string{"frames=100", "hang=0"} {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), roleParent, "ADDRESS="+address)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var pid int
		if _, err := fmt.Fscan(out, &pid); err != nil {
			t.Fatal(err)
		}
		if !runs(pid) {
			t.Errorf("%s: process %d does not run", address, pid)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		eventually(t, "orphan gone", func() bool { return !runs(pid) })
	}
}

// held counts what a source could leave behind.
func held(t *testing.T) (goroutines, files, rings int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return runtime.NumGoroutine(), len(fds), strings.Count(string(maps), "nightseg-ring")
}

func TestNothingIsLeftBehind(t *testing.T) {
	openFakeSource(t, recording("frames=1"), quick()) // what the runtime makes once
	g0, f0, r0 := held(t)
	lim := quick()
	lim.read = 50 * time.Millisecond
	for i := range 5 {
		for _, address := range []string{"frames=30&die-once=9", "frames=30&hang=9", "frames=30&die=9", "frames=0"} {
			s, err := tryFake(t, recording(address), lim)
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 { // else it is closed in the middle
				if _, err := drain(t, s, 0, nil); err == nil {
					t.Error("no end")
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if alive(s.pid()) {
				t.Errorf("%s: a process is left", address)
			}
		}
		if _, err := tryFake(t, camera("gone=/nowhere"), lim); err == nil {
			t.Error("opened what is not there")
		}
	}
	eventually(t, "as few goroutines and files as before", func() bool {
		g, f, r := held(t)
		return g <= g0 && f <= f0 && r <= r0
	})
}

func TestNextDoesNotAllocate(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates")
	}
	s := openFakeSource(t, recording("frames=100000"), quick())
	var f frame.Frame
	step := func() {
		if err := s.Next(t.Context(), &f); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		step()
	}
	if n := testing.AllocsPerRun(2000, step); n != 0 {
		t.Errorf("%v allocations per picture, want 0", n)
	}
}

func TestVersionsDiffer(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.CreateTemp(t.TempDir(), "ring")
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	conf := ring.Config{Version: ring.Version + 1, Slots: 1, SlotSize: 3}
	c, err := start([]string{exe}, []string{roleFake}, &conf, memory)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c.records)
	if err != nil {
		t.Fatal(err)
	}
	var r ring.Record
	_, err = r.Parse(b, &conf)
	if err != nil || r.Kind != ring.Failure || !strings.Contains(r.Text, fmt.Sprint("version ", ring.Version+1)) {
		t.Errorf("%+v, %v", r, err)
	}
	if !c.end(time.Minute, time.Minute) || c.cmd.ProcessState.Success() {
		t.Errorf("ended with %v", c.cmd.ProcessState)
	}
}
