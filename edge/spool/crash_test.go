package spool

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"nightseg/edge/disk/disktest"
)

// event is a step of the story that a crash cuts short.
type event struct {
	k         key
	appended  int // operations done when Append returned
	written   int // when it was on its way to the disk for certain
	durable   int // when Flush had returned
	confirmed int // when Confirm was called
	settled   int // when a Flush behind it had returned
}

const never = 1 << 30

// story does random things on a disk that keeps a journal.
func story(t *testing.T, fs *disktest.FS, o Options, r *rand.Rand) []*event {
	s := start(t, fs, o)
	var all []*event
	of := map[key]*event{}
	var out []Delivery
	var seq uint64
	for range 160 {
		switch x := r.IntN(100); {
		case x < 50:
			seq++
			e := &event{
				k: key{Class(r.IntN(int(Classes))), seq}, appended: fs.Count(), durable: never, confirmed: never, settled: never,
			}
			s.append(e.k.c, seq, r.IntN(2500))
			synctest.Wait()
			e.written = fs.Count()
			all, of[e.k] = append(all, e), e
		case x < 70:
			var d Delivery
			if s.Next(&d) {
				out = append(out, d)
			}
		case x < 90 && len(out) > 0:
			i := r.IntN(min(2, len(out))) // mostly in order
			d := out[i]
			out = append(out[:i], out[i+1:]...)
			of[key{d.Class, d.Seq}].confirmed = fs.Count()
			s.Confirm(d.Receipt)
			synctest.Wait()
		case x < 94:
			pass(o.ConfirmEvery)
		case x < 97:
			s.flush()
			n := fs.Count()
			for _, e := range all {
				e.durable = min(e.durable, n)
				if e.confirmed < never && !behind(out, e) {
					e.settled = min(e.settled, n)
				}
			}
		case x < 98:
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			for _, e := range all {
				switch {
				case e.confirmed == never:
				case behind(out, e):
					e.confirmed = never // it comes again
				default:
					e.settled = min(e.settled, fs.Count())
				}
				e.durable = min(e.durable, fs.Count())
			}
			out = nil
			s = start(t, fs, o)
		}
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	return all
}

// behind reports whether a message of the class before e is not confirmed yet:
// then e's own confirmation is in memory only.
func behind(out []Delivery, e *event) bool {
	for _, d := range out {
		if d.Class == e.k.c && d.Seq < e.k.seq {
			return true
		}
	}
	return false
}

// TestCrashAtEveryWrite opens what a killed process and a power cut leave after
// every operation on the disk, and in the middle of every write.
func TestCrashAtEveryWrite(t *testing.T) {
	seeds := uint64(6)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 3))
				fs := disktest.New()
				o := testOptions(fs)
				events := story(t, fs, o, r)
				n := fs.Count()
				for i := range n + 1 {
					afterCrash(t, fs.Killed(i, r.Float64()), events, i, true)
					if i%2 == 0 {
						afterCrash(t, fs.Cut(i, r), events, i, false)
					}
				}
			})
		})
	}
}

// afterCrash opens a folder and compares what is in it with what must be.
func afterCrash(t *testing.T, fs *disktest.FS, events []*event, at int, killed bool) {
	t.Helper()
	o := testOptions(fs)
	s := start(t, fs, o)
	defer s.stop()
	if why := s.Degraded(); why != "" {
		t.Fatalf("after %d: %s", at, why)
	}
	got := map[key]bool{}
	last := [Classes]uint64{}
	for _, k := range s.drain() {
		if got[k] || k.seq < last[k.c] {
			t.Fatalf("after %d: %v comes twice or out of order", at, k)
		}
		last[k.c], got[k] = k.seq, true
	}
	again := 0
	for _, e := range events {
		safe := e.durable <= at || killed && e.written <= at
		switch {
		case safe && e.confirmed > at && !got[e.k]:
			t.Errorf("after %d (killed %v): %v is lost: %+v", at, killed, e.k, *e)
		case e.settled <= at && got[e.k]:
			t.Errorf("after %d (killed %v): %v comes again: %+v", at, killed, e.k, *e)
		case e.confirmed < at && got[e.k]:
			again++
		case e.appended > at && got[e.k]:
			t.Errorf("after %d: %v comes from nowhere", at, e.k)
		}
	}
	// The bound of docs/spool.md.
	if limit := o.ConfirmBatch + int(Classes)*o.Window; again > limit {
		t.Errorf("after %d (killed %v): %d come again, the bound is %d", at, killed, again, limit)
	}
	// What is written now is kept, too.
	s.append(Live, 1e6, 100)
	if rest := s.drain(); len(rest) != 1 || rest[0].seq != 1e6 {
		t.Errorf("after %d: a new message: got %v", at, rest)
	}
}

// TestCrashAfterCrash cuts the power a second time while, or after, the marks of
// the first time are put right.
func TestCrashAfterCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(7, 8))
		first := disktest.New()
		o := testOptions(first)
		story(t, first, o, r)
		for range 40 {
			fs := first.Cut(r.IntN(first.Count()), r).Sealed()
			begin := fs.Count()
			s := start(t, fs, testOptions(fs))
			durable := map[uint64]int{}
			for i := uint64(1001); i <= 1012; i++ {
				s.append(Event, i, 1500)
				synctest.Wait()
				if i%3 == 0 {
					s.flush()
					durable[i] = fs.Count()
				}
			}
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			for at := begin; at <= fs.Count(); at++ {
				again := fs.Cut(at, r)
				s := start(t, again, testOptions(again))
				got := map[key]bool{}
				last := [Classes]uint64{}
				for _, k := range s.drain() {
					if got[k] || k.seq < last[k.c] {
						t.Errorf("after %d: %v comes twice or out of order", at, k)
					}
					got[k], last[k.c] = true, k.seq
				}
				for i, n := range durable {
					for j := uint64(1001); n <= at && j <= i; j++ {
						if !got[key{Event, j}] {
							t.Errorf("after %d: %d is lost, was safe at %d", at, j, n)
						}
					}
				}
				_ = s.stop()
			}
		}
	})
}
