package control

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/edge/disk/disktest"
	"nightseg/edge/settings"
)

func TestDocumentIsTriedAndKept(t *testing.T) {
	bubble(t, func(t *testing.T, m *disktest.FS) {
		r := start(t, m)
		defer r.stop()
		if rep := r.rep(); rep.Version != 0 || rep.Source != settings.FromFile || rep.State != settings.StateSteady ||
			rep.File != nil || strings.Contains(string(rep.JSON()), "me:word") {
			t.Errorf("at first: %+v", rep)
		}
		r.want(r.send(doc(5, `,"cameras":[{"id":"rear","rate":9}]`)), "5 trial")
		if got := r.f.running(); got.Version != 5 || got.Settings.Cameras[0].Source != "rtsp://me:word@10.0.0.2/" {
			t.Errorf("runs %+v", got)
		}
		rep := r.rep()
		if rep.Version != 5 || rep.State != settings.StateTrial || rep.Source != settings.FromDesired ||
			rep.Settings.Cameras[0].Source != "rtsp://***@10.0.0.2/" || rep.File == nil || len(rep.File.Cameras) != 2 {
			t.Errorf("on trial: %+v", rep)
		}
		if m.Bytes(currentFile) != nil {
			t.Error("the document is kept before it is proven")
		}
		r.want(r.send(doc(5, `,"cameras":[{"id":"rear","rate":9}]`)), "5 trial") // it comes again
		r.want(r.pass(5*time.Second), "5 applied")
		rep = r.rep()
		if rep.State != settings.StateSteady || rep.SHA256 != r.f.running().SHA256 ||
			string(rep.Figures) != `{"frames":150}` {
			t.Errorf("in force: %+v", rep)
		}
		if got := r.f.said(); got != "prepare apply probation close" {
			t.Errorf("calls %s", got)
		}
		r.want(r.send(doc(5, `,"cameras":[{"id":"rear","rate":9}]`)), "5 unchanged")
		r.want(r.send(doc(5, "")), "5 rejected") // other content
		r.want(r.send(doc(4, "")), "4 rejected")
		if rep := r.rep(); rep.Rejected == nil || rep.Rejected.Version != 4 || rep.Version != 5 {
			t.Errorf("after refused ones: %+v", rep)
		}
		r.apply(6, "")
		if rep := r.rep(); rep.Rejected != nil {
			t.Errorf("rejected %+v", rep.Rejected)
		}
	})
}

func TestAnswersSayWhat(t *testing.T) {
	bubble(t, func(t *testing.T, m *disktest.FS) {
		var log bytes.Buffer
		r := start(t, m, func(o *Options) { o.Logger = slog.New(slog.NewJSONHandler(&log, nil)) })
		defer r.stop()
		r.Offer([]byte(doc(5, "")))
		a := r.last()
		if a.ID != "me" || a.InForce != 5 || a.Run != "r1" || a.Until == nil || !a.Until.Equal(a.Time.Add(30*time.Second)) {
			t.Errorf("trial: %+v", a)
		}
		<-time.After(5 * time.Second)
		if a := r.last(); a.Result != settings.ResultApplied || a.InForce != 5 || a.Warning != "" || a.Until != nil {
			t.Errorf("applied: %+v", a)
		}
		r.Offer([]byte(`{"version":6,"id":"you","codec":"pgn"}`))
		a = r.last()
		if a.ID != "you" || a.InForce != 5 || len(a.Errors) != 1 || a.Errors[0].Pointer != "/codec" ||
			a.Errors[0].Remedy != `did you mean "png"?` {
			t.Errorf("rejected: %+v", a)
		}
		v := asJSON(t, a.JSON())
		if v["result"] != "rejected" || v["in_force"] != 5.0 || v["errors"] == nil {
			t.Errorf("as JSON %v", v)
		}
		for _, want := range []string{
			`"result":"trial","version":5,"id":"me"`, `"result":"applied","version":5`,
			`"result":"rejected","version":6,"id":"you"`,
			`"new":"` + short(r.InForce().SHA256) + `"`,
		} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("no line with %s in\n%s", want, log.String())
			}
		}
	})
}

