package journal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/edge/journal"
)

func logTo(w io.Writer, format string) *slog.Logger {
	return slog.New(journal.New(w, format, slog.LevelInfo))
}

func TestJournalLines(t *testing.T) {
	var b bytes.Buffer
	l := logTo(&b, journal.Journal).With("camera", "front")
	l.Debug("not asked for")
	l.Info("running", "fps", 30, "took", time.Second)
	l.Warn("two\nlines", "error", errors.New("a\nb"))
	l.Error("long", "error", errors.New(strings.Repeat("é", 3000)))
	l.WithGroup("g").Info("grouped", "time", "kept")
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	want := []struct{ prefix, msg, level string }{
		{"<6>", "running", "INFO"}, {"<4>", "two\nlines", "WARN"}, {"<3>", "long", "ERROR"}, {"<6>", "grouped", "INFO"},
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines: %s", len(lines), b.String())
	}
	for i, w := range want {
		text, ok := strings.CutPrefix(lines[i], w.prefix)
		var doc map[string]any
		if err := json.Unmarshal([]byte(text), &doc); err != nil || !ok {
			t.Errorf("line %q: %v", lines[i], err)
			continue
		}
		if doc["msg"] != w.msg || doc["level"] != w.level || doc["camera"] != "front" {
			t.Errorf("line %v", doc)
		}
		if _, ok := doc["time"]; ok {
			t.Errorf("the journal has the time: %v", doc)
		}
		if e, _ := doc["error"].(string); len(e) > 2010 || w.msg == "long" && !strings.HasSuffix(e, "é ...") {
			t.Errorf("error of %d bytes", len(e))
		}
	}
	if !strings.Contains(lines[3], `"g":{"time":"kept"}`) || !strings.Contains(lines[0], `"took":1000000000`) {
		t.Errorf("%s\n%s", lines[0], lines[3])
	}
}

func TestTextLines(t *testing.T) {
	var b bytes.Buffer
	logTo(&b, journal.Text).Info("running", "fps", 30)
	if s := b.String(); !strings.HasPrefix(s, "time=") || !strings.HasSuffix(s, "level=INFO msg=running fps=30\n") {
		t.Errorf("%q", s)
	}
}

func TestAuto(t *testing.T) {
	name := filepath.Join(t.TempDir(), "stream")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	for stream, want := range map[string]bool{
		"":                                       false,
		"1:1":                                    false,
		fmt.Sprintf("%d:%d", st.Dev, st.Ino):     true,
		fmt.Sprintf("%d:%d", st.Dev, st.Ino+1):   false,
		fmt.Sprintf("%d:%d:1", st.Dev, st.Ino+1): false,
	} {
		t.Setenv("JOURNAL_STREAM", stream)
		if got := journal.Attached(f); got != want {
			t.Errorf("JOURNAL_STREAM=%s: %v", stream, got)
		}
		if err := f.Truncate(0); err != nil {
			t.Fatal(err)
		}
		logTo(f, journal.Auto).Error("x")
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(text), "<3>{"); got != want {
			t.Errorf("JOURNAL_STREAM=%s: %q", stream, text)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
	}
	if journal.Attached(new(bytes.Buffer)) {
		t.Error("a buffer is no stream")
	}
}

// A fault that comes with every frame for a day.
func TestFaultsAreFolded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		l := logTo(&b, journal.Text)
		frame := 0
		fault := func(d time.Duration) {
			for range d / time.Second {
				l.Warn(fmt.Sprintf("networks: frame %d refused", frame), "part", "front", "left_out", frame%30)
				frame++
				<-time.After(time.Second)
			}
		}
		fault(24 * time.Hour)
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		// 10 + 20 + ... + 320 s, then every ten minutes
		if n := len(lines); n < 144 || n > 155 {
			t.Errorf("%d lines a day", n)
		}
		if !strings.HasSuffix(lines[0], "left_out=0") || !strings.HasSuffix(lines[1], "repeated=9") ||
			!strings.HasSuffix(lines[len(lines)-1], "repeated=599") {
			t.Errorf("%s\n%s\n%s", lines[0], lines[1], lines[len(lines)-1])
		}

		b.Reset()
		<-time.After(time.Hour) // it is over, and begins again
		fault(11 * time.Second)
		if n := strings.Count(b.String(), "\n"); n != 2 {
			t.Errorf("%d lines where it came again: %s", n, b.String())
		}
		b.Reset()
		for range 3 {
			l.Info("the same news")
			l.Error("another fault")
			l.Warn("networks: frame 1 refused", "part", "rear")
		}
		if n := strings.Count(b.String(), "\n"); n != 3+1+1 {
			t.Errorf("%d lines: %s", n, b.String())
		}
	})
}

func TestManyFaults(t *testing.T) {
	var b bytes.Buffer
	l := logTo(&b, journal.Journal)
	for i := range 2000 {
		l.Warn(strings.Repeat("x", i%700) + "y")
	}
	if n := strings.Count(b.String(), "\n"); n < 700 {
		t.Errorf("%d lines of 700 faults", n)
	}
}

// However much is logged, no hour has more than PerHour, and a fault gets through
// where news do not.
func TestVolumeAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hours []int
		var seen int
		var faults, notes int
		w := writerFunc(func(p []byte) {
			seen += len(p)
			faults += bytes.Count(p, []byte("a fault"))
			notes += bytes.Count(p, []byte("log lines left out"))
		})
		l := logTo(w, journal.Journal)
		for hour := range 5 {
			for i := range 3600 {
				for range 10 {
					l.Info("news of this second", "text", strings.Repeat("n", 100))
				}
				if i%600 == 0 {
					l.Error("a fault of hour " + string(rune('a'+hour)) + string(rune('a'+i/600)))
				}
				<-time.After(time.Second)
			}
			hours = append(hours, seen)
			seen = 0
		}
		for i, n := range hours {
			if n > journal.PerHour || n < 300<<10 {
				t.Errorf("hour %d: %d bytes", i, n)
			}
		}
		if faults != 30 || notes == 0 {
			t.Errorf("%d of 30 faults were written, %d notes", faults, notes)
		}
	})
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
