// Package journal writes the log of a service that nobody reads for weeks: as
// lines that journald understands, the same fault again and again folded into a
// line now and then, and never more than so many bytes an hour.
package journal

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"
)

// The formats of a log.
const (
	Auto    = "auto"    // Journal where standard error goes to the journal, else Text
	Text    = "text"    // a line of key=value with the time
	Journal = "journal" // <priority> and a JSON object; the journal has the time
)

// longestText bounds a value in a line, in bytes.
const longestText = 2000

// Attached reports whether w is what JOURNAL_STREAM names: a stream to journald.
func Attached(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// Prefix is what journald takes a line's priority from.
func Prefix(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "<3>"
	case l >= slog.LevelWarn:
		return "<4>"
	case l >= slog.LevelInfo:
		return "<6>"
	}
	return "<7>"
}

// Handler writes records that are at least of a level, which may change.
type Handler struct {
	slog.Handler // renders to out.line
	out          *output
}

// New returns a handler that writes to w in a format.
func New(w io.Writer, format string, level slog.Leveler) *Handler {
	o := &output{w: w, faults: map[string]*fault{}, left: burst}
	o.prefixed = format == Journal || format == Auto && Attached(w)
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: o.replace}
	if o.prefixed {
		return &Handler{slog.NewJSONHandler(&o.line, opts), o}
	}
	return &Handler{slog.NewTextHandler(&o.line, opts), o}
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	return h.out.handle(ctx, h.Handler, r)
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{h.Handler.WithAttrs(attrs), h.out}
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{h.Handler.WithGroup(name), h.out}
}

// output is where the lines of a handler, and of those made of it, go.
type output struct {
	mu       sync.Mutex
	w        io.Writer
	prefixed bool
	line     bytes.Buffer

	faults map[string]*fault // lines that may come again
	left   float64           // bytes that may be written now
	last   time.Time
	lost   int       // lines that were not written for that
	noted  time.Time // when that was told
}

// replace leaves out the time, which the journal has itself, and bounds texts.
func (o *output) replace(groups []string, a slog.Attr) slog.Attr {
	if o.prefixed && len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	var text string
	switch v := a.Value.Any().(type) {
	case string:
		text = v
	case error:
		text = v.Error()
	case fmt.Stringer:
		if a.Value.Kind() != slog.KindAny {
			return a
		}
		text = v.String()
	default:
		return a
	}
	if len(text) > longestText {
		cut := longestText
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + " ..."
	}
	a.Value = slog.StringValue(text)
	return a
}

func (o *output) handle(ctx context.Context, h slog.Handler, r slog.Record) error {
	if err := o.render(ctx, h, r); err != nil {
		return err
	}
	if r.Level >= slog.LevelWarn {
		again, write := o.fold(r.Time)
		if !write {
			return nil
		}
		if again > 0 {
			r = r.Clone()
			r.AddAttrs(slog.Int("repeated", again))
			if err := o.render(ctx, h, r); err != nil {
				return err
			}
		}
	}
	if !o.afford(r.Level, r.Time, o.line.Len()) {
		o.lost++
		return nil
	}
	if o.lost > 0 && (o.noted.IsZero() || r.Time.Sub(o.noted) >= noteEvery) {
		if err := o.note(ctx, h, r.Time); err != nil {
			return err
		}
	}
	_, err := o.w.Write(o.line.Bytes())
	return err
}

// note puts a line before the one that was made that tells how many were left out.
func (o *output) note(ctx context.Context, h slog.Handler, now time.Time) error {
	line := bytes.Clone(o.line.Bytes())
	r := slog.NewRecord(now, slog.LevelWarn, "log lines left out: too many in an hour", 0)
	r.AddAttrs(slog.Int("lines", o.lost))
	if err := o.render(ctx, h, r); err != nil {
		return err
	}
	o.left -= float64(o.line.Len())
	o.lost, o.noted = 0, now
	o.line.Write(line)
	return nil
}

// render makes the record's line.
func (o *output) render(ctx context.Context, h slog.Handler, r slog.Record) error {
	o.line.Reset()
	if o.prefixed {
		o.line.WriteString(Prefix(r.Level))
	}
	return h.Handle(ctx, r)
}
