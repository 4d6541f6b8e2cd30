package ring_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"nightseg/camera/capture/ring"
)

var config = ring.Config{Version: ring.Version, Slots: 4, SlotSize: 3 * 640 * 480}

var records = []ring.Record{
	{Kind: ring.Hello, FPS: 29.97, Total: 1283},
	{Kind: ring.Picture, Slot: 3, Seq: 7, Mono: time.Hour, Sensor: -time.Second, W: 640, H: 480, Dropped: 9},
	{Kind: ring.Alive, Busy: 3 * time.Second},
	{Kind: ring.End, Seq: 1283},
	{Kind: ring.Failure, Text: "no such device"},
}

func TestRecordsParseBack(t *testing.T) {
	var all []byte
	for i := range records {
		all = records[i].Append(all)
	}
	for i := range records {
		var got ring.Record
		n, err := got.Parse(all, &config)
		if err != nil {
			t.Fatal(err)
		}
		if got != records[i] {
			t.Errorf("record %d = %+v, want %+v", i, got, records[i])
		}
		all = all[n:]
	}
	if len(all) != 0 {
		t.Errorf("%d bytes left", len(all))
	}
}

func TestForeignRecords(t *testing.T) {
	picture := ring.Record{Kind: ring.Picture, Slot: 0, W: 640, H: 480}
	for name, change := range map[string]func(*ring.Record){
		"slot":       func(r *ring.Record) { r.Slot = 4 },
		"width":      func(r *ring.Record) { r.W = 641 },
		"no height":  func(r *ring.Record) { r.H = 0 },
		"huge":       func(r *ring.Record) { r.W, r.H = 1<<31, 1<<31 },
		"kind":       func(r *ring.Record) { r.Kind = 9 },
		"kind 0":     func(r *ring.Record) { r.Kind = 0 },
		"time":       func(r *ring.Record) { r.Mono = -1 },
		"negative W": func(r *ring.Record) { r.W = -1 },
	} {
		r := picture
		change(&r)
		var got ring.Record
		if _, err := got.Parse(r.Append(nil), &config); err == nil {
			t.Errorf("%s: taken as %+v", name, got)
		}
	}
	var got ring.Record
	if _, err := got.Parse(picture.Append(nil)[:50], &config); !errors.Is(err, ring.ErrShort) {
		t.Errorf("half a record: %v", err)
	}
	long := ring.Record{Kind: ring.Failure, Text: strings.Repeat("x", 5000)}
	if n, err := got.Parse(long.Append(nil), &config); err != nil || n != ring.RecordSize+ring.MaxText {
		t.Errorf("a long text: %d bytes, %v", n, err)
	}
	if _, err := got.Parse(bytes.Repeat([]byte("hello "), 20), &config); err == nil {
		t.Error("text was taken for a record")
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	b := records[1].Append(nil)
	var r ring.Record
	n := testing.AllocsPerRun(100, func() {
		if _, err := r.Parse(b, &config); err != nil {
			t.Fatal(err)
		}
		b = r.Append(b[:0])
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func FuzzRecord(f *testing.F) {
	for i := range records {
		f.Add(records[i].Append(nil))
	}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 200))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r ring.Record
		n, err := r.Parse(b, &config)
		if err != nil {
			return
		}
		if n < ring.RecordSize || n > len(b) {
			t.Fatalf("a record of %d bytes in %d", n, len(b))
		}
		if r.Kind == ring.Picture && (r.Slot >= config.Slots || 3*r.W*r.H > config.SlotSize) {
			t.Fatalf("a picture outside of its slot: %+v", r)
		}
		var again ring.Record
		if _, err := again.Parse(r.Append(nil), &config); err != nil || again != r {
			t.Fatalf("%+v came back as %+v, %v", r, again, err)
		}
	})
}
