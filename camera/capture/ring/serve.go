package ring

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"nightseg/edge/frame"
)

// Info is what a device says of itself once it is open.
type Info struct {
	FPS   float64 // frames per second; 0: not known
	Total uint64  // pictures in a recording; 0: not known or no recording
}

// Shot is one picture of a device.
type Shot struct {
	W, H   int
	Mono   time.Duration // when it was there; 0: now
	Sensor time.Duration // the driver's own time; 0: it says nothing
}

// CloseWithin is how long a device may take to close when the parent is gone.
const CloseWithin = 700 * time.Millisecond

// Device is what a capture process serves. Read waits for the next picture and
// writes it to dst as packed RGB; an empty dst asks for the picture to be
// thrown away. io.EOF is the end of a recording. A picture larger than dst is an
// error.
type Device interface {
	Read(dst []byte) (Shot, error)
	Close() error
}

// Opener opens the device that the parent asks for.
type Opener func(c *Config) (Device, Info, error)

// Serve is the capture process: it reads the configuration, opens the device and
// hands on its pictures until the recording ends, the device fails or the parent
// is gone. What went wrong is told to the parent and returned. It uses the
// process's standard input and descriptors MemoryFD and RecordsFD.
func Serve(open Opener) error {
	in := bufio.NewReaderSize(os.Stdin, 1<<16)
	line, err := in.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("nightseg-capture is started by nightseg, which tells it on standard input what to do: %w", err)
	}
	s := &server{out: os.NewFile(RecordsFD, "records"), stop: make(chan struct{})}
	if err := json.Unmarshal(line, &s.c); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := s.attach(); err != nil {
		return s.fail(err)
	}
	// These two end with the process: a device that hangs cannot be waited for.
	go s.releases(in)
	go s.heartbeat()

	s.begin()
	dev, info, err := open(&s.c)
	s.end()
	if err != nil {
		return s.fail(err)
	}
	err = s.fail(s.serve(dev, info)) // told before the device is closed, which may hang
	s.begin()
	defer s.end()
	return errors.Join(err, dev.Close())
}

// server is the state of a capture process.
type server struct {
	c       Config
	memory  []byte
	free    chan int
	dropped atomic.Uint64
	since   atomic.Int64  // Mono when the device was asked, 0 when it is not being asked
	stop    chan struct{} // closed when the parent wants no more
	once    sync.Once

	mu  sync.Mutex // guards out and buf
	out *os.File
	buf []byte
}

func (s *server) attach() error {
	c := &s.c
	if c.Version != Version {
		return fmt.Errorf("nightseg speaks version %d of the protocol, nightseg-capture %d: build both alike",
			c.Version, Version)
	}
	if c.Slots < 1 || c.Slots > 64 || c.SlotSize < 3 || c.SlotSize > 1<<30 {
		return fmt.Errorf("configuration: %d slots of %d bytes", c.Slots, c.SlotSize)
	}
	var err error
	s.memory, err = unix.Mmap(MemoryFD, 0, c.Slots*c.SlotSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("shared memory: %w", err)
	}
	s.free = make(chan int, c.Slots)
	for i := range c.Slots {
		s.free <- i
	}
	return nil
}

// quit lets the device be closed in order; one that does not return ends with
// the process.
func (s *server) quit() {
	s.once.Do(func() {
		close(s.stop)
		time.AfterFunc(CloseWithin, func() { os.Exit(0) })
	})
}

// releases takes slots back. Its end is the parent's end, and with it ours.
func (s *server) releases(in *bufio.Reader) {
	defer s.quit()
	for {
		b, err := in.ReadByte()
		if err != nil {
			return
		}
		if int(b) >= s.c.Slots {
			continue
		}
		select {
		case s.free <- int(b):
		default: // given back twice
		}
	}
}

// heartbeat sends a record in every pause.
func (s *server) heartbeat() {
	defer s.quit()
	for range time.Tick(AliveEvery / 2) {
		r := Record{Kind: Alive}
		if since := s.since.Load(); since != 0 {
			r.Busy = max(frame.Mono()-time.Duration(since), 0)
		}
		if s.send(&r) != nil {
			return
		}
	}
}

func (s *server) begin() { s.since.Store(int64(frame.Mono())) }
func (s *server) end()   { s.since.Store(0) }

func (s *server) send(r *Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Dropped = s.dropped.Load()
	s.buf = r.Append(s.buf[:0])
	_, err := s.out.Write(s.buf)
	return err
}

func (s *server) fail(err error) error {
	if err == nil {
		return nil
	}
	if sendErr := s.send(&Record{Kind: Failure, Text: err.Error()}); sendErr != nil {
		return errors.Join(err, sendErr)
	}
	return err
}

// serve hands on pictures until there are no more, or the parent wants none.
func (s *server) serve(dev Device, info Info) error {
	if err := s.send(&Record{Kind: Hello, FPS: info.FPS, Total: info.Total}); err != nil {
		return err
	}
	for seq := uint64(0); ; seq++ {
		slot, room, ok := s.acquire(seq < s.c.Skip)
		if !ok {
			return nil
		}
		s.begin()
		shot, err := dev.Read(room)
		s.end()
		if errors.Is(err, io.EOF) {
			return s.send(&Record{Kind: End, Seq: seq})
		}
		if err != nil {
			return err
		}
		if room == nil {
			if seq >= s.c.Skip {
				s.dropped.Add(1)
			}
			continue
		}
		if shot.Mono == 0 {
			shot.Mono = frame.Mono()
		}
		err = s.send(&Record{
			Kind: Picture, Slot: slot, Seq: seq, Mono: shot.Mono, Sensor: shot.Sensor, W: shot.W, H: shot.H,
		})
		if err != nil {
			return err
		}
	}
}

// acquire returns a free slot; no room when the picture is to be skipped, or when
// it is live and all slots are with the parent. It is not ok when the parent wants
// no more.
func (s *server) acquire(skip bool) (slot int, room []byte, ok bool) {
	select {
	case <-s.stop:
		return 0, nil, false
	default:
	}
	if skip {
		return 0, nil, true
	}
	select {
	case slot = <-s.free:
	default:
		if s.c.Live {
			return 0, nil, true
		}
		select {
		case slot = <-s.free:
		case <-s.stop:
			return 0, nil, false
		}
	}
	return slot, s.memory[slot*s.c.SlotSize:][:s.c.SlotSize:s.c.SlotSize], true
}
