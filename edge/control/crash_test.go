package control

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/edge/disk/disktest"
	"nightseg/edge/settings"
)

// moment is what must be true of the folder from an operation on.
type moment struct {
	ops     int
	version int64 // applied and acknowledged, 0: none
	refused []int64
}

// tale sends random documents to a service that is stopped, killed and started
// again, on a disk that keeps a journal. It returns what was acknowledged when,
// and the versions that were ever proven.
func tale(t *testing.T, m *disktest.FS, rnd *rand.Rand) (moments []moment, good map[int64]bool) {
	good = map[int64]bool{0: true}
	var now moment
	version := int64(0)
	answered := 0 // operations done when the last answer was given
	begin := func() *rig {
		return start(t, m, func(o *Options) {
			tell := o.Answer
			o.Answer = func(a settings.Ack) {
				answered = m.Count()
				tell(a)
			}
		})
	}
	r := begin()
	for range 30 {
		version++
		probation := func(context.Context) (any, error) { return nil, nil }
		switch x := rnd.IntN(100); {
		case x < 50:
		case x < 65: // rolled back
			probation = func(context.Context) (any, error) { return nil, errBroken }
		case x < 75: // the broker sends again what it has
			version--
			version = max(1, version)
		case x < 85: // wrong
			r.send(fmt.Sprintf(`{"version":%d,"codec":"gif"}`, version))
			continue
		case x < 92: // started again, in good order or not
			r.stop()
			if rnd.IntN(2) == 0 {
				_ = build(t, m).Close()
			}
			r = begin()
			r.Started(nil)
			continue
		default: // started again and again without having proven itself, but not too often
			r.stop()
			for range maxFalls - 2 { // the crash is one more
				_ = build(t, m).Close()
			}
			r = begin()
			r.Started(nil)
			continue
		}
		r.f.probation = probation
		got := r.send(doc(version, ""))
		got = append(got, r.pass(time.Second)...)
		switch got[len(got)-1] {
		case fmt.Sprint(version, " applied"):
			now.version, good[version] = version, true
		case fmt.Sprint(version, " rolled_back"):
			now.refused = append(slices.Clone(now.refused), version)
		}
		now.ops = answered
		moments = append(moments, now)
	}
	r.stop()
	return moments, good
}

// wrongAfter starts on what a crash has left and says what is wrong, "" if nothing.
func wrongAfter(t *testing.T, m *disktest.FS, at int, moments []moment, good map[int64]bool) string {
	r := build(t, m)
	defer func() { _ = r.Close() }()
	var must moment
	for _, x := range moments {
		if x.ops <= at {
			must = x
		}
	}
	d := r.InForce()
	want := fileSettings()
	if d.Version > 0 {
		want.Threshold = threshold(d.Version)
	}
	switch {
	case r.reason != "":
		return r.reason
	case d.SHA256 != want.Hash() || !good[d.Version]:
		return fmt.Sprintf("neither old nor new, but version %d: %+v", d.Version, d.Settings)
	case d.Version < must.version:
		return fmt.Sprintf("starts with %d, but %d was acknowledged", d.Version, must.version)
	}
	for _, v := range must.refused {
		s := fileSettings()
		s.Threshold = threshold(v)
		if r.store.refusal(settings.Desired{Version: v, SHA256: s.Hash()}) == nil {
			return fmt.Sprintf("forgot that %d was rolled back", v)
		}
	}
	// What is written now is kept, too.
	next := settings.Desired{Version: 999, Settings: d.Settings, SHA256: "x"}
	r.trial = &request{next, []byte(`{"version":999}`)}
	r.leave(r.trial, outcome{})
	again := build(t, m)
	if err := again.Close(); err != nil || again.InForce().Version != 999 {
		return fmt.Sprintf("a new document is not kept, but %d", again.InForce().Version)
	}
	return ""
}

// crashes plays tales and cuts them after every operation.
func crashes(t *testing.T, seeds uint64, lazy ...string) (wrong []string, states int) {
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 11))
			m := disktest.New()
			m.Lazy(lazy...)
			moments, good := tale(t, m, rnd)
			for at := range m.Count() + 1 {
				left := []*disktest.FS{m.Killed(at, rnd.Float64()), m.Cut(at, rnd), m.Cut(at, rnd), m.Cut(at, rnd)}
				for i, s := range left {
					states++
					if w := wrongAfter(t, s, at, moments, good); w != "" {
						wrong = append(wrong, fmt.Sprintf("seed %d, after %d (kind %d): %s", seed, at, i, w))
					}
				}
			}
		})
	}
	return wrong, states
}

// TestCrashAtEveryOperation starts on what a killed process and a power cut leave
// after every operation on the disk, and in the middle of every write.
func TestCrashAtEveryOperation(t *testing.T) {
	seeds := uint64(2)
	if testing.Short() {
		seeds = 1
	}
	wrong, states := crashes(t, seeds)
	if len(wrong) > 0 {
		t.Errorf("%d of %d states are wrong, the first: %s", len(wrong), states, wrong[0])
	}
	t.Logf("%d states", states)
}

// The test above is worth what it finds.
func TestCrashesAreFoundWithoutSync(t *testing.T) {
	for _, kind := range []string{"sync", "syncdir"} {
		wrong, states := crashes(t, 1, kind)
		if len(wrong) == 0 {
			t.Errorf("without %s all is well", kind)
			continue
		}
		t.Logf("without %s, %d of %d states are wrong: %s", kind, len(wrong), states, wrong[0])
	}
}
