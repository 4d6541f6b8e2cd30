package main

import (
	"bytes"
	"io/fs"
	"math"
	"path"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nightseg/edge/frame"
)

// healthDocument is what is sent on health.
type healthDocument struct {
	Temperatures map[string]float64 `json:"temperatures_c"` // by thermal zone
	Throttled    bool               `json:"throttled"`      // a cooling device is at work
	MemoryMB     float64            `json:"memory_mb"`      // resident, of this program
	FreeMemoryMB float64            `json:"free_memory_mb"` // of the machine
	FreeDiskMB   float64            `json:"free_disk_mb"`   // where the state is kept
	ClockSynced  bool               `json:"clock_synced"`
	UptimeS      float64            `json:"uptime_s"` // of the machine
	Goroutines   int                `json:"goroutines"`
	Allocated    uint64             `json:"allocated_objects"` // by Go in this program since its start
	Board        *boardSnapshot     `json:"board,omitempty"`
}

const megabyte = 1 << 20

// readHealth reads the state of the machine from /proc and /sys below root.
// What a machine does not tell is left out, or 0.
func readHealth(root fs.FS, stateDir string) healthDocument {
	h := healthDocument{
		Temperatures: map[string]float64{}, ClockSynced: frame.ClockSynced(),
		UptimeS: frame.Mono().Seconds(), Goroutines: runtime.NumGoroutine(),
		MemoryMB: residentMB(root), FreeMemoryMB: memAvailableMB(root), Allocated: allocatedObjects(),
	}
	zones, _ := fs.Glob(root, "sys/class/thermal/thermal_zone*") // the pattern is right
	for _, z := range zones {
		if v, ok := readNumber(root, path.Join(z, "temp")); ok {
			h.Temperatures[readWord(root, path.Join(z, "type"))] = v / 1000
		}
	}
	coolers, _ := fs.Glob(root, "sys/class/thermal/cooling_device*")
	for _, c := range coolers {
		kind := readWord(root, path.Join(c, "type"))
		if v, ok := readNumber(root, path.Join(c, "cur_state")); ok && v > 0 && !strings.Contains(kind, "fan") {
			h.Throttled = true
		}
	}
	var st unix.Statfs_t
	if stateDir == "" {
		stateDir = "."
	}
	if unix.Statfs(stateDir, &st) == nil {
		h.FreeDiskMB = float64(st.Bavail) * float64(st.Bsize) / megabyte
	}
	return h
}

// allocatedObjects counts the objects that Go code has allocated since the start
// of the program, without stopping it as runtime.ReadMemStats does.
func allocatedObjects() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}, {Name: "/gc/heap/tiny/allocs:objects"}}
	metrics.Read(s)
	var n uint64
	for _, v := range s {
		if v.Value.Kind() == metrics.KindUint64 {
			n += v.Value.Uint64()
		}
	}
	return n
}

func readWord(root fs.FS, name string) string {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func readNumber(root fs.FS, name string) (float64, bool) {
	v, err := strconv.ParseFloat(readWord(root, name), 64)
	return v, err == nil
}

// residentMB is the resident memory of this program.
func residentMB(root fs.FS) float64 {
	fields := strings.Fields(readWord(root, "proc/self/statm"))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseFloat(fields[1], 64)
	if err != nil {
		return 0
	}
	return pages * float64(unix.Getpagesize()) / megabyte
}

func memAvailableMB(root fs.FS) float64 {
	b, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) >= 2 && f[0] == "MemAvailable:" {
			kb, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				return 0
			}
			return kb / 1024
		}
	}
	return 0
}

// startTicks reads when a program was started, on the clock since boot, from
// its /proc/<pid>/stat: field 22, in hundredths of a second.
func startTicks(stat []byte) time.Duration {
	end := bytes.LastIndexByte(stat, ')') // the program's name may hold spaces
	fields := strings.Fields(string(stat[end+1:]))
	const startTime = 22 - 3 // the fields after the name begin with the third
	if len(fields) <= startTime {
		return frame.Mono()
	}
	ticks, err := strconv.ParseInt(fields[startTime], 10, 64)
	const tick = time.Second / 100
	if err != nil || ticks < 0 || ticks > int64(math.MaxInt64/tick) {
		return frame.Mono()
	}
	return time.Duration(ticks) * tick
}

// processCPU is the processor time of this program so far, of all its threads.
func processCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
