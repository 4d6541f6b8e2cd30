package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"nightseg/edge/disk"
)

const (
	chunk     = 256 << 10
	syncEvery = 8 << 20 // bytes that a crash may cost
)

// source is a file that is fetched, from some place on.
type source struct {
	io.ReadCloser
	at    int64  // where it begins
	total int64  // 0: not known
	tag   string // of this content
}

// fetch gets the file of a job, through lost connections and restarts. What is on disk
// for certain is in the record.
func (m *Machine) fetch(ctx context.Context, d disk.Tree, r *record) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m.mu.Lock()
	m.cancel = cancel
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.cancel = nil
		m.mu.Unlock()
	}()
	if len(m.offers) > 0 { // it came just before
		return errSuperseded
	}
	if r.Job.Total > 0 && r.Job.Done == r.Job.Total { // a crash came before it was verified
		return nil
	}
	for tries := 0; ; {
		before := r.Job.Done
		err := m.pull(ctx, d, r)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case reasonOf(err) != "":
			return err
		case r.Job.Done > before:
			tries = 0
		}
		tries++
		m.log(fmt.Errorf("%s at %d bytes: %w", r.Job.URL, r.Job.Done, err))
		if tries >= m.o.Tries {
			return refuse(NotFetched, "%s: %d tries, the last: %w", r.Job.URL, tries, err)
		}
		pause := time.NewTimer(m.o.Pause << min(tries-1, 6))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		}
	}
}

// pull reads from one connection for as long as something comes.
func (m *Machine) pull(ctx context.Context, d disk.Tree, r *record) (err error) {
	j := r.Job
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := fmt.Errorf("nothing came for %v", m.o.Stall)
	stall := time.AfterFunc(m.o.Stall, func() { cancel(stalled) })
	defer func() {
		stall.Stop()
		if errors.Is(context.Cause(ctx), stalled) && err != nil {
			err = stalled
		}
	}()
	src, err := m.open(ctx, j)
	if err != nil {
		return err
	}
	defer src.Close() //nolint:errcheck // only read from
	j.Done, j.Total, j.Tag = src.at, src.total, src.tag
	if src.total > m.o.MaxBytes {
		return refuse(NoSpace, "%s has %d bytes, above the limit of %d", j.URL, src.total, m.o.MaxBytes)
	}
	if err := hasRoom(d, max(src.total-src.at, 0)); err != nil {
		return err
	}
	f, err := d.Open(partFile, true)
	if err != nil {
		return err
	}
	err = f.Truncate(j.Done)
	if err == nil {
		err = m.copy(src, f, d, r, func() { stall.Reset(m.o.Stall) })
	}
	return errors.Join(err, f.Close())
}

// copy writes what comes to the file. After an error what came before it is kept.
func (m *Machine) copy(src *source, f disk.File, d disk.Tree, r *record, alive func()) error {
	j := r.Job
	buf := make([]byte, chunk)
	for at := j.Done; ; {
		n, err := src.Read(buf)
		if n > 0 {
			alive()
			if at+int64(n) > m.o.MaxBytes {
				return refuse(NoSpace, "%s has more bytes than the limit of %d", j.URL, m.o.MaxBytes)
			}
			if _, err := f.WriteAt(buf[:n], at); err != nil {
				return err
			}
			at += int64(n)
		}
		if err == nil && at-j.Done < syncEvery {
			continue
		}
		if at > j.Done {
			if e := m.secure(f, d, r, at); e != nil {
				return e
			}
		}
		switch {
		case errors.Is(err, io.EOF) && j.Total > 0 && at != j.Total:
			return fmt.Errorf("it ends after %d of %d bytes", at, j.Total)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := hasRoom(d, max(j.Total-at, 0)); err != nil {
			return err
		}
	}
}

// secure makes what came last, and tells of it.
func (m *Machine) secure(f disk.File, d disk.Tree, r *record, at int64) error {
	if err := f.Sync(); err != nil {
		return err
	}
	r.Job.Done = at
	if err := errors.Join(d.Sync(), r.write(d)); err != nil {
		return err
	}
	m.o.Tell(*r.Job)
	return nil
}

// open asks for the rest of a file.
func (m *Machine) open(ctx context.Context, j *Job) (*source, error) {
	if !strings.HasPrefix(j.URL, "http://") && !strings.HasPrefix(j.URL, "https://") {
		return openFile(j)
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, j.URL, http.NoBody)
	if err != nil {
		return nil, refuse(NotFetched, "%w", err)
	}
	q.Header.Set("Accept-Encoding", "identity")
	if j.Done > 0 {
		q.Header.Set("Range", fmt.Sprintf("bytes=%d-", j.Done))
		if j.Tag != "" {
			q.Header.Set("If-Range", j.Tag)
		}
	}
	a, err := m.o.HTTP.Do(q)
	if err != nil {
		return nil, err
	}
	s, err := answered(a, j)
	if err != nil {
		return nil, errors.Join(err, a.Body.Close())
	}
	return s, nil
}

// answered reads what a server says of the file that it sends.
func answered(a *http.Response, j *Job) (*source, error) {
	s := &source{ReadCloser: a.Body, tag: a.Header.Get("ETag")}
	if strings.HasPrefix(s.tag, "W/") { // not of the bytes
		s.tag = ""
	}
	switch c := a.StatusCode; {
	case c == http.StatusOK:
		s.total = max(a.ContentLength, 0)
		return s, nil
	case c == http.StatusPartialContent:
		var from, to int64
		n, err := fmt.Sscanf(a.Header.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &s.total)
		if n != 3 || err != nil || from != j.Done || to != s.total-1 || j.Total > 0 && s.total != j.Total {
			j.Done, j.Total, j.Tag = 0, 0, ""
			return nil, fmt.Errorf("another part than the one asked for (%q): from the beginning",
				a.Header.Get("Content-Range"))
		}
		s.at = j.Done
		return s, nil
	case c == http.StatusRequestedRangeNotSatisfiable:
		j.Done, j.Total, j.Tag = 0, 0, ""
		return nil, errors.New("it is shorter than what was fetched of it: from the beginning")
	case c >= 400 && c < 500 && c != http.StatusRequestTimeout && c != http.StatusTooManyRequests:
		return nil, refuse(NotFetched, "%s: %s", j.URL, a.Status)
	default:
		return nil, errors.New(a.Status)
	}
}

// openFile opens a file of this machine.
func openFile(j *Job) (*source, error) {
	f, err := os.Open(j.URL)
	if err != nil {
		return nil, refuse(NotFetched, "%w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", j.URL)
	}
	if err != nil {
		return nil, errors.Join(refuse(NotFetched, "%w", err), f.Close())
	}
	return &source{ReadCloser: f, total: info.Size()}, nil
}

// NewHTTP returns a client that verifies certificates, and follows a few redirections,
// none to a connection that is not encrypted.
func NewHTTP() *http.Client {
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second, IdleConnTimeout: time.Minute,
	}
	return &http.Client{Transport: t, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		switch {
		case len(via) > 5:
			return errors.New("too many redirections")
		case via[0].URL.Scheme == "https" && r.URL.Scheme != "https":
			return fmt.Errorf("a redirection from https to %s", r.URL.Redacted())
		}
		return nil
	}}
}

func exists(err error) bool { return errors.Is(err, fs.ErrExist) }
