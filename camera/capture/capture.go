// Package capture reads video files, V4L2, CSI and RTSP cameras through a process
// of its own, nightseg-capture, which holds OpenCV.
//
// A video library that crashes, or a read that never returns, then costs some
// frames and not the service: the process is watched, killed and started again.
// Package ring is the protocol between the two.
//
// Goroutines of a Source: one that supervises the process and reads its records,
// one that waits for the process's end. Close ends both.
package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"nightseg/camera/capture/ring"
	"nightseg/edge/frame"
)

// Options say what to read and how.
type Options struct {
	Kind    string // ring.KindFile, ring.KindV4L2, ring.KindCSI or ring.KindRTSP
	Address string // path, device, sensor number or URL

	// Live keeps the newest picture for a caller that is too slow, and counts the
	// others. A recording is never live: none of its pictures is lost.
	Live bool

	Width, Height int     // mode to ask of a camera; 0: its own
	FPS           float64 // rate to ask of a camera; 0: its own
	FourCC        string  // pixel format to ask of a V4L2 camera, such as MJPG; empty: its own
	Flip          int     // flip-method of nvvidconv for a CSI camera, 0..7

	// Program is the path of nightseg-capture. Empty: $NIGHTSEG_CAPTURE, then the
	// folder of this program, then PATH.
	Program string
}

// The counters of a Source. Those that begin with RestartPrefix count starts of a
// new process, the others frames.
const (
	CountLate = "late" // a newer picture came before the caller asked for this one
	CountFull = "full" // the capture process had no slot for it

	RestartPrefix = "restart_"
	CountDied     = RestartPrefix + "died"    // the process ended by itself
	CountSilent   = RestartPrefix + "silent"  // no heartbeat: killed
	CountStuck    = RestartPrefix + "stuck"   // the device did not answer: killed
	CountGarbage  = RestartPrefix + "garbage" // it broke the protocol: killed
	CountFailed   = RestartPrefix + "failed"  // it said that the camera failed, such as a lost RTSP session
	CountStart    = RestartPrefix + "start"   // it could not be started again
)

// limits are the patience of a Source, and the length of its ring: one slot being
// written, one being read, two for the jitter between them.
type limits struct {
	slots    int
	start    time.Duration // until the first record: the loader reads OpenCV's libraries, maybe off a slow card
	silence  time.Duration // without any record, from then on
	open     time.Duration // for a device to open
	read     time.Duration // for a device to give one picture
	grace    time.Duration // for a process that was told to end
	reap     time.Duration // for a process that was killed; longer only in uninterruptible sleep
	pause    time.Duration // before the first restart, doubled for each further one
	maxPause time.Duration
	steady   time.Duration // a live process that lived that long starts a new budget
	live     int           // restarts in a row of a camera
	sameSpot int           // deaths at the same frame of a recording
	file     int           // deaths in all in one recording
}

var defaultLimits = limits{
	slots: 4,
	start: 20 * time.Second, silence: 3 * time.Second, open: 20 * time.Second, read: 10 * time.Second,
	grace: time.Second, reap: 5 * time.Second,
	pause: 100 * time.Millisecond, maxPause: 5 * time.Second, steady: 10 * time.Second,
	live: 8, sameSpot: 3, file: 20,
}

// maxPixels bounds a picture whose size is not known before: 4:3 with a width of
// 4096. Memory is only spent on what is written.
const maxPixels = 4096 * 3072

var errClosed = errors.New("the source is closed")

// Source is a camera or a recording that a capture process reads. Next must not
// be called by two goroutines at once; everything else may be called at any time.
type Source struct {
	opt    Options
	lim    limits
	conf   ring.Config
	cmd    []string // the program and its arguments
	env    []string // beside our own environment
	memory *os.File
	cancel context.CancelFunc
	opened chan struct{} // closed when the first process has opened the device
	done   chan struct{} // closed when the supervisor has ended
	wake   chan struct{} // there is something for Next

	mu       sync.Mutex // guards what follows, and the memory while it is read
	ring     []byte
	child    *child    // the process that owns the free slots
	queue    []picture // with records, not yet taken; one at most when live
	next     uint64    // number of the next picture of a recording for the caller
	lost     uint32    // pictures lost since the last in the queue
	counters map[string]uint64
	fps      float64
	total    int
	trouble  error // of the last process, until a picture comes
	err      error // why there will be no more
}

// picture is a filled slot.
type picture struct {
	ring.Record
	lost uint32 // before it
}

// Open starts a capture process and returns when it has opened the device. It
// does not try again: a camera that is not there is an error. ctx bounds the
// opening only.
func Open(ctx context.Context, opt Options) (*Source, error) {
	program, err := find(opt.Program)
	if err != nil {
		return nil, fmt.Errorf("capture %s: %w", Redact(opt.Address), err)
	}
	return open(ctx, opt, []string{program}, nil, defaultLimits)
}

