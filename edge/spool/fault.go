package spool

import "time"

// fault is what is wrong with the disk, and when it is tried again.
type fault struct {
	err   error
	until time.Time
	delay time.Duration
	times int // in a row
}

// fail notes an error; each one in a row doubles the wait.
func (f *fault) fail(err error, o *Options) {
	f.delay = min(max(2*f.delay, o.RetryMin), o.RetryMax)
	f.err, f.until = err, time.Now().Add(f.delay)
	f.times++
}

// ok notes that the disk is well.
func (f *fault) ok() { *f = fault{} }

func (f *fault) waiting() bool       { return f.err != nil && time.Now().Before(f.until) }
func (f *fault) wait() time.Duration { return max(time.Millisecond, time.Until(f.until)) }

func (f *fault) reason() string {
	if f.err == nil {
		return ""
	}
	return describe(f.err)
}