func TestWhatGoesWrongChangesNothing(t *testing.T) {
	bad := []settings.FieldError{{Pointer: "/bundle", Problem: "no such folder"}}
	hang := func(ctx context.Context) (any, error) {
		<-ctx.Done()
		return nil, fmt.Errorf("front: 3 of 30 frames: %w", ctx.Err())
	}
	for _, c := range []struct {
		name    string
		set     func(*fake)
		more    string
		answers string
		reason  string // of the last answer
		calls   string
		refused bool // for good
	}{
		{"prepare refuses", func(f *fake) {
			f.prepare = func(context.Context, settings.Desired) []settings.FieldError { return bad }
		}, "", "9 rejected", "", "prepare", false},
		{"prepare panics", func(f *fake) {
			f.prepare = func(context.Context, settings.Desired) []settings.FieldError { panic("index") }
		}, "", "9 rejected", "panic in prepare: index", "prepare", true},
		{"apply fails", func(f *fake) {
			f.apply = func(context.Context) error { return errBroken }
		}, "", "9 rejected", "broken", "prepare apply close", false},
		{"apply panics", func(f *fake) {
			f.apply = func(context.Context) error { panic("nil map") }
		}, "", "9 rolled_back", "panic in apply: nil map", "prepare apply undo close", true},
		{"not proven", func(f *fake) {
			f.probation = func(context.Context) (any, error) { return nil, errBroken }
		}, "", "9 trial,9 rolled_back", "broken", "prepare apply probation undo close", true},
		{"probation panics", func(f *fake) {
			f.probation = func(context.Context) (any, error) { panic("at last") }
		}, "", "9 trial,9 rolled_back", "panic in probation: at last", "prepare apply probation undo close", true},
		{
			"never proven", func(f *fake) { f.probation = hang },
			"", "9 trial,9 rolled_back", "not proven within 30s: front: 3 of 30 frames",
			"prepare apply probation undo close", true,
		},
		{
			"a broker that does not come about", func(f *fake) { f.probation = hang },
			`,"broker":{"url":"mqtt://hub","trial":"10s"},"probation":{"most":"20s"}`,
			"9 trial,9 rolled_back", "not proven within 30s", "prepare apply probation undo close", true,
		},
		{"close fails", func(f *fake) {
			f.probation = func(context.Context) (any, error) { return nil, errBroken }
			f.close = func() error { panic("twice") }
		}, "", "9 trial,9 rolled_back", "broken", "prepare apply probation undo close", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, m *disktest.FS) {
				r := start(t, m)
				r.apply(5, "")
				before := r.f.running()
				r.f.said()
				c.set(r.f)
				<-time.After(period)
				r.Offer([]byte(doc(9, c.more)))
				<-time.After(time.Minute)
				synctest.Wait()
				last := r.acks[len(r.acks)-1]
				r.want(r.pass(0), strings.Split(c.answers, ",")...)
				if !strings.HasPrefix(last.Reason, c.reason) || strings.Contains(last.Reason, "\n") || last.InForce != 5 {
					t.Errorf("answer %+v", last)
				}
				if got := r.f.said(); got != c.calls {
					t.Errorf("calls %s, want %s", got, c.calls)
				}
				if got := r.f.running(); got.SHA256 != before.SHA256 || r.InForce().SHA256 != before.SHA256 || r.reason != "" {
					t.Errorf("runs version %d, degraded %q", got.Version, r.reason)
				}
				if rep := r.rep(); rep.Version != 5 || rep.State != settings.StateSteady || rep.Rejected.Version != 9 {
					t.Errorf("reported %+v", rep)
				}
				// All is well again, but the broker still has the document.
				*r.f = fake{runs: before}
				if c.refused {
					r.want(r.send(doc(9, c.more)), "9 rejected")
					r.stop()
					r = start(t, m)
					r.want(r.send(doc(9, c.more)), "9 rejected")
					r.want(r.send(doc(9, `,"codec":"rle-zstd"`)), "9 trial") // other content
				} else {
					r.want(r.send(doc(9, c.more)), "9 trial")
				}
				r.want(r.pass(5*time.Second), "9 applied")
				r.apply(10, "")
				r.stop()
			})
		})
	}
}

func TestUndoThatFailsIsTold(t *testing.T) {
	bubble(t, func(t *testing.T, m *disktest.FS) {
		r := start(t, m)
		defer r.stop()
		r.f.probation = func(context.Context) (any, error) { return nil, errBroken }
		r.f.undo = func() error { return errBroken }
		r.want(r.send(doc(5, "")), "5 trial", "5 rolled_back")
		const want = "what ran before version 5 could not be brought back: broken"
		if rep := r.rep(); !strings.Contains(rep.Rejected.Reason, want) || r.reason != want+"; restart the service" {
			t.Errorf("degraded %q, answer %+v", r.reason, rep.Rejected)
		}
		*r.f = fake{}
		r.apply(6, "")
		if r.reason != "" {
			t.Errorf("still degraded: %s", r.reason)
		}
	})
}

