package edge

import (
	"context"
	"time"
)

func partName(camera, part string) string {
	if camera == "" {
		return part
	}
	return "camera " + camera + " " + part
}

// faultPause keeps a source that fails at once from spinning: nothing at the
// first fault, then 10 ms doubling up to a second.
func faultPause(n int) time.Duration {
	if n <= 1 {
		return 0
	}
	return min(10*time.Millisecond<<min(n-2, 10), time.Second)
}

// pause waits for d; it is false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
