package line

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// header is the first line of a recording. Then each line is a call: "chip" or the
// descriptor of a line, the number of the request in hexadecimal digits or "read", the
// argument before and after it, without the zero bytes at the end and "-" where nothing
// is left, and after "!" the number of the error.
const header = "# nightseg gpio 1"

// call is a call of a recording.
type call struct {
	who     string
	request uint32 // 0: a read
	in, out []byte
	errno   unix.Errno
}

func parse(b []byte) ([]call, error) {
	first, _, _ := bytes.Cut(b, []byte("\n"))
	if strings.TrimSpace(string(first)) != header {
		return nil, fmt.Errorf("no recording of a GPIO chip: the first line must be %q", header)
	}
	var list []call
	s := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		c, err := parseCall(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		list = append(list, c)
	}
	return list, s.Err()
}

func parseCall(line string) (c call, err error) {
	data, problem, failed := strings.Cut(line, "!")
	if failed {
		n, err := strconv.ParseUint(strings.TrimSpace(problem), 10, 12)
		if err != nil || n == 0 {
			return c, fmt.Errorf("%q is no number of an error", problem)
		}
		c.errno = unix.Errno(n)
	}
	f := strings.Fields(data)
	if len(f) != 4 {
		return c, fmt.Errorf("%d words, not who, request, before and after", len(f))
	}
	c.who = f[0]
	size := sizeEvent
	if f[1] != "read" {
		n, err := strconv.ParseUint(f[1], 16, 32)
		if err != nil || n == 0 {
			return c, fmt.Errorf("%q is no request", f[1])
		}
		c.request, size = uint32(n), argSize(uint32(n))
	}
	for i, to := range []*[]byte{&c.in, &c.out} {
		b, err := hex.DecodeString(strings.TrimPrefix(f[2+i], "-"))
		if err != nil {
			return c, err
		}
		if len(b) > size {
			return c, fmt.Errorf("%d bytes, the request has %d", len(b), size)
		}
		*to = b
	}
	return c, nil
}

// argSize is the size of the argument, which the number of a request holds.
func argSize(request uint32) int { return int(request >> 16 & 0x3fff) }

func key(who string, request uint32, in []byte) string {
	return fmt.Sprintf("%s %x %x", who, request, bytes.TrimRight(in, "\x00"))
}

// recording answers calls as in a recording: the same request with the same argument
// is answered with what came then, one after the other; the last answer is repeated.
type recording struct {
	name  string
	mu    sync.Mutex
	left  map[string][]call
	reads map[string][]call
}

func newRecording(name string, b []byte) (*recording, error) {
	list, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r := &recording{name: name, left: map[string][]call{}, reads: map[string][]call{}}
	for _, c := range list {
		if c.request == 0 {
			r.reads[c.who] = append(r.reads[c.who], c)
			continue
		}
		k := key(c.who, c.request, c.in)
		r.left[k] = append(r.left[k], c)
	}
	return r, nil
}

func openRecording(path string) (handle, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r, err := newRecording(path, b)
	if err != nil {
		return nil, err
	}
	return r.handle("chip"), nil
}

func (r *recording) handle(who string) *player {
	return &player{r: r, who: who, wake: make(chan struct{})}
}

// player is one file of a recording.
type player struct {
	r    *recording
	who  string
	once sync.Once
	wake chan struct{} // closed when reads are to end
}

// Ioctl implements handle.
func (p *player) Ioctl(request uint32, arg []byte) error {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	k := key(p.who, request, arg)
	list := p.r.left[k]
	if len(list) == 0 {
		return fmt.Errorf("the recording %s has no answer to %s", p.r.name, k)
	}
	c := list[0]
	if len(list) > 1 {
		p.r.left[k] = list[1:]
	}
	if c.errno != 0 {
		return c.errno
	}
	clear(arg)
	copy(arg, c.out)
	return nil
}

// Read implements handle: what was recorded, and then nothing until reads are to end.
func (p *player) Read(b []byte) (int, error) {
	p.r.mu.Lock()
	list := p.r.reads[p.who]
	if len(list) > 0 {
		p.r.reads[p.who] = list[1:]
	}
	p.r.mu.Unlock()
	if len(list) == 0 {
		<-p.wake
		return 0, os.ErrDeadlineExceeded
	}
	if list[0].errno != 0 {
		return 0, list[0].errno
	}
	n := min(len(b), sizeEvent)
	clear(b[:n])
	copy(b[:n], list[0].out)
	return n, nil
}

// SetReadDeadline implements handle; all deadlines are over.
func (p *player) SetReadDeadline(time.Time) error {
	p.once.Do(func() { close(p.wake) })
	return nil
}

// Close implements handle.
func (p *player) Close() error { return p.SetReadDeadline(time.Time{}) }

func (p *player) adopt(fd int32, _ string) (handle, error) {
	if fd <= 0 {
		return nil, errors.New("the recording gives no descriptor")
	}
	return p.r.handle(fmt.Sprintf("fd%d", fd)), nil
}
