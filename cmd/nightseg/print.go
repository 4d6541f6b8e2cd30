package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"nightseg/edge/journal"
)

// app is where the commands write to.
type app struct {
	out, err io.Writer
	json     bool // write JSON to out
}

// printJSON writes v as indented JSON to the output.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printf writes to the output; with --json it writes nothing.
func (a *app) printf(format string, args ...any) {
	if !a.json {
		_, _ = fmt.Fprintf(a.out, format, args...) // a closed terminal is no reason to stop the work
	}
}

// notef writes a note for people to the error output.
func (a *app) notef(format string, args ...any) {
	_, _ = fmt.Fprintf(a.err, format+"\n", args...)
}

// fault writes what ended the program: in the journal a line is an entry.
func (a *app) fault(err error) {
	text := "nightseg: " + err.Error()
	if journal.Attached(a.err) {
		mark := journal.Prefix(slog.LevelError)
		text = mark + strings.ReplaceAll(text, "\n", "\n"+mark)
	}
	a.notef("%s", text)
}

// terminal reports whether the error output is a terminal.
func (a *app) terminal() bool { return isTerminal(a.err) }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// atLeast leaves out of a log what is less important than level.
func atLeast(level slog.Level, l *slog.Logger) *slog.Logger {
	return slog.New(levelHandler{l.Handler(), level})
}

// levelHandler is a handler with a level of its own.
type levelHandler struct {
	slog.Handler
	level slog.Level
}

// Enabled implements slog.Handler.
func (h levelHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level && h.Handler.Enabled(ctx, l)
}

// WithAttrs implements slog.Handler.
func (h levelHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return levelHandler{h.Handler.WithAttrs(attrs), h.level}
}

// WithGroup implements slog.Handler.
func (h levelHandler) WithGroup(name string) slog.Handler {
	return levelHandler{h.Handler.WithGroup(name), h.level}
}

// lineEvery is how often progress is told where there is no terminal.
const lineEvery = 5 * time.Second

// progress tells how far a long work is: as a bar on a terminal, as a line now
// and then elsewhere. Its methods may be called from any goroutine.
type progress struct {
	a     *app
	bar   *progressbar.ProgressBar // nil: lines
	what  string
	mu    sync.Mutex
	done  int
	total int
	last  time.Time
}

// progress starts to tell of a work of total steps, -1 if that is not known.
func (a *app) progress(total int, what string) *progress {
	p := &progress{a: a, what: what, total: total, last: time.Now()}
	if a.terminal() {
		p.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(a.err), progressbar.OptionSetDescription(what),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	return p
}

// Add tells of n more steps.
func (p *progress) Add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	if p.bar != nil {
		_ = p.bar.Add(n) // fails only beyond the total, which then was not known well
		return
	}
	if time.Since(p.last) >= lineEvery {
		p.last = time.Now()
		p.line()
	}
}

// Done ends the progress.
func (p *progress) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Finish() // only draws
		return
	}
	p.line()
}

func (p *progress) line() {
	if p.total < 0 {
		p.a.notef("%s: %d", p.what, p.done)
		return
	}
	p.a.notef("%s: %d of %d", p.what, p.done, p.total)
}
