package capture

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"nightseg/camera/capture/ring"
)

// programName is that of the capture process, programEnv the variable that says
// where it is.
const (
	programName = "nightseg-capture"
	programEnv  = "NIGHTSEG_CAPTURE"
)

// find returns the path of nightseg-capture.
func find(program string) (string, error) {
	from := "the settings name"
	if program == "" {
		program, from = os.Getenv(programEnv), "$"+programEnv+" names"
	}
	if program != "" {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%s %s, which does not run: %w; %s", from, program, err, remedy)
		}
		return program, nil
	}
	folder := "the folder of this program"
	if exe, err := os.Executable(); err == nil {
		folder = filepath.Dir(exe)
		path := filepath.Join(folder, programName)
		if _, err := exec.LookPath(path); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(programName)
	if err != nil {
		return "", fmt.Errorf("%s is neither in %s nor on PATH; %s", programName, folder, remedy)
	}
	return path, nil
}

const remedy = "video files and cameras need it: `make build` makes it, the package nightseg-capture installs it, " +
	"$" + programEnv + " says where else it is"

// child is one capture process.
type child struct {
	cmd     *exec.Cmd
	in      *os.File // to its standard input: configuration, then free slots
	records *os.File
	stderr  tail
	lent    atomic.Uint64 // slots that are ours, one bit each
	exited  chan struct{} // closed when it is reaped
}

// start starts a process that has the ring as memory.
func start(argv, env []string, conf *ring.Config, memory *os.File) (*child, error) {
	line, err := json.Marshal(conf)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	records, out, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pipe: %w", err), stdin.Close(), in.Close())
	}
	c := &child{in: in, records: records, exited: make(chan struct{})}
	c.cmd = exec.Command(argv[0], argv[1:]...)
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stdin, c.cmd.Stderr = stdin, &c.stderr
	c.cmd.ExtraFiles = []*os.File{memory, out} // become ring.MemoryFD and ring.RecordsFD
	c.cmd.WaitDelay = time.Second              // helpers of GStreamer may hold its stderr
	// Ctrl-C is for us: the process ends when its standard input does. That also
	// happens when we are killed.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = c.cmd.Start()
	err = errors.Join(err, stdin.Close(), out.Close())
	if err == nil {
		go c.wait()
		// The pipe holds this whole; a process that is already dead shows on records.
		_, _ = in.Write(append(line, '\n'))
		return c, nil
	}
	if c.cmd.Process != nil {
		go c.wait()
		c.end(0, time.Second)
	} else {
		err = errors.Join(err, in.Close(), records.Close())
	}
	return nil, fmt.Errorf("start %s: %w; %s", argv[0], err, remedy)
}

func (c *child) wait() {
	_ = c.cmd.Wait() // epitaph reads the state
	close(c.exited)
}

// patience sets for how long to wait for a record. The second time is short: it
// is for a record that lay there when the time was over.
func (c *child) patience(d time.Duration, second bool) {
	if second {
		d = ring.AliveEvery
	}
	_ = c.records.SetReadDeadline(time.Now().Add(d)) // fails on a closed file, as does the read
}

// interrupt makes a read of records return.
func (c *child) interrupt() { _ = c.records.Close() }

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// lend takes a slot from the process; false: it was ours already.
func (c *child) lend(slot int) bool {
	bit := uint64(1) << slot
	return c.lent.Or(bit)&bit == 0
}

// giveBack makes a slot free. A process that has died does not mind.
func (c *child) giveBack(slot int) {
	c.lent.And(^(uint64(1) << slot))
	_, _ = c.in.Write([]byte{byte(slot)})
}

// end closes the process's input, which tells it to end, kills it after a while,
// and waits for it to be reaped; false: it still is not.
func (c *child) end(patience, reap time.Duration) bool {
	_ = c.in.Close()
	_ = c.records.Close()
	if patience > 0 && c.gone(patience) {
		return true
	}
	_ = c.cmd.Process.Kill()
	return c.gone(reap)
}

func (c *child) gone(within time.Duration) bool {
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case <-c.exited:
		return true
	case <-t.C:
		return false
	}
}

// epitaph says how the process died.
func (c *child) epitaph() error {
	select {
	case <-c.exited:
	default:
		return fmt.Errorf("%s closed its pipe but does not end", programName)
	}
	state, text := c.cmd.ProcessState, c.stderr.cause()
	switch {
	case state.ExitCode() == 127:
		return fmt.Errorf("%s does not start: %s; install the libraries that it was built with "+
			"(OpenCV: on Debian libopencv-dev), or build it again with `make build`", programName, text)
	case text == "":
		return fmt.Errorf("%s ended: %s", programName, state)
	}
	return fmt.Errorf("%s ended: %s: %s", programName, state, text)
}

// tail keeps the last of what a process writes to its stderr: enough for a crash
// with all its stacks, as the reason is what comes first.
type tail struct {
	mu   sync.Mutex
	last []byte
}

const tailSize = 64 << 10

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	if over := len(t.last) - tailSize; over > 0 {
		t.last = t.last[:copy(t.last, t.last[over:])]
	}
	return len(b), nil
}

// cause picks the line that says why: that of a crash, else the last.
func (t *tail) cause() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := ""
	for line := range bytes.Lines(t.last) {
		text := strings.ToValidUTF8(strings.TrimSpace(string(line)), "?")
		for _, p := range []string{"panic:", "fatal error:", "SIG", "terminate called"} {
			if strings.HasPrefix(text, p) {
				return text
			}
		}
		if text != "" {
			last = text
		}
	}
	return last
}
