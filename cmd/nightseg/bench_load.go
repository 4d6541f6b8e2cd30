package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits above which other programs spoil a timing, in cores kept busy.
const (
	quietBefore = 0.10 // in the second before
	quietDuring = 0.15 // while timing
)

// userTick is the unit of processor times in /proc.
const userTick = 10 * time.Millisecond

// loadMeter tells how busy other programs keep the machine. Its files are
// below root, as /proc is below /.
type loadMeter struct {
	root fs.FS
	ours []int // processes that belong to the measurement
}

func newLoadMeter(root fs.FS) *loadMeter { return &loadMeter{root: root} }

// beside names a process whose time is not another program's.
func (m *loadMeter) beside(pid int) { m.ours = append(m.ours, pid) }

// loadReading is a moment.
type loadReading struct {
	at     time.Time
	others time.Duration // processor time of all other programs since boot
}

func (m *loadMeter) read() loadReading {
	r := loadReading{at: time.Now(), others: busyTime(m.root) - processCPU()}
	for _, pid := range m.ours {
		_, t := processTime(m.root, strconv.Itoa(pid))
		r.others -= t
	}
	return r
}

// since returns the cores that others kept busy since a reading.
func (m *loadMeter) since(r loadReading) float64 {
	now := m.read()
	elapsed := now.at.Sub(r.at)
	if elapsed <= 0 {
		return 0
	}
	return max(0, float64(now.others-r.others)/float64(elapsed))
}

// quiet watches the machine for a second and refuses where others are at work.
func (m *loadMeter) quiet(ctx context.Context, force bool, a *app) error {
	before, each := m.read(), m.processes()
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
	}
	busy := m.since(before)
	if busy <= quietBefore {
		return nil
	}
	what := fmt.Sprintf("other programs keep %.2f cores busy (%s): times would not be worth much",
		busy, strings.Join(m.busiest(each), ", "))
	if force {
		a.notef("%s; timing all the same", what)
		return nil
	}
	return fail(exitRefused, "%s; end them, or give --force", what)
}

// busyTime reads how long the processors were not idle, from the first line of
// /proc/stat: user nice system idle iowait irq softirq steal.
func busyTime(root fs.FS) time.Duration {
	b, err := fs.ReadFile(root, "proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	fields := strings.Fields(string(line))
	var ticks int64
	for i, f := range fields {
		if i == 0 || i == 4 || i == 5 || i > 8 { // name, idle, iowait; guests are part of user
			continue
		}
		v, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0
		}
		ticks += v
	}
	return time.Duration(ticks) * userTick
}

// processTime reads the name of a process and its processor time from
// /proc/<pid>/stat; 0 where it has ended.
func processTime(root fs.FS, pid string) (name string, t time.Duration) {
	b, err := fs.ReadFile(root, path.Join("proc", pid, "stat"))
	if err != nil {
		return "", 0
	}
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return "", 0
	}
	name = string(b[open+1 : end])
	fields := strings.Fields(string(b[end+1:]))
	const utime, stime = 14 - 3, 15 - 3 // the fields after the name begin with the third
	if len(fields) <= stime {
		return name, 0
	}
	u, err1 := strconv.ParseInt(fields[utime], 10, 64)
	s, err2 := strconv.ParseInt(fields[stime], 10, 64)
	if err1 != nil || err2 != nil {
		return name, 0
	}
	return name, time.Duration(u+s) * userTick
}

// processes reads the processor times of all processes.
func (m *loadMeter) processes() map[string]time.Duration {
	out := map[string]time.Duration{}
	dirs, _ := fs.Glob(m.root, "proc/[0-9]*") // the pattern is right
	for _, d := range dirs {
		pid := path.Base(d)
		_, out[pid] = processTime(m.root, pid)
	}
	return out
}

// busiest names the three programs that worked most since the times of before.
func (m *loadMeter) busiest(before map[string]time.Duration) []string {
	type worker struct {
		text string
		t    time.Duration
	}
	var list []worker
	own := strconv.Itoa(os.Getpid())
	for pid, now := range m.processes() {
		name, _ := processTime(m.root, pid)
		if t := now - before[pid]; t > 0 && pid != own {
			list = append(list, worker{fmt.Sprintf("%s, process %s", name, pid), t})
		}
	}
	slices.SortFunc(list, func(a, b worker) int { return int(b.t - a.t) })
	var out []string
	for _, w := range list[:min(3, len(list))] {
		out = append(out, w.text)
	}
	if len(out) == 0 {
		out = append(out, "none that this user can see")
	}
	return out
}
