package frame

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Mono returns the time since boot, time asleep included (CLOCK_BOOTTIME): it
// never jumps and is comparable between processes of one machine.
func Mono() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Duration(time.Now().UnixNano())
	}
	return time.Duration(ts.Nano())
}

// WallOffset returns what to add to Mono to get Unix nanoseconds now.
func WallOffset() time.Duration {
	return time.Duration(time.Now().UnixNano()) - Mono()
}

const syncCheckEvery = time.Second

var (
	syncChecked atomic.Int64 // Mono of the last look at the kernel's clock state
	syncState   atomic.Bool
)

// ClockSynced reports whether the kernel says that its wall clock is
// synchronised. It asks at most once a second; where the question is not
// allowed (a sandboxed service), the answer is false.
func ClockSynced() bool {
	now := int64(Mono())
	last := syncChecked.Load()
	if last != 0 && now-last < int64(syncCheckEvery) {
		return syncState.Load()
	}
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	syncState.Store(err == nil && state != unix.TIME_ERROR && tx.Status&unix.STA_UNSYNC == 0)
	syncChecked.Store(now)
	return syncState.Load()
}

// Stamp writes the capture time "now" into the meta.
func (m *Meta) Stamp() {
	m.Mono = Mono()
	m.WallOffset = WallOffset()
	m.Flags &^= FlagClock
	if ClockSynced() {
		m.Flags |= FlagClock
	}
}
