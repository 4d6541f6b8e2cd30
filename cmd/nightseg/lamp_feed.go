package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"nightseg/edge"
	"nightseg/firmware/lamp"
	"nightseg/firmware/poll"
)

// Names of the lamp's program.
const (
	lampProgram = "nightseg-lamp"
	lampEnv     = "NIGHTSEG_LAMP" // says where it is
)

const (
	beatEvery   = lamp.Beat / 2
	lampSilent  = 900 * time.Millisecond // without a state: the program hangs
	lampEnd     = time.Second            // for it to end by itself
	lampRetry   = 200 * time.Millisecond // doubled after each fault
	lampSlowest = 5 * time.Second
)

// Masks must come, or the lamp goes out: within progressLeast, or where cameras are slow
// within three of their periods, up to progressMost.
const (
	progressLeast = 300 * time.Millisecond
	progressMost  = 2 * time.Second
)

// lampState is the lamp as health tells it.
type lampState struct {
	lamp.State
	Wish     float64 `json:"wish"` // level that the service wants
	Restarts uint64  `json:"restarts"`
	Problem  string  `json:"problem,omitempty"`
}

// lampFeed has the lamp's program shine as long as the service gets on.
type lampFeed struct {
	c        lamp.Config
	root     string
	pipe     string // of a program that runs already; "": one is started
	program  string // "": it is looked for
	wish     atomic.Uint64
	masks    atomic.Pointer[func() uint64]
	restarts atomic.Uint64

	mu      sync.Mutex
	now     lamp.State
	heard   time.Time
	problem string
}

func newLampFeed(c lamp.Config, root, pipe string) *lampFeed {
	return &lampFeed{c: c, root: root, pipe: pipe}
}

// set says how bright the lamp is to be. It does not wait.
func (f *lampFeed) set(level float64) { f.wish.Store(math.Float64bits(level)) }

// follow says whose masks show that the service gets on.
func (f *lampFeed) follow(masks func() uint64) { f.masks.Store(&masks) }

// state is what is known of the lamp.
func (f *lampFeed) state() *lampState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &lampState{
		State: f.now, Wish: math.Float64frombits(f.wish.Load()), Restarts: f.restarts.Load(), Problem: f.problem,
	}
}

// fault notes what is wrong, "" for nothing.
func (f *lampFeed) fault(h *edge.Health, why string) {
	f.mu.Lock()
	f.problem = why
	f.mu.Unlock()
	h.Note(partLamp, why)
}

// run feeds the lamp until ctx is done; then it is off.
func (f *lampFeed) run(ctx context.Context, h *edge.Health) {
	feed := f.session
	if f.pipe != "" {
		feed = f.write
	}
	for wait := lampRetry; ctx.Err() == nil; wait = min(2*wait, lampSlowest) {
		begun := time.Now()
		err := feed(ctx, h)
		if ctx.Err() != nil {
			return
		}
		f.restarts.Add(1)
		f.fault(h, err.Error())
		h.Log(partLamp, err)
		if time.Since(begun) > time.Minute {
			wait = lampRetry
		}
		poll.Wait(ctx, wait)
	}
}

// gettingOn watches whether masks come.
type gettingOn struct {
	masks  uint64
	at     time.Time
	period time.Duration
}

// alive takes the number of masks, and reports whether they still come.
func (p *gettingOn) alive(now time.Time, masks uint64) bool {
	if masks != p.masks {
		if !p.at.IsZero() {
			period := now.Sub(p.at) / time.Duration(max(1, masks-p.masks))
			p.period += (min(period, time.Second) - p.period) / 4
		}
		p.masks, p.at = masks, now
	}
	return !p.at.IsZero() && now.Sub(p.at) < min(max(progressLeast, 3*p.period), progressMost)
}

// beats calls send with a level again and again, as long as masks come, until ctx or ended
// is done, or send fails.
func (f *lampFeed) beats(ctx context.Context, ended <-chan struct{}, send func(level string) error) error {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	var p gettingOn
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
			return nil
		case <-tick.C:
		}
		masks := f.masks.Load()
		if masks == nil || !p.alive(time.Now(), (*masks)()) {
			continue
		}
		if err := send(strconv.FormatFloat(math.Float64frombits(f.wish.Load()), 'g', 4, 64) + "\n"); err != nil {
			return err
		}
	}
}

