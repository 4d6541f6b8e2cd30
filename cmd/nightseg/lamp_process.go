package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// lampProcess is the lamp's program at work.
type lampProcess struct {
	cmd   *exec.Cmd
	in    *os.File // levels
	out   *os.File // states
	said  lastWords
	ended chan struct{} // closed when it is reaped
}

func startLamp(program string, args []string) (*lampProcess, error) {
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, stdin.Close(), in.Close())
	}
	p := &lampProcess{cmd: exec.Command(program, args...), in: in, out: out, ended: make(chan struct{})}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, stdout, &p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us
	err = p.cmd.Start()
	err = errors.Join(err, stdin.Close(), stdout.Close())
	if p.cmd.Process == nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", lampProgram, err), in.Close(), out.Close())
	}
	go func() {
		_ = p.cmd.Wait() // ProcessState says how
		close(p.ended)
	}()
	return p, nil
}

// end closes the program's input, which turns the lamp off and ends it, and waits. It
// reports whether that went well.
func (p *lampProcess) end() (clean bool) {
	_ = p.in.Close()
	t := time.NewTimer(lampEnd)
	defer t.Stop()
	select {
	case <-p.ended:
	case <-t.C:
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
	}
	_ = p.out.SetReadDeadline(time.Now().Add(lampEnd)) // somebody else may have it open
	return p.cmd.ProcessState.Success()
}

// lastWords keeps the end of what a program writes to standard error.
type lastWords struct {
	mu sync.Mutex
	b  []byte
}

// Write implements io.Writer.
func (l *lastWords) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, b...)
	if over := len(l.b) - 500; over > 0 {
		l.b = l.b[:copy(l.b, l.b[over:])]
	}
	return len(b), nil
}

func (l *lastWords) cause() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.b) == 0 {
		return "without a word"
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(l.b), "?"))
}
