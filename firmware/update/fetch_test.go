package update

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
)

// large is an update that takes several chunks.
func large(t testing.TB, version string) []byte {
	t.Helper()
	noise := make([]byte, 1<<20)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	return sign(t, testKey(), Bundle, version, fstest.MapFS{"segment.onnx": {Data: noise}}, nil)
}

// breaking sends the part of a file that is asked for, and breaks off after n bytes.
func breaking(w http.ResponseWriter, q *http.Request, b []byte, n int, tag string) {
	at := 0
	h := w.Header()
	h.Set("Etag", tag)
	if c, _ := fmt.Sscanf(q.Header.Get("Range"), "bytes=%d-", &at); c == 1 && q.Header.Get("If-Range") == tag {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", at, len(b)-1, len(b)))
		h.Set("Content-Length", strconv.Itoa(len(b)-at))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		at = 0
		h.Set("Content-Length", strconv.Itoa(len(b)))
	}
	part := b[at:min(len(b), at+n)]
	_, _ = w.Write(part)
	if at+n < len(b) {
		panic(http.ErrAbortHandler)
	}
}

func TestFetch(t *testing.T) {
	b := large(t, "2.0")
	other := large(t, "2.1")
	var asked atomic.Int64
	for _, c := range []struct {
		name   string
		serve  func(w http.ResponseWriter, q *http.Request, n int64) // n: of the request, from 1
		limits Limits
		state  State
		reason Reason
		text   string // in the error
		most   int64  // requests; 0: any
	}{
		{
			name: "breaks off, and goes on where it was", state: Installed, most: 12,
			serve: func(w http.ResponseWriter, q *http.Request, _ int64) { breaking(w, q, b, 100_000, `"1"`) },
		},
		{
			name: "another file comes in between", state: Installed, most: 2,
			serve: func(w http.ResponseWriter, q *http.Request, n int64) {
				if n == 1 {
					breaking(w, q, other, 500_000, `"1"`)
				}
				breaking(w, q, b, len(b), `"2"`)
			},
		},
		{
			name: "no ranges", state: Installed, most: 2,
			serve: func(w http.ResponseWriter, q *http.Request, n int64) {
				q.Header.Del("Range")
				breaking(w, q, b, len(b)*int(n)/2, "")
			},
		},
		{
			name: "an end that never comes", state: Failed, reason: NotFetched, text: "5 tries",
			serve: func(w http.ResponseWriter, _ *http.Request, _ int64) {
				w.Header().Set("Content-Length", strconv.Itoa(2*len(b)))
				panic(http.ErrAbortHandler)
			},
		},
		{
			name: "shorter than it said", state: Failed, reason: NotFetched, text: "5 tries",
			serve: func(w http.ResponseWriter, q *http.Request, n int64) {
				if n == 1 {
					breaking(w, q, b, 500_000, `"1"`)
				}
				w.Header().Set("Content-Range", fmt.Sprintf("bytes 7-%d/%d", len(b)-1, len(b))) // a lie
				w.WriteHeader(http.StatusPartialContent)
			},
		},
		{
			name: "says nothing of its length", state: Installed,
			serve: func(w http.ResponseWriter, _ *http.Request, _ int64) {
				_, _ = w.Write(b[:1000])
				_ = http.NewResponseController(w).Flush()
				_, _ = w.Write(b[1000:])
			},
		},
		{
			name: "hangs", limits: Limits{Stall: 300 * time.Millisecond}, state: Installed,
			serve: func(w http.ResponseWriter, q *http.Request, n int64) {
				if n < 3 {
					w.Header().Set("Content-Length", strconv.Itoa(len(b)))
					w.Header().Set("Etag", `"1"`)
					_, _ = w.Write(b[:1000])
					_ = http.NewResponseController(w).Flush()
					<-q.Context().Done()
					return
				}
				breaking(w, q, b, len(b), `"1"`)
			},
		},
		{
			name: "not there", state: Failed, reason: NotFetched, text: "404", most: 1,
			serve: func(w http.ResponseWriter, q *http.Request, _ int64) { http.NotFound(w, q) },
		},
		{
			name: "busy at first", state: Installed, most: 3,
			serve: func(w http.ResponseWriter, q *http.Request, n int64) {
				if n < 3 {
					http.Error(w, "busy", http.StatusServiceUnavailable)
					return
				}
				breaking(w, q, b, len(b), `"1"`)
			},
		},
		{
			name: "too large, as it says", limits: Limits{MaxBytes: 1000}, state: Failed, reason: NoSpace, most: 1,
			serve: func(w http.ResponseWriter, q *http.Request, _ int64) { breaking(w, q, b, len(b), `"1"`) },
		},
		{
			name: "endless", limits: Limits{MaxBytes: 1000}, state: Failed, reason: NoSpace, most: 1,
			serve: func(w http.ResponseWriter, _ *http.Request, _ int64) {
				for {
					if _, err := w.Write(b); err != nil {
						return
					}
				}
			},
		},
		{
			name: "a page of a hotel", state: Failed, reason: BadFormat, most: 1,
			serve: func(w http.ResponseWriter, _ *http.Request, _ int64) { _, _ = w.Write([]byte("<html>Welcome")) },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked.Store(0)
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				c.serve(w, q, asked.Add(1))
			}))
			defer s.Close()
			d := newDevice(t)
			d.http = NewHTTP()
			d.change = func(o *Options) {
				o.MaxBytes = cmp.Or(c.limits.MaxBytes, o.MaxBytes)
				o.Stall = cmp.Or(c.limits.Stall, o.Stall)
			}
			j := d.ask(d.machine(), "1", s.URL+"/u.nsup")
			if j.State != c.state || j.Reason != c.reason || !strings.Contains(j.Error, c.text) {
				t.Errorf("%+v", j)
			}
			if n := asked.Load(); c.most > 0 && n > c.most {
				t.Errorf("%d requests", n)
			}
			if d.m.Bytes("state/"+partFile) != nil {
				t.Error("the part is still there")
			}
		})
	}
}

