package indicate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// led writes down when it changes.
type led struct {
	start time.Time
	lit   bool
	log   strings.Builder
	err   error
}

func (l *led) Set(on bool) error {
	if on != l.lit {
		l.lit = on
		fmt.Fprintf(&l.log, "%t@%d ", on, time.Since(l.start).Milliseconds())
	}
	return l.err
}

func TestPatterns(t *testing.T) {
	want := map[State]string{
		Starting: "true@0 ",
		Running:  "true@0 false@100 true@2000 false@2100 ",
		Degraded: "true@0 false@100 true@300 false@400 true@2000 false@2100 true@2300 false@2400 ",
		Fault:    "true@0 false@100 true@200 false@300 true@400 ",
	}
	for s := Starting; s <= Fault; s++ {
		synctest.Test(t, func(t *testing.T) {
			l := &led{start: time.Now()}
			i := New(l)
			i.Set(s)
			ctx, cancel := context.WithTimeout(t.Context(), 3950*time.Millisecond)
			defer cancel()
			i.Run(ctx)
			got := l.log.String()
			if !strings.HasPrefix(got, want[s]) || s != Fault && !strings.HasPrefix(want[s]+"false@3950 ", got) {
				t.Errorf("%v: %s", s, got)
			}
			if l.lit {
				t.Errorf("%v: on at the end", s)
			}
		})
		if again, ok := ParseState(s.String()); again != s || !ok {
			t.Errorf("%v is parsed as %v", s, again)
		}
	}
	if _, ok := ParseState("off"); ok {
		t.Error("off is no state")
	}
}

func TestAChangeIsShownAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &led{start: time.Now(), err: errors.New("no such device")}
		i := New(l)
		i.Set(Running)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { i.Run(ctx); close(ended) }()
		time.Sleep(1050 * time.Millisecond) //nolint:forbidigo // fake time
		i.Set(Fault)
		synctest.Wait()
		cancel()
		<-ended
		if got := l.log.String(); got != "true@0 false@100 true@1050 false@1050 " {
			t.Error(got)
		}
		if i.Err() == nil {
			t.Error("an LED that cannot be set is not told")
		}
	})
}
