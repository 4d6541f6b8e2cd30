package spool

import (
	"context"
	"path/filepath"
	"testing"
	"time"
)

// runReal runs a spool in real time.
func runReal(t testing.TB, s *Spool) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

// TestNoAllocation appends, writes, reads, delivers and confirms.
func TestNoAllocation(t *testing.T) {
	s, err := New(Options{
		Dir: t.TempDir(), SegmentBytes: 64 << 20, MaxBytes: 256 << 20,
		Sync: time.Minute, ConfirmEvery: time.Minute, ConfirmBatch: 1 << 30,
	})
	if err != nil {
		t.Fatal(err)
	}
	stop := runReal(t, s)
	m := msgNow(Live, 1, 5000)
	var d Delivery
	step := func() {
		m.Seq++
		if !s.Append(m) {
			t.Fatal("not taken")
		}
		for !s.Next(&d) {
			<-s.Ready()
		}
		s.Confirm(d.Receipt)
	}
	for range 200 {
		step()
	}
	if n := testing.AllocsPerRun(1000, step); n > 0.05 { // a map of the runtime may grow meanwhile
		t.Errorf("%v allocations per message", n)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func BenchmarkAppend(b *testing.B) {
	s, err := New(Options{Dir: b.TempDir(), Boot: 1})
	if err != nil {
		b.Fatal(err)
	}
	stop := runReal(b, s)
	m := msgNow(Live, 1, 5000)
	if err := s.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(5000)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		m.Seq++
		s.Append(m)
		if i%256 == 255 { // the queue has room for 512
			if err := s.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := s.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	st := s.Stats()
	if n := st.DroppedBy(DropSlow); n > 0 {
		b.Errorf("%d dropped", n)
	}
	b.ReportMetric(float64(st.Syncs)/float64(b.N), "fsyncs/op")
	if err := stop(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkAppendCall is what the caller pays, at worst: the queue is full, and
// the oldest message goes.
func BenchmarkAppendCall(b *testing.B) {
	s, err := New(Options{Dir: b.TempDir(), Boot: 1})
	if err != nil {
		b.Fatal(err)
	}
	m := msgNow(Live, 1, 5000)
	for range 2000 {
		s.Append(m)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		s.Append(m)
	}
}

func BenchmarkDrain(b *testing.B) {
	o := Options{Dir: filepath.Join(b.TempDir(), "s"), Boot: 1, MaxBytes: 4 << 30}
	fill(b, o, b.N)
	s, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	stop := runReal(b, s)
	b.SetBytes(5000)
	b.ResetTimer()
	drainReal(b, s, b.N)
	b.StopTimer()
	if err := stop(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRecover starts on a full spool of 256 MB.
func BenchmarkRecover(b *testing.B) {
	o := Options{Dir: filepath.Join(b.TempDir(), "s"), Boot: 1}
	fill(b, o, 53_000)
	b.ResetTimer()
	for range b.N {
		s, err := New(o)
		if err != nil {
			b.Fatal(err)
		}
		stop := runReal(b, s)
		<-s.Ready() // the first message can be delivered
		b.StopTimer()
		if err := stop(); err != nil {
			b.Fatal(err)
		}
		st := s.Stats()
		b.ReportMetric(float64(st.Bytes)/1e6, "MB")
		b.ReportMetric(float64(st.Files), "files")
		b.StartTimer()
	}
}

func fill(b *testing.B, o Options, n int) {
	s, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	stop := runReal(b, s)
	m := msgNow(Live, 1, 5000)
	for i := range n {
		m.Seq = uint64(i)
		s.Append(m)
		if i%256 == 255 {
			if err := s.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := stop(); err != nil {
		b.Fatal(err)
	}
}