// What was fetched before a crash is not fetched again.
func TestFetchGoesOnAfterARestart(t *testing.T) {
	b := large(t, "2.0")
	var first, rest atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if first.Load() == 0 {
			first.Store(600_000)
			breaking(w, q, b, 600_000, `"1"`)
		}
		var at int64
		_, _ = fmt.Sscanf(q.Header.Get("Range"), "bytes=%d-", &at)
		rest.Store(int64(len(b)) - at)
		breaking(w, q, b, len(b), `"1"`)
	}))
	defer s.Close()
	d := newDevice(t)
	d.change = func(o *Options) { o.Tries = 1 }
	m := d.machine()
	if j := d.ask(m, "1", s.URL); j.State != Failed || j.Done == 0 {
		t.Fatalf("%+v", j)
	}
	// As if the process had ended where the connection did.
	at := 0
	for i, op := range d.m.Ops() {
		if op.Kind == "rename" && strings.HasSuffix(op.To, recordFile) {
			at = i + 1
			c := newDevice(t)
			c.m = d.m.Killed(at, 0)
			if j := c.job(); j.Done > 0 && j.State == Fetching {
				break
			}
		}
	}
	d.m = d.m.Killed(at, 0).Sealed()
	d.change = nil
	d.steps(d.machine())
	if j := d.job(); j.State != Installed {
		t.Fatalf("%+v", j)
	}
	if n := rest.Load(); n == 0 || n > int64(len(b))-200_000 {
		t.Errorf("%d bytes of %d were fetched again", n, len(b))
	}
}

func TestFetchVerifiesTheServer(t *testing.T) {
	b := signed(t, Bundle, "2.0")
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }))
	defer plain.Close()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/away" {
			http.Redirect(w, q, plain.URL, http.StatusFound)
			return
		}
		_, _ = w.Write(b)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	d := newDevice(t)
	d.http = NewHTTP()
	if j := d.ask(d.machine(), "1", s.URL); j.Reason != NotFetched || !strings.Contains(j.Error, "certificate") {
		t.Errorf("a server that nobody vouches for: %+v", j)
	}
	trusting := s.Client()
	trusting.CheckRedirect = NewHTTP().CheckRedirect
	d.http = trusting
	if j := d.ask(d.machine(), "2", s.URL+"/away"); j.Reason != NotFetched || !strings.Contains(j.Error, "redirection") {
		t.Errorf("from https to http: %+v", j)
	}
	if j := d.ask(d.machine(), "3", s.URL); j.State != Installed {
		t.Errorf("%+v", j)
	}
}

func TestFetchChecksTheHash(t *testing.T) {
	b := signed(t, Bundle, "2.0")
	d := newDevice(t)
	d.http = served(b)
	sum := sha256.Sum256(b)
	right := hex.EncodeToString(sum[:])
	for hash, want := range map[string]State{right: Installed, strings.Repeat("0", 64): Failed} {
		m := d.machine()
		m.Offer(fmt.Appendf(nil, `{"id":%q,"url":"http://x/","sha256":%q}`, hash[:9], hash))
		m.take(context.Background(), <-m.offers)
		d.steps(m)
		if j := d.job(); j.State != want || want == Failed && j.Reason != Damaged {
			t.Errorf("%s: %+v", hash, j)
		}
	}
}

// TestDiskFull lets the disk be full at each kind of operation, and for each file.
func TestDiskFull(t *testing.T) {
	for name, fault := range map[string]func(op, name string, n int) (int, error){
		"before": func(op, _ string, n int) (int, error) {
			if op == "free" {
				return reserve, nil
			}
			return n, nil
		},
		"in the middle of the fetch": func(op, name string, n int) (int, error) {
			if op == "write" && strings.HasSuffix(name, partFile) {
				return n / 2, syscall.ENOSPC
			}
			return n, nil
		},
		"when it is unpacked": func(op, name string, n int) (int, error) {
			if op == "write" && strings.Contains(name, ".new/") && strings.HasPrefix(name, "bundles/") {
				return n / 2, syscall.ENOSPC
			}
			return n, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			d.http = served(signed(t, Bundle, "1.1"))
			d.ask(d.machine(), "old", "http://x/")
			d.bundle = "street@1.1"
			before := d.m.Size()
			d.http = served(large(t, "1.2"))
			d.m.SetFault(fault)
			d.change = func(o *Options) { o.Limits = Limits{Pause: time.Microsecond, Tries: 2} }
			if j := d.ask(d.machine(), "new", "http://x/"); j.State != Failed || j.Reason != NoSpace {
				t.Errorf("%+v", j)
			}
			d.m.SetFault(nil)
			if v, err := d.whole("bundles/a/street@1.1"); err != nil || v != "1.1" {
				t.Errorf("the bundle in use: %q, %v", v, err)
			}
			if now := d.m.Size(); now > before+4096 {
				t.Errorf("%d bytes were left on the full disk", now-before)
			}
			if j := d.ask(d.machine(), "again", "http://x/"); j.State != Installed {
				t.Errorf("with space: %+v", j)
			}
		})
	}
}
