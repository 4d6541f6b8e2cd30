package poll

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestNobodyWaitsForAReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		stuck := make(chan struct{})
		n := 0
		v := New(time.Second, func(context.Context) int {
			n++
			if n == 3 {
				<-stuck
			}
			return n
		})
		if _, ok := v.Newest(); ok {
			t.Error("a value before the first reading")
		}
		ended := make(chan struct{})
		go func() { v.Run(ctx); close(ended) }()
		synctest.Wait()
		if got, _ := v.Newest(); got != 1 {
			t.Errorf("newest %d after the first reading", got)
		}
		Wait(ctx, 10*time.Second) // the third reading hangs
		if got, _ := v.Newest(); got != 2 {
			t.Errorf("newest %d while the third hangs", got)
		}
		close(stuck)
		synctest.Wait()
		if got, _ := v.Newest(); got < 3 {
			t.Errorf("newest %d after it hung", got)
		}
		cancel()
		<-ended
		if Wait(ctx, time.Hour) {
			t.Error("an hour passed")
		}
	})
}
