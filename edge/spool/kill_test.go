package spool

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"nightseg/edge/disk/disktest"
)

const killDir = "NIGHTSEG_TEST_SPOOL"

func killOptions(dir string) Options {
	return Options{Dir: dir, SegmentBytes: 64 << 10, MaxPayload: 32 << 10, Boot: 1, ConfirmBatch: 8, Window: 8}
}

// TestKilledChild is the process that TestKill kills: it appends, delivers and
// says what is safe.
func TestKilledChild(t *testing.T) {
	dir := os.Getenv(killDir)
	if dir == "" {
		t.Skip("only as a child of TestKill")
	}
	s, err := New(killOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	_ = runReal(t, s)
	var from uint64
	if _, err := fmt.Sscan(os.Getenv(killDir+"_FROM"), &from); err != nil {
		t.Fatal(err)
	}
	var d Delivery
	for seq := from; ; seq++ {
		s.Append(msgNow(Live, seq, 3000))
		if s.Next(&d) && seq%3 == 0 {
			fmt.Printf("confirmed %d\n", d.Seq)
			s.Confirm(d.Receipt)
		} else {
			s.Rewind()
		}
		if seq%10 == 9 {
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			fmt.Printf("safe %d\n", seq)
		}
	}
}

// TestKill kills a process at random moments, again and again on one folder.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := filepath.Join(t.TempDir(), "spool")
	r := rand.New(rand.NewPCG(9, 9))
	from := uint64(1)
	safe, confirmed := uint64(0), map[uint64]bool{}
	var must []uint64
	for range 12 {
		lines, most := 0, 1+r.IntN(60)
		env := []string{killDir + "=" + dir, fmt.Sprintf("%s_FROM=%d", killDir, from)}
		disktest.RunKilled(t, "TestKilledChild", env, func(line string) bool {
			var word string
			var n uint64
			if _, err := fmt.Sscan(line, &word, &n); err != nil {
				t.Errorf("the child says %q", line)
				return true
			}
			if word == "safe" {
				must = append(must, seqs(max(from, safe+1), n)...)
				safe = n
			} else {
				confirmed[n] = true
			}
			lines++
			return lines > most
		})
		from = safe + 10_000
		from -= from % 10
	}
	s, err := New(killOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	stop := runReal(t, s)
	got := map[uint64]bool{}
	var last uint64
	var d Delivery
	for quiet := false; ; {
		if s.Next(&d) {
			if quiet = false; d.Seq <= last {
				t.Fatalf("%d after %d", d.Seq, last)
			}
			last, got[d.Seq] = d.Seq, true
			s.Confirm(d.Receipt)
			continue
		}
		if quiet {
			break
		}
		select {
		case <-s.Ready():
		case <-time.After(2 * time.Second):
			quiet = true
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	st := s.Stats()
	again := 0
	for seq := range confirmed {
		if got[seq] {
			again++
		}
	}
	if st.Lost != 0 || st.DroppedBy(DropFull) != 0 || again > 16 || len(got) == 0 {
		t.Errorf("%d delivered, %d again, stats %+v", len(got), again, st)
	}
	for _, seq := range must {
		if !got[seq] && !confirmed[seq] {
			t.Errorf("%d was safe, and is lost", seq)
		}
	}
	t.Logf("%d safe, %d confirmed by the children, %d of them came again, %d were left, %d bytes torn",
		len(must), len(confirmed), again, len(got), st.CorruptBytes)
}