// write feeds a program that runs already by its pipe.
func (f *lampFeed) write(ctx context.Context, h *edge.Health) (err error) {
	pipe, err := os.OpenFile(f.pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ENXIO) {
		return fmt.Errorf("board.lamp.feed: nobody reads %s: systemctl status nightseg-lamp", f.pipe)
	}
	if err != nil {
		return fmt.Errorf("board.lamp.feed: %w", err)
	}
	defer func() { err = errors.Join(err, pipe.Close()) }()
	f.fault(h, "")
	return f.beats(ctx, nil, func(level string) error { return writeSoon(pipe, level) })
}

// writeSoon writes to a pipe whose reader may hang.
func writeSoon(pipe *os.File, text string) error {
	if err := pipe.SetWriteDeadline(time.Now().Add(beatEvery)); err != nil {
		return err
	}
	_, err := pipe.WriteString(text)
	return err
}

// session starts the lamp's program, and feeds it until it or ctx ends. When it returns, the
// program has ended, and the lamp is off.
func (f *lampFeed) session(ctx context.Context, h *edge.Health) error {
	program, err := f.find()
	if err != nil {
		return err
	}
	config, remove, err := f.writeConfig()
	if err != nil {
		return err
	}
	defer remove()
	args := []string{"-config", config, "-root", f.root}
	p, err := startLamp(program, args)
	if err != nil {
		return err
	}
	f.hear(lamp.State{})
	read := make(chan struct{})
	go func() {
		defer close(read)
		f.listen(p.out, h)
	}()
	hung := make(chan struct{})
	watch, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { f.watch(watch, hung, p) })
	err = f.beats(ctx, p.ended, func(level string) error { return writeSoon(p.in, level) })
	stop()
	wg.Wait()
	clean := p.end()
	<-read
	select {
	case <-hung:
		err = errors.New("it does not answer")
	default:
	}
	if clean && ctx.Err() != nil {
		return nil
	}
	// It may have been killed: a PWM goes on without its program.
	off, cancel := context.WithTimeout(context.WithoutCancel(ctx), lampEnd)
	defer cancel()
	out, offErr := exec.CommandContext(off, program, append(args, "-off")...).CombinedOutput()
	if offErr != nil {
		offErr = fmt.Errorf("the lamp may still be on: %w: %.200s", offErr, out)
	}
	return errors.Join(fmt.Errorf("%s ended: %s, %s", lampProgram, p.cmd.ProcessState, p.said.cause()), err, offErr)
}

// hear takes a state.
func (f *lampFeed) hear(s lamp.State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now, f.heard = s, time.Now()
}

// listen reads states until the program ends.
func (f *lampFeed) listen(out *os.File, h *edge.Health) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var s lamp.State
		if json.Unmarshal(lines.Bytes(), &s) != nil {
			continue // no sign of life
		}
		f.hear(s)
		f.fault(h, s.Error)
	}
}

// watch kills a program that tells nothing any more: it may have been stopped with the lamp
// on.
func (f *lampFeed) watch(ctx context.Context, hung chan<- struct{}, p *lampProcess) {
	for poll.Wait(ctx, beatEvery) {
		f.mu.Lock()
		silent := time.Since(f.heard)
		f.mu.Unlock()
		if silent > lampSilent {
			close(hung)
			_ = p.cmd.Process.Kill() // it may have ended
			return
		}
	}
}

// find looks for the program.
func (f *lampFeed) find() (string, error) {
	if f.program != "" {
		return f.program, nil
	}
	if p := os.Getenv(lampEnv); p != "" {
		return p, nil
	}
	if exe, err := os.Executable(); err == nil {
		if p, err := exec.LookPath(filepath.Join(filepath.Dir(exe), lampProgram)); err == nil {
			return p, nil
		}
	}
	p, err := exec.LookPath(lampProgram)
	if err != nil {
		return "", fmt.Errorf("%w: make build makes it, and $%s says where it is", err, lampEnv)
	}
	return p, nil
}

// writeConfig writes what the program is to know, where the unit's ExecStopPost finds it.
func (f *lampFeed) writeConfig() (name string, remove func(), err error) {
	b, err := json.Marshal(f.c)
	if err != nil {
		return "", nil, err
	}
	if dir := os.Getenv("RUNTIME_DIRECTORY"); dir != "" { // of systemd, which takes it away
		name = filepath.Join(dir, "lamp.json")
		return name, func() {}, os.WriteFile(name, b, 0o600)
	}
	dir, err := os.MkdirTemp("", "nightseg-lamp-")
	if err != nil {
		return "", nil, err
	}
	name = filepath.Join(dir, "lamp.json")
	return name, func() { _ = os.RemoveAll(dir) }, os.WriteFile(name, b, 0o600)
}