func open(ctx context.Context, opt Options, cmd, env []string, lim limits) (*Source, error) {
	s := &Source{
		opt: opt, lim: lim, cmd: cmd, env: env, total: -1, counters: map[string]uint64{},
		opened: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	if err := s.configure(); err != nil {
		return nil, s.wrap(err)
	}
	if err := s.share(); err != nil {
		return nil, s.wrap(err)
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	go s.supervise(run)
	select {
	case <-s.opened:
		return s, nil
	case <-s.done:
		select {
		case <-s.opened: // a short recording is over before we look
			return s, nil
		default:
		}
		err := s.err
		return nil, errors.Join(err, s.Close())
	case <-ctx.Done():
		return nil, errors.Join(s.wrap(ctx.Err()), s.Close())
	}
}

func (s *Source) configure() error {
	o := &s.opt
	switch o.Kind {
	case ring.KindFile:
		o.Live = false
	case ring.KindV4L2, ring.KindCSI, ring.KindRTSP:
	default:
		return fmt.Errorf("unknown kind of source %q", o.Kind)
	}
	switch {
	case o.Address == "":
		return errors.New("no address")
	case o.Width < 0 || o.Height < 0 || o.Width > 1<<14 || o.Height > 1<<14:
		return fmt.Errorf("size of %dx%d", o.Width, o.Height)
	case !(o.FPS >= 0 && o.FPS <= 1000):
		return fmt.Errorf("rate of %v frames per second", o.FPS)
	case o.FourCC != "" && len(o.FourCC) != 4:
		return fmt.Errorf("pixel format %q: must have four letters, such as MJPG", o.FourCC)
	case o.Flip < 0 || o.Flip > 7:
		return fmt.Errorf("flip %d: must be 0 to 7", o.Flip)
	}
	s.conf = ring.Config{
		Version: ring.Version, Slots: s.lim.slots, SlotSize: 3 * max(maxPixels, o.Width*o.Height),
		Kind: o.Kind, Address: o.Address, Live: o.Live,
		Width: o.Width, Height: o.Height, FPS: o.FPS, FourCC: o.FourCC, Flip: o.Flip,
	}
	if o.Kind == ring.KindCSI { // so that a mistake needs no camera to be seen
		_, err := Pipeline(&s.conf)
		return err
	}
	return nil
}

// share makes the memory. It is sealed against shrinking, which could kill us
// while we read it.
func (s *Source) share() error {
	size := s.conf.Slots * s.conf.SlotSize
	fd, err := unix.MemfdCreate("nightseg-ring", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fmt.Errorf("shared memory: %w", err)
	}
	s.memory = os.NewFile(uintptr(fd), "nightseg-ring")
	err = s.memory.Truncate(int64(size))
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err == nil {
		s.ring, err = unix.Mmap(fd, 0, size, unix.PROT_READ, unix.MAP_SHARED)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("shared memory of %d MB: %w", size>>20, err), s.memory.Close())
	}
	return nil
}

// Next waits for a picture and copies it to dst: the oldest of a recording, the
// newest of a live camera. io.EOF is the end of a recording. The capture time of
// a recorded picture is now; that of a live one is when the device gave it.
func (s *Source) Next(ctx context.Context, dst *frame.Frame) error {
	for {
		ok, err := s.take(dst)
		if ok || err != nil {
			return err
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take copies the first picture of the queue and gives its slot back.
func (s *Source) take(dst *frame.Frame) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ring == nil {
		return false, s.wrap(errClosed)
	}
	if len(s.queue) == 0 {
		return false, s.err
	}
	p := s.queue[0]
	copy(s.queue, s.queue[1:])
	s.queue = s.queue[:len(s.queue)-1]
	dst.Reset(p.W, p.H)
	copy(dst.Pix, s.ring[p.Slot*s.conf.SlotSize:])
	s.child.giveBack(p.Slot)
	dst.Stamp()
	if s.opt.Kind != ring.KindFile {
		dst.Mono = p.Mono
	}
	dst.Sensor, dst.SourceW, dst.SourceH, dst.DroppedBefore = p.Sensor, p.W, p.H, p.lost
	s.next = p.Seq + 1
	return true, nil
}

// put hands a picture of the current process to Next.
func (s *Source) put(r *ring.Record) {
	s.mu.Lock()
	p := picture{Record: *r, lost: s.lost}
	s.lost, s.trouble = 0, nil
	if s.opt.Live && len(s.queue) > 0 {
		old := s.queue[0]
		s.queue = s.queue[:0]
		p.lost += old.lost + 1
		s.counters[CountLate]++
		s.child.giveBack(old.Slot)
	}
	s.queue = append(s.queue, p)
	s.mu.Unlock()
	s.signal()
}

func (s *Source) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// missed counts pictures for which the capture process had no slot.
func (s *Source) missed(n uint64) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters[CountFull] += n
	s.lost += uint32(min(n, 1<<30))
}

func (s *Source) count(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters[reason]++
}

// troubled notes why a process ended, and that another one will be started.
func (s *Source) troubled(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = err
}

// Trouble says why the process that is started again has ended; nil when a picture
// has come since.
func (s *Source) Trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble == nil {
		return nil
	}
	return s.wrap(s.trouble)
}

// Counters returns the frames lost and the processes started again, by reason.
func (s *Source) Counters() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counters)
}

// FPS returns the nominal rate in frames per second; 0: not known.
func (s *Source) FPS() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fps
}

// Len returns the number of frames that the header of a recording promises; -1:
// not known. Recordings that were cut have fewer.
func (s *Source) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// Close ends the capture process and gives the memory back. It may be called
// twice, also while Next waits, which then returns with an error.
func (s *Source) Close() error {
	s.cancel()
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ring == nil {
		return nil
	}
	err := errors.Join(unix.Munmap(s.ring), s.memory.Close())
	s.ring, s.queue = nil, nil
	s.signal()
	if err != nil {
		return s.wrap(err)
	}
	return nil
}

// finish says that there will be no more pictures than those in the queue.
func (s *Source) finish(err error) {
	if !errors.Is(err, io.EOF) {
		err = s.wrap(err)
	}
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
	s.signal()
}

func (s *Source) wrap(err error) error {
	return fmt.Errorf("capture %s: %w", Redact(s.opt.Address), err)
}
