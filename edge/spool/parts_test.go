package spool

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	for _, c := range []struct {
		name            string
		bytes, messages float64
		size            int
		seconds         int
		most, least     int
	}{
		{"bytes", 10_000, 0, 1000, 100, 1010, 990},
		{"messages", 0, 5, 1000, 100, 505, 495},
		{"both", 10_000, 5, 5000, 100, 202, 195},
		{"one each two seconds", 0, 0.5, 10, 100, 51, 49},
		{"larger than the bucket", 1000, 0, 30_000, 300, 11, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			end := now.Add(time.Duration(c.seconds) * time.Second)
			l := NewLimiter(c.bytes, c.messages)
			n := 0
			for now.Before(end) {
				wait := l.Wait(now)
				if wait == 0 {
					l.Sent(c.size)
					n++
					continue
				}
				now = now.Add(wait)
			}
			if n < c.least || n > c.most {
				t.Errorf("%d messages in %d s, want %d to %d", n, c.seconds, c.least, c.most)
			}
		})
	}
	l := NewLimiter(0, 0)
	for range 1000 {
		if l.Wait(time.Unix(1, 0)) != 0 {
			t.Fatal("no bound, and a wait")
		}
		l.Sent(1 << 20)
	}
	l.Set(1000, 0)
	now := time.Unix(2, 0)
	for l.Wait(now) == 0 {
		l.Sent(100)
	}
	if wait := l.Wait(now); wait <= 0 || wait > time.Second {
		t.Errorf("wait %v", wait)
	}
	if l.Wait(now.Add(-time.Hour)) == 0 {
		t.Error("a clock that went back lets pass")
	}
	l.Set(0, 0)
	if l.Wait(now) != 0 {
		t.Error("the bound is lifted, and there is a wait")
	}
}

func spill(u *Unproven) (got []uint64) {
	u.Spill(func(m *Message) { got = append(got, m.Seq) })
	return got
}

func TestUnproven(t *testing.T) {
	u := NewUnproven(5, 1000)
	add := func(from, to uint64) {
		for i := from; i <= to; i++ {
			u.Add(&Message{Camera: "c", Seq: i, Payload: make([]byte, 100)})
		}
	}
	add(1, 3)
	early := u.Barrier()
	add(4, 4)
	late := u.Barrier()
	add(5, 5)
	if n := u.Prove(early, nil); n != 3 {
		t.Errorf("%d proven", n)
	}
	if n := u.Prove(early, nil); n != 0 {
		t.Errorf("%d proven twice", n)
	}
	if n, b := u.Len(); n != 2 || b != 200 {
		t.Errorf("%d messages, %d bytes", n, b)
	}
	u.Prove(late, nil)
	u.Prove(early, nil)
	if got := spill(u); !slices.Equal(got, []uint64{5}) {
		t.Errorf("got %v", got)
	}
	if got := spill(u); len(got) != 0 {
		t.Errorf("spilled twice: %v", got)
	}
	add(6, 12) // two more than there is room for
	if got := spill(u); !slices.Equal(got, seqs(8, 12)) || u.Lost() != 2 {
		t.Errorf("got %v, lost %d", got, u.Lost())
	}
	add(13, 14)
	u.Add(&Message{Seq: 15, Payload: make([]byte, 950)})
	u.Add(&Message{Seq: 16, Payload: make([]byte, 1001)})
	if got := spill(u); !slices.Equal(got, []uint64{15}) || u.Lost() != 5 {
		t.Errorf("got %v, lost %d", got, u.Lost())
	}
	add(17, 18)
	b := u.Barrier()
	if add(19, 30); u.Prove(b, nil) != 0 {
		t.Error("what was forgotten is proven")
	}
}

// TestUnprovenAgainstModel does random things beside a slice.
func TestUnprovenAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 6))
	u := NewUnproven(10, 5000)
	var model []uint64
	var barriers []uint64 // with the Seq up to which each proves
	var upTo []uint64
	var seq uint64
	for range 20_000 {
		switch x := r.IntN(100); {
		case x < 60:
			seq++
			u.Add(&Message{Seq: seq, Payload: make([]byte, 100)})
			if model = append(model, seq); len(model) > 10 {
				model = model[1:]
			}
		case x < 80:
			barriers, upTo = append(barriers, u.Barrier()), append(upTo, seq)
		case x < 98 && len(barriers) > 0:
			i := r.IntN(len(barriers))
			n := len(model)
			k := 0
			for k < n && model[k] <= upTo[i] {
				k++
			}
			var seen []uint64
			if got := u.Prove(barriers[i], func(m *Message) { seen = append(seen, m.Seq) }); got != k {
				t.Fatalf("%d proven, want %d", got, k)
			}
			if !slices.Equal(seen, model[:k]) {
				t.Fatalf("proven %v, want %v", seen, model[:k])
			}
			model = model[k:]
			barriers, upTo = barriers[i+1:], upTo[i+1:]
		default:
			if got := spill(u); !slices.Equal(got, model) {
				t.Fatalf("got %v, want %v", got, model)
			}
			model = nil
		}
	}
}

func TestUnprovenDoesNotAllocate(t *testing.T) {
	u := NewUnproven(32, 1<<20)
	m := &Message{Run: "r", Camera: "c", Payload: make([]byte, 5000)}
	for range 64 {
		u.Add(m)
	}
	if n := testing.AllocsPerRun(1000, func() { u.Add(m) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNames(t *testing.T) {
	for c := range Classes {
		name := segmentName(c, 0xabc)
		if gc, id, ok := parseSegmentName(name); !ok || gc != c || id != 0xabc {
			t.Errorf("%s: %v %x %v", name, gc, id, ok)
		}
	}
	for _, name := range []string{
		"", "live", "live-.seg", "live-1.seg", "live-0000000000000ABC.seg", "live-0000000000000abc", "x-0000000000000abc.seg",
		"live-0000000000000abc.seg.bad", "live--000000000000abc.seg", "live-+00000000000abc.seg",
	} {
		if _, _, ok := parseSegmentName(name); ok {
			t.Errorf("%q is a segment", name)
		}
	}
	if Classes.String() != "invalid" || Reasons.String() != "invalid" || DropAge.String() != "age" {
		t.Error("names")
	}
	if a, b := ReadBoot("/nonexistent"), ReadBoot("alloc_test.go"); a == b || b != ReadBoot("alloc_test.go") {
		t.Error("boot ids")
	}
}
