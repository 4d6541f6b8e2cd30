// Package ring is what passes between nightseg and nightseg-capture: pictures in
// shared memory, and on a pipe a record for each of them.
//
// The memory is a row of slots of equal size, in a memory file that the parent
// makes. A slot belongs to the capture process until its record is sent, then to
// the parent until it gives the slot back, by a byte with its number on the
// standard input of the capture process. So no picture is written while it is
// read, and a process that is killed in the middle of one has told nobody of it.
//
// Records are little-endian and of fixed size, a failure carries its text behind
// it. A record of some kind comes at least every AliveEvery, also while a device
// does not answer; the record then says for how long it has not.
package ring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Version is that of the protocol; both programs must have the same.
const Version = 1

// The file descriptors that the capture process is born with, beside the
// standard ones. Its standard input carries the Config as one line of JSON, then
// the numbers of slots that are free again.
const (
	MemoryFD  = 3
	RecordsFD = 4
)

// AliveEvery is the longest pause between two records of a healthy process.
const AliveEvery = 250 * time.Millisecond

// Config is what the parent asks of the capture process.
type Config struct {
	Version  int     `json:"version"`
	Slots    int     `json:"slots"`
	SlotSize int     `json:"slot_size"` // bytes
	Kind     string  `json:"kind"`      // KindFile ...
	Address  string  `json:"address"`   // path, URL, device or sensor number
	Live     bool    `json:"live"`      // when no slot is free, lose pictures rather than wait
	Width    int     `json:"width"`     // to ask of a camera; 0: its own
	Height   int     `json:"height"`
	FPS      float64 `json:"fps"`    // to ask of a camera; 0: its own
	FourCC   string  `json:"fourcc"` // pixel format to ask of a V4L2 camera, such as MJPG; empty: its own
	Flip     int     `json:"flip"`   // flip-method of nvvidconv, 0..7
	Skip     uint64  `json:"skip"`   // pictures of a file to leave out
}

// The kinds of a source.
const (
	KindFile = "file"
	KindV4L2 = "v4l2"
	KindCSI  = "csi"
	KindRTSP = "rtsp"
)

// RecordKind is what a record says.
type RecordKind uint8

// The kinds of a record.
const (
	Hello   RecordKind = 1 + iota // the device is open: FPS, Total
	Picture                       // a slot is filled: Slot, Seq, Mono, Sensor, W, H
	Alive                         // nothing new: Busy
	End                           // the recording is over: Seq is how many pictures it had
	Failure                       // the process gives up: Text
	endOfKinds
)

// RecordSize is the length of a record without its text; MaxText bounds that.
const (
	RecordSize = 64
	MaxText    = 1024
	magic      = 0x3152534e // "NSR1"
)

// Record is one message of the capture process. Fields that its kind does not
// name are 0, except Dropped, which every record carries.
type Record struct {
	Kind    RecordKind
	Slot    int
	Seq     uint64        // number of the picture in the recording, or since the start
	Mono    time.Duration // when it was there, on the clock of frame.Mono
	Sensor  time.Duration // what the driver says of its time; 0: nothing. Only differences mean something
	W, H    int
	Dropped uint64        // pictures lost so far because no slot was free
	Busy    time.Duration // how long the device has not answered
	FPS     float64       // nominal rate, frames per second; 0: not known
	Total   uint64        // pictures in the recording, as its header says; 0: not known
	Text    string
}

// ErrShort says that the bytes end within a record.
var ErrShort = errors.New("incomplete record")

// maxFPS bounds a rate that makes sense, in frames per second.
const maxFPS = 1e6

// Append writes the record to dst.
func (r *Record) Append(dst []byte) []byte {
	text := r.Text
	if len(text) > MaxText {
		text = text[:MaxText]
	}
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, magic)
	dst = append(dst, byte(r.Kind), byte(r.Slot))
	dst = le.AppendUint16(dst, uint16(len(text)))
	dst = le.AppendUint64(dst, r.Seq)
	dst = le.AppendUint64(dst, uint64(r.Mono))
	dst = le.AppendUint64(dst, uint64(r.Sensor))
	dst = le.AppendUint32(dst, uint32(r.W))
	dst = le.AppendUint32(dst, uint32(r.H))
	dst = le.AppendUint64(dst, r.Dropped)
	switch r.Kind {
	case Hello:
		dst = le.AppendUint64(dst, uint64(min(max(r.FPS, 0), maxFPS)*1000+0.5))
		dst = le.AppendUint64(dst, r.Total)
	default:
		dst = le.AppendUint64(dst, uint64(r.Busy))
		dst = le.AppendUint64(dst, 0)
	}
	return append(dst, text...)
}

// Parse reads the record at the start of b and returns its length. It never
// trusts the other side: slot and size are checked against the configuration.
func (r *Record) Parse(b []byte, c *Config) (int, error) {
	if len(b) < RecordSize {
		return 0, ErrShort
	}
	le := binary.LittleEndian
	if le.Uint32(b) != magic {
		return 0, fmt.Errorf("record begins with %x: is nightseg-capture of the same version?", b[:4])
	}
	n := RecordSize + int(le.Uint16(b[6:]))
	if n > RecordSize+MaxText {
		return 0, fmt.Errorf("text of %d bytes", n-RecordSize)
	}
	if len(b) < n {
		return 0, ErrShort
	}
	*r = Record{
		Kind: RecordKind(b[4]), Slot: int(b[5]),
		Seq: le.Uint64(b[8:]), Mono: time.Duration(le.Uint64(b[16:])), Sensor: time.Duration(le.Uint64(b[24:])),
		W: int(le.Uint32(b[32:])), H: int(le.Uint32(b[36:])), Dropped: le.Uint64(b[40:]),
	}
	if r.Kind == Hello {
		r.FPS, r.Total = min(float64(le.Uint64(b[48:]))/1000, maxFPS), le.Uint64(b[56:])
	} else {
		r.Busy = time.Duration(le.Uint64(b[48:]))
	}
	if n > RecordSize { // text is rare; other records must not allocate
		r.Text = string(b[RecordSize:n])
	}
	return n, r.check(c)
}

func (r *Record) check(c *Config) error {
	switch {
	case r.Kind == 0 || r.Kind >= endOfKinds:
		return fmt.Errorf("record of unknown kind %d", r.Kind)
	case r.Mono < 0 || r.Busy < 0:
		return fmt.Errorf("record with times %d and %d", r.Mono, r.Busy)
	case r.Kind != Picture:
		return nil
	case r.Slot >= c.Slots:
		return fmt.Errorf("slot %d of %d", r.Slot, c.Slots)
	case r.W <= 0 || r.H <= 0 || r.W > c.SlotSize/3/r.H:
		return fmt.Errorf("picture of %dx%d in a slot of %d bytes", r.W, r.H, c.SlotSize)
	}
	return nil
}
