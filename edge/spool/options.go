package spool

import (
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"strings"
	"time"

	"nightseg/edge/disk"
	"nightseg/edge/frame"
)

// Options of a Spool. Zero values stand for the defaults.
type Options struct {
	Dir          string
	MaxBytes     int64         // of all files; 256 MiB
	MaxAge       time.Duration // since capture; 7 days
	SegmentBytes int64         // 1 MiB: what is dropped at once
	MaxPayload   int           // 512 KiB

	QueueBytes   int // in memory, waiting for the disk; 8 MiB
	QueueRecords int // 512

	Window      int // messages of a class that are read ahead or not yet confirmed; 32
	WindowBytes int // of a class; 2 MiB

	Sync         time.Duration // a mask is on the disk for good this long after it was written; 5 s
	SyncEvents   time.Duration // an event; 100 ms
	ConfirmEvery time.Duration // confirmations are on the disk for good after this; 1 s
	ConfirmBatch int           // or after so many; 64

	RetryMin  time.Duration // between tries on a bad disk; 1 s
	RetryMax  time.Duration // 30 s
	SlowAfter time.Duration // an operation on the disk that takes longer makes "degraded"; 2 s

	Logger *slog.Logger
	Now    func() Time                       // the clock of ages
	Boot   uint64                            // names the boot that Mono counts from; ReadBoot
	Open   func(dir string) (disk.FS, error) // the operating system's folder
}

// Check reports every value that makes no sense.
func (o Options) Check() error {
	o.setDefaults()
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	need(o.Dir != "", "dir: missing")
	need(o.SegmentBytes >= 16<<10 && o.SegmentBytes <= maxSegment,
		"segment_bytes: %d is not in 16 KiB to 1 GiB", o.SegmentBytes)
	need(o.MaxBytes >= 4*o.SegmentBytes, "max_bytes: %d is less than 4 segments of %d", o.MaxBytes, o.SegmentBytes)
	need(o.MaxBytes/o.SegmentBytes <= 1<<16, "max_bytes: %d is more than 65536 segments of %d", o.MaxBytes, o.SegmentBytes)
	need(o.MaxPayload > 0 && int64(o.MaxPayload) <= o.SegmentBytes-2<<10 && o.MaxPayload <= maxBody-2*maxName,
		"max_payload: %d does not fit into a segment of %d", o.MaxPayload, o.SegmentBytes)
	need(o.QueueRecords > 0 && o.QueueBytes >= o.MaxPayload+1<<10, "queue: too small for one message of %d", o.MaxPayload)
	need(o.Window > 0 && o.WindowBytes > 0 && o.ConfirmBatch > 0, "window: must be above 0")
	for _, d := range []time.Duration{
		o.MaxAge, o.Sync, o.SyncEvents, o.ConfirmEvery, o.RetryMin, o.RetryMax, o.SlowAfter,
	} {
		need(d > 0, "durations: %v is not above 0", d)
	}
	return errors.Join(errs...)
}

func (o *Options) setDefaults() {
	set(&o.MaxBytes, 256<<20)
	set(&o.MaxAge, 7*24*time.Hour)
	set(&o.SegmentBytes, 1<<20)
	set(&o.MaxPayload, 512<<10)
	set(&o.QueueBytes, 8<<20)
	set(&o.QueueRecords, 512)
	set(&o.Window, 32)
	set(&o.WindowBytes, 2<<20)
	set(&o.Sync, 5*time.Second)
	set(&o.SyncEvents, 100*time.Millisecond)
	set(&o.ConfirmEvery, time.Second)
	set(&o.ConfirmBatch, 64)
	set(&o.RetryMin, time.Second)
	set(&o.RetryMax, 30*time.Second)
	set(&o.SlowAfter, 2*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = now
	}
	if o.Open == nil {
		o.Open = disk.OpenLocked
	}
}

func set[T comparable](v *T, def T) {
	var none T
	if *v == none {
		*v = def
	}
}

func now() Time {
	mono := frame.Mono()
	return Time{Mono: mono, Wall: mono + frame.WallOffset(), Synced: frame.ClockSynced()}
}

// ReadBoot returns a number that stands for this boot of the machine. path is
// /proc/sys/kernel/random/boot_id, but for tests. Where it cannot be read, the
// number is of this moment, and ages before it are told by the wall clock.
func ReadBoot(path string) uint64 {
	h := fnv.New64a()
	b, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(b)); err == nil && id != "" {
		_, _ = h.Write([]byte(id)) // a hash's Write returns no error
		return h.Sum64()
	}
	return uint64(time.Now().UnixNano())
}
