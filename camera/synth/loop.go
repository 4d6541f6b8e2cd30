package synth

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"nightseg/edge/frame"
)

// firstFrames is how many frames of a loop must be drawn before it plays.
const firstFrames = 4

// drawNice is the niceness of the thread that draws a loop, once it can play: what
// plays goes first.
const drawNice = 10

// loop is the first frames of a drive, drawn once and played to and fro. A
// goroutine of its own draws them; those that are there can be played meanwhile.
//
// The pictures are kept outside the heap of Go, whose collector would otherwise
// let the garbage of the whole process grow to their size.
type loop struct {
	p         Params
	frames    int
	mem       []byte // of all frames: picture, then labels, two to a byte
	luma      []float32
	labels    bool // whether labels are kept
	pos, step int  // the frame shown next, and the way it goes

	cancel context.CancelFunc
	wg     sync.WaitGroup
	fresh  chan struct{} // holds a token when something has changed

	mu    sync.Mutex
	ready int   // frames drawn
	err   error // why no more are drawn
}

// newLoop starts to draw a loop of at most the given length.
func newLoop(p Params, frames int, labels bool) (*loop, error) {
	l := &loop{p: p, labels: labels, step: 1, fresh: make(chan struct{}, 1)}
	l.frames = max(min(frames, MaxLoopBytes/l.stride()), 2)
	l.luma = make([]float32, l.frames)
	var err error
	l.mem, err = unix.Mmap(-1, 0, l.frames*l.stride(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("synth: %d MB for %d frames: %w", l.frames*l.stride()>>20, l.frames, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.wg.Go(func() {
		runtime.LockOSThread() // the thread ends with the goroutine, and its niceness with it
		l.report(0, l.draw(ctx))
	})
	return l, nil
}

// stride returns the bytes of a frame.
func (l *loop) stride() int {
	n := 3 * l.p.W * l.p.H
	if l.labels {
		n += (l.p.W*l.p.H + 1) / 2
	}
	return n
}

// parts returns the picture and the packed labels of frame i.
func (l *loop) parts(i int) (pix, labels []byte) {
	all := l.mem[i*l.stride() : (i+1)*l.stride() : (i+1)*l.stride()]
	n := 3 * l.p.W * l.p.H
	return all[:n:n], all[n:]
}

func (l *loop) draw(ctx context.Context) error {
	r, err := New(l.p)
	if err != nil {
		return err
	}
	var labels []uint8
	if l.labels {
		labels = make([]uint8, l.p.W*l.p.H)
	}
	for i := range l.frames {
		if err := ctx.Err(); err != nil {
			return err
		}
		if i == firstFrames {
			// From here on it plays. Where this is not allowed, it is only less smooth for some seconds.
			_ = unix.Setpriority(unix.PRIO_PROCESS, 0, drawNice)
		}
		pix, packed := l.parts(i)
		f := frame.Frame{Pix: pix}
		if err := r.Render(&f, labels, i); err != nil {
			return err
		}
		pack(packed, labels)
		l.luma[i] = meanLuma(pix)
		l.report(i+1, nil)
	}
	return nil
}

func (l *loop) report(ready int, err error) {
	l.mu.Lock()
	l.ready = max(l.ready, ready)
	if err != nil {
		l.err = err
	}
	l.mu.Unlock()
	select {
	case l.fresh <- struct{}{}:
	default:
	}
}

// wait returns when so many frames are drawn, or all.
func (l *loop) wait(ctx context.Context, frames int) error {
	for {
		l.mu.Lock()
		ready, err := l.ready, l.err
		l.mu.Unlock()
		if ready >= min(frames, l.frames) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-l.fresh:
		case <-ctx.Done():
			return fmt.Errorf("synth: %w", ctx.Err())
		}
	}
}

// play copies the frame at the place of the loop into dst and returns its
// number. The loop must be ready to play.
func (l *loop) play(dst *frame.Frame) int {
	pix, _ := l.parts(l.pos)
	dst.Reset(l.p.W, l.p.H)
	copy(dst.Pix, pix)
	return l.pos
}

// advance goes on by so many frames, to and fro among those that are drawn.
func (l *loop) advance(frames int) {
	l.mu.Lock()
	last := l.ready - 1
	l.mu.Unlock()
	for range frames % (2 * last) {
		if n := l.pos + l.step; n < 0 || n > last {
			l.step = -l.step
		}
		l.pos += l.step
	}
}

// close ends the drawing and gives the memory back.
func (l *loop) close() error {
	l.cancel()
	l.wg.Wait()
	mem := l.mem
	l.mem = nil
	if err := unix.Munmap(mem); err != nil {
		return fmt.Errorf("synth: %w", err)
	}
	return nil
}

// packedUnknown is Unknown in four bits.
const packedUnknown = 15

// pack writes labels as four bits each.
func pack(dst, labels []uint8) {
	clear(dst[:min(len(dst), (len(labels)+1)/2)])
	for i, v := range labels {
		dst[i/2] |= min(v, packedUnknown) << (i & 1 * 4)
	}
}

// unpack is the inverse of pack.
func unpack(labels, packed []uint8) {
	for i := range labels {
		v := packed[i/2] >> (i & 1 * 4) & 15
		if v == packedUnknown {
			v = Unknown
		}
		labels[i] = v
	}
}