// What frames do not meet needs no trial, and masks still get the new version.
func TestNothingToProve(t *testing.T) {
	bubble(t, func(t *testing.T, m *disktest.FS) {
		r := start(t, m)
		defer r.stop()
		r.want(r.send(`{"version":1,"probation":{"seconds":9},"broker":{"trial":"5s"},"log":{"format":"text"}}`), "1 applied")
		r.want(r.send(`{"version":2,"probation":{"seconds":9},"broker":{"trial":"5s"},"log":{"format":"text"}}`), "2 applied")
		if got := r.f.said(); got != "prepare apply close prepare apply close" || r.f.running().Version != 2 {
			t.Errorf("calls %s, version %d", got, r.f.running().Version)
		}
	})
}

func TestNewerDocumentEndsATrial(t *testing.T) {
	bubble(t, func(t *testing.T, m *disktest.FS) {
		r := start(t, m)
		defer r.stop()
		r.apply(1, "")
		r.want(r.send(doc(2, "")), "2 trial")
		r.want(r.send(`{"version":3,"codec":"gif"}`), "3 rejected") // does not end it
		r.want(r.send(doc(1, "")), "1 rejected")
		r.want(r.send(doc(4, "")), "2 rolled_back", "4 trial")
		if got := r.f.running().Version; got != 4 {
			t.Errorf("runs %d", got)
		}
		r.want(r.pass(5*time.Second), "4 applied")
		// What was overtaken is not to blame.
		if len(r.store.refused) > 0 {
			t.Errorf("refused %+v", r.store.refused)
		}
	})
}

func TestNewerDocumentEndsALongBuild(t *testing.T) {
	bubble(t, func(t *testing.T, m *disktest.FS) {
		r := start(t, m)
		defer r.stop()
		ended := make(chan struct{})
		r.f.prepare = func(ctx context.Context, d settings.Desired) []settings.FieldError {
			if d.Version != 2 {
				return nil
			}
			<-ctx.Done()
			<-ended // an engine that is being built does not hear at once
			return []settings.FieldError{{Pointer: "/bundle", Problem: "context canceled"}}
		}
		r.want(r.send(doc(2, "")))
		r.want(r.send(doc(2, ""))) // its answer is to come
		r.want(r.send(doc(3, "")))
		r.want(r.send(doc(4, "")), "3 rejected")
		r.want(r.send(doc(3, "")), "3 rejected")
		close(ended)
		r.pass(0)
		k := r.rep().Rejected
		if k.Version != 2 || len(k.Errors) > 0 || !strings.HasPrefix(k.Reason, "superseded by version 3") {
			t.Errorf("what was overtaken: %+v", k)
		}
		r.want(r.pass(5*time.Second), "4 applied")
		if got := r.f.said(); got != "prepare prepare apply probation close" {
			t.Errorf("calls %s", got)
		}
	})
}

func TestStoppedOnTrial(t *testing.T) {
	bubble(t, func(t *testing.T, m *disktest.FS) {
		r := start(t, m)
		r.apply(1, "")
		r.f.said()
		r.want(r.send(doc(2, "")), "2 trial")
		r.stop()
		r.want(r.pass(0), "2 rolled_back")
		if got := r.f.said(); got != "prepare apply probation close" { // nothing is built for a process that ends
			t.Errorf("calls %s", got)
		}
		for i := range 5 { // and it is not to blame, however often
			r = start(t, m)
			if got := r.InForce().Version; got != 1 {
				t.Fatalf("start %d with %d", i, got)
			}
			r.want(r.send(doc(2, "")), "2 trial")
			r.stop()
		}
		r = start(t, m)
		r.apply(2, "")
		r.stop()
	})
}

// A sender that has gone mad is answered now and then, with the newest first.
func TestFlood(t *testing.T) {
	bubble(t, func(t *testing.T, m *disktest.FS) {
		r := start(t, m)
		defer r.stop()
		begin := time.Now()
		for i := range 10_000 {
			r.Offer([]byte(doc(int64(i+1), `,"codec":"gif"`)))
			<-time.After(time.Millisecond)
		}
		r.Offer([]byte(doc(99, `,"codec":"gif"`)))
		n := len(r.pass(period))
		if most := int(time.Since(begin)/period) + burst + 2; n > most || n < most/2 {
			t.Errorf("%d answers in %v, at most %d", n, time.Since(begin), most)
		}
		if rep := r.rep(); rep.Rejected.Version != 99 {
			t.Errorf("the newest was not looked at, but %d", rep.Rejected.Version)
		}
		r.Offer(nil) // a retained document is taken away
		r.want(r.pass(time.Second))
	})
}
