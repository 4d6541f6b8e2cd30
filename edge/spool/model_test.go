package spool

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/edge/disk/disktest"
)

// model is what a spool without bounds does, in memory.
type model struct {
	waiting [Classes][]key // not confirmed, in order
	taken   map[key]Receipt
	window  int
}

// next returns what Next must hand out.
func (m *model) next() (key, bool) {
	for i := range Classes {
		c := Classes - 1 - i
		for j, k := range m.waiting[c] {
			if j >= m.window {
				break
			}
			if _, ok := m.taken[k]; !ok {
				return k, true
			}
		}
	}
	return key{}, false
}

// TestAgainstModel does random things, restarts among them, and compares what is
// handed out with the model.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { againstModel(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func againstModel(t *testing.T, r *rand.Rand) {
	fs := disktest.New()
	o := testOptions(fs)
	s := start(t, fs, o)
	defer func() { _ = s.stop() }()
	m := model{taken: map[key]Receipt{}, window: o.Window}
	var seq uint64
	for range 600 {
		switch x := r.IntN(100); {
		case x < 45:
			seq++
			c := Class(r.IntN(int(Classes)))
			s.append(c, seq, r.IntN(3000))
			m.waiting[c] = append(m.waiting[c], key{c, seq})
			synctest.Wait()
		case x < 75:
			var d Delivery
			synctest.Wait()
			want, ok := m.next()
			if got := s.Next(&d); got != ok || ok && want != (key{d.Class, d.Seq}) {
				t.Fatalf("got %v %v %d, want %v %v", got, d.Class, d.Seq, ok, want)
			}
			if ok {
				s.check(&d)
				m.taken[want] = d.Receipt
			}
		case x < 92: // oldest of a class
			for c := range Classes {
				if len(m.waiting[c]) == 0 {
					continue
				}
				k := m.waiting[c][0]
				if receipt, ok := m.taken[k]; ok {
					s.Confirm(receipt)
					delete(m.taken, k)
					m.waiting[c] = m.waiting[c][1:]
					break
				}
			}
			synctest.Wait()
		case x < 95:
			s.Rewind()
			clear(m.taken)
		case x < 98:
			pass(time.Duration(r.IntN(10)) * time.Second)
		default:
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			s = start(t, fs, o)
			clear(m.taken)
		}
	}
	s.Rewind()
	want := slices.Concat(m.waiting[Event], m.waiting[Reduced], m.waiting[Live])
	if got := s.drain(); !slices.Equal(got, want) {
		t.Errorf("at the end: got %v, want %v", got, want)
	}
	pass(time.Minute)
	st := s.Stats()
	if st.Lost != 0 || st.CorruptBytes != 0 || st.Files > int(Classes) || st.Records != [Classes]uint64{} {
		t.Errorf("stats %+v", st)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if n := fs.Handles(); n != 0 {
		t.Errorf("%d files open", n)
	}
}

// TestNothingIsUncounted runs with tight bounds and a disk that comes and goes:
// each message is confirmed, dropped for a reason, lost, or still there.
func TestNothingIsUncounted(t *testing.T) {
	for _, seed := range append(seqs(0, 29), 148) { // 148: numbers behind the last segment
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { nothingUncounted(t, rand.New(rand.NewPCG(seed, 2))) })
		})
	}
}

func nothingUncounted(t *testing.T, r *rand.Rand) {
	fs := disktest.New()
	o := testOptions(fs)
	o.MaxBytes, o.QueueRecords = 8*o.SegmentBytes, 16
	o.MaxAge = 10 * time.Minute
	s := start(t, fs, o)
	defer func() { _ = s.stop() }()
	offered, got := map[key]bool{}, map[key]bool{}
	last := [Classes]uint64{}
	for i := range uint64(1500) {
		switch x := r.IntN(100); {
		case x < 60:
			c := Class(r.IntN(int(Classes)))
			s.Append(msg(c, i, r.IntN(2000)))
			offered[key{c, i}] = true
		case x < 85:
			var d Delivery
			if synctest.Wait(); s.Next(&d) {
				k := key{d.Class, d.Seq}
				if s.check(&d); got[k] || !offered[k] || d.Seq < last[d.Class] {
					t.Fatalf("%v comes twice, or out of order, or from nowhere", k)
				}
				last[d.Class] = d.Seq
				got[k] = true
				s.Confirm(d.Receipt)
			}
		case x < 92:
			pass(time.Duration(r.IntN(40)) * time.Second)
		case x < 94:
			fs.SetFault(flaky(r.Uint64()))
		default:
			fs.SetFault(nil)
		}
	}
	fs.SetFault(nil)
	pass(2 * time.Minute)
	for _, k := range s.drain() {
		got[k] = true
	}
	st := s.Stats()
	n := uint64(len(got)) + st.Lost
	for why := range Reasons {
		n += st.DroppedBy(why)
	}
	if n != uint64(len(offered)) {
		t.Errorf("%d offered, %d accounted for: %+v", len(offered), n, st)
	}
	if fs.Peak() > o.MaxBytes+probeSize {
		t.Errorf("%d bytes on disk", fs.Peak())
	}
	if st.Degraded != "" && st.DroppedBy(DropSlow) == 0 {
		t.Errorf("degraded on a good disk: %s", st.Degraded)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if n := fs.Handles(); n != 0 {
		t.Errorf("%d files open", n)
	}
}
