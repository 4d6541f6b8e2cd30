package bus

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"

	"nightseg/firmware/tree"
)

// held is a bus on which a transaction takes until it is let go.
type held struct {
	i2ctest.Playback
	letGo chan struct{}
}

func (h *held) Tx(addr uint16, w, r []byte) error {
	<-h.letGo
	return h.Playback.Tx(addr, w, r)
}

func TestStuckBusEndsByTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &held{letGo: make(chan struct{})}
		h.DontPanic = true
		h.Ops = []i2ctest.IO{
			{Addr: 0x23, W: []byte{1}, R: []byte{7}}, {Addr: 0x23, W: []byte{2}, R: []byte{8}},
		}
		b := New(h, 100*time.Millisecond)
		r := []byte{99}
		for i := range 3 { // the first holds the bus, the others wait for it
			start := time.Now()
			if err := b.Tx(0x23, []byte{1}, r); !errors.Is(err, ErrStuck) {
				t.Fatalf("transaction %d: %v", i, err)
			}
			if took := time.Since(start); took != 100*time.Millisecond {
				t.Errorf("transaction %d took %v", i, took)
			}
		}
		h.letGo <- struct{}{} // the first comes back
		synctest.Wait()
		if r[0] != 99 {
			t.Error("a transaction that was given up wrote to its caller's memory")
		}
		close(h.letGo)
		if err := b.Tx(0x23, []byte{2}, r); err != nil || r[0] != 8 {
			t.Errorf("after it: %v, read %d", err, r[0])
		}
		if c := b.Counters(); c != (Counters{Transactions: 4, Stuck: 3}) {
			t.Errorf("counters %+v", c)
		}
		if err := errors.Join(b.Close(), b.Close()); err != nil {
			t.Error(err)
		}
		if err := b.Tx(0x23, []byte{2}, r); !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		if err := h.Playback.Close(); err != nil { // nothing is left over
			t.Error(err)
		}
	})
}

func TestCloseDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &held{letGo: make(chan struct{})}
		h.DontPanic = true
		b := New(h, time.Millisecond)
		if err := b.Tx(1, nil, nil); !errors.Is(err, ErrStuck) {
			t.Fatal(err)
		}
		start := time.Now()
		if err := b.Close(); !errors.Is(err, ErrStuck) || time.Since(start) != closeWait {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		close(h.letGo)
	})
}

func TestWrongAddress(t *testing.T) {
	p, err := NewPlayback("x", []byte(header+"\n23 10 -\n"))
	if err != nil {
		t.Fatal(err)
	}
	b := New(p, Deadline)
	if err := b.Tx(0x29, []byte{0x10}, nil); err == nil || !strings.Contains(err.Error(), "0x29: remote I/O") {
		t.Errorf("nobody at 0x29: %v", err)
	}
	if err := b.SetSpeed(100 * physic.KiloHertz); err != nil {
		t.Error(err)
	}
	if c := b.Counters(); c.Errors != 1 {
		t.Errorf("%+v", c)
	}
}

// What is recorded of a bus plays back as it was, with its errors.
func TestRecordAndPlay(t *testing.T) {
	sensor, err := NewPlayback("sensor", []byte(header+"\n"+
		"23 10 -\n23 20 0001\n23 20 0002\n23 20 0000 ! remote I/O error\n23 20 0003\n"))
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	rec := NewRecorder(sensor, &file)
	play := func(b interface {
		Tx(addr uint16, w, r []byte) error
	},
	) string {
		var out strings.Builder
		for range 5 {
			r := make([]byte, 2)
			if err := b.Tx(0x23, []byte{0x20}, r); err != nil {
				out.WriteString(err.Error())
			}
			out.WriteByte('0' + r[1])
		}
		return out.String()
	}
	first := play(rec)
	if first != "12remote I/O error033" {
		t.Errorf("first %q", first)
	}
	if err := rec.Close(); err != nil {
		t.Error(err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "dev"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "dev/i2c-7"), file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Open(tree.Root(dir), 7)
	if err != nil {
		t.Fatal(err)
	}
	if second := strings.ReplaceAll(play(again), "address 0x23: ", ""); second != first {
		t.Errorf("second %q", second)
	}
	if _, err := Open(tree.Root(dir), 8); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no bus: %v", err)
	}
}

var bad = map[string]string{
	"":                               "first line",
	header + "\n23 10\n":             "line 2: 2 words",
	header + "\nxx 10 -\n":           "no address",
	header + "\n#\n\n800 10 -\n":     "line 4",
	header + "\n23 1 -\n":            "odd length",
	header + "\n23 10 0z\n":          "invalid byte",
	header + "\n23 10 - !\n":         "has no error behind it",
	header + "\n23 10 - ! a\n23 x -": "line 3",
}

func TestBadRecordings(t *testing.T) {
	for text, want := range bad {
		if _, err := NewPlayback("f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzRecording(f *testing.F) {
	for text := range bad {
		f.Add([]byte(text))
	}
	f.Add([]byte(header + "\n23 10 01f4\n5c - - ! timed out\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parse(b)
		if err != nil {
			return
		}
		text := header + "\n"
		for _, e := range list {
			text += e.String() + "\n"
		}
		again, err := parse([]byte(text))
		if err != nil || len(again) != len(list) {
			t.Fatalf("%d of %d transactions again: %v", len(again), len(list), err)
		}
		for i := range list {
			if again[i].String() != list[i].String() {
				t.Errorf("%q became %q", list[i], again[i])
			}
		}
	})
}
