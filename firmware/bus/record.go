package bus

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"
)

// header is the first line of a recording. A transaction is a line: the address, what
// was written and what was read in hexadecimal digits, or "-", and after "!" the error
// (then what was read counts by its length).
const header = "# nightseg i2c 1"

// Recorder is a bus that writes down what passes.
type Recorder struct {
	raw i2c.Bus
	mu  sync.Mutex
	w   io.Writer
	err error // the first of w
}

// NewRecorder writes the traffic of a bus to w.
func NewRecorder(raw i2c.Bus, w io.Writer) *Recorder {
	_, err := io.WriteString(w, header+"\n")
	return &Recorder{raw: raw, w: w, err: err}
}

func (r *Recorder) String() string { return r.raw.String() }

// SetSpeed implements i2c.Bus.
func (r *Recorder) SetSpeed(f physic.Frequency) error { return r.raw.SetSpeed(f) }

// Tx implements i2c.Bus.
func (r *Recorder) Tx(addr uint16, w, in []byte) error {
	err := r.raw.Tx(addr, w, in)
	e := entry{IO: i2ctest.IO{Addr: addr, W: w, R: in}}
	if err != nil {
		e.problem = strings.ReplaceAll(err.Error(), "\n", " ")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		_, r.err = io.WriteString(r.w, e.String()+"\n")
	}
	return err
}

// Close closes the bus; its error is also what could not be written.
func (r *Recorder) Close() error {
	var err error
	if c, ok := r.raw.(io.Closer); ok {
		err = c.Close()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(err, r.err)
}

// entry is one transaction.
type entry struct {
	i2ctest.IO
	problem string
}

func (e entry) String() string {
	line := fmt.Sprintf("%02x %s %s", e.Addr, hexOrDash(e.W), hexOrDash(e.R))
	if e.problem != "" {
		line += " ! " + e.problem
	}
	return line
}

func hexOrDash(b []byte) string {
	if len(b) == 0 {
		return "-"
	}
	return hex.EncodeToString(b)
}

func fromHexOrDash(s string) ([]byte, error) {
	if s == "-" {
		return nil, nil
	}
	return hex.DecodeString(s)
}

// parse reads a recording.
func parse(b []byte) ([]entry, error) {
	first, _, _ := bytes.Cut(b, []byte("\n"))
	if strings.TrimSpace(string(first)) != header {
		return nil, fmt.Errorf("no recording of an I2C bus: the first line must be %q", header)
	}
	var list []entry
	s := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		e, err := parseEntry(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		list = append(list, e)
	}
	return list, s.Err()
}

func parseEntry(line string) (e entry, err error) {
	data, problem, failed := strings.Cut(line, "!")
	e.problem = strings.TrimSpace(problem)
	if failed && e.problem == "" {
		return e, errors.New("the mark ! has no error behind it")
	}
	f := strings.Fields(data)
	if len(f) != 3 {
		return e, fmt.Errorf("%d words, not address, written and read", len(f))
	}
	addr, err := strconv.ParseUint(f[0], 16, 10)
	if err != nil {
		return e, fmt.Errorf("%q is no address", f[0])
	}
	e.Addr = uint16(addr)
	if e.W, err = fromHexOrDash(f[1]); err == nil {
		e.R, err = fromHexOrDash(f[2])
	}
	return e, err
}

// Playback is a bus that answers as in a recording: for each address, bytes written and
// number of bytes read, with what was read then, one after the other; the last answer is
// repeated. So it can be played for as long as one likes, and to readers that take turns
// in another order.
type Playback struct {
	name string
	mu   sync.Mutex
	left map[string][]entry
	addr map[uint16]bool
}

// NewPlayback plays a recording; the name is for errors.
func NewPlayback(name string, recording []byte) (*Playback, error) {
	list, err := parse(recording)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := &Playback{name: name, left: map[string][]entry{}, addr: map[uint16]bool{}}
	for _, e := range list {
		k := key(e.Addr, e.W, len(e.R))
		p.left[k] = append(p.left[k], e)
		p.addr[e.Addr] = true
	}
	return p, nil
}

func openPlayback(path string) (*Playback, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return NewPlayback(path, b)
}

func key(addr uint16, w []byte, read int) string { return fmt.Sprintf("%02x %x %d", addr, w, read) }

func (p *Playback) String() string { return p.name }

// SetSpeed implements i2c.Bus.
func (p *Playback) SetSpeed(physic.Frequency) error { return nil }

// Tx implements i2c.Bus.
func (p *Playback) Tx(addr uint16, w, r []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := key(addr, w, len(r))
	list := p.left[k]
	switch {
	case !p.addr[addr]:
		return errors.New("remote I/O error") // the kernel's words where nobody acknowledges
	case len(list) == 0:
		return fmt.Errorf("the recording %s has no answer of %d bytes to %s", p.name, len(r), hexOrDash(w))
	}
	e := list[0]
	if len(list) > 1 {
		p.left[k] = list[1:]
	}
	if e.problem != "" {
		return errors.New(e.problem)
	}
	copy(r, e.R)
	return nil
}
