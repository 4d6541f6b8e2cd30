package spool

import (
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
)

// memFS is a folder in memory. It keeps a journal of what was done to it, from
// which the states after a crash or a power cut at any moment can be made.
type memFS struct {
	mu    sync.Mutex
	names map[string]int // to an index of data
	data  [][]byte
	ops   []memOp
	open  int   // handles
	peak  int64 // most bytes of all files
	// fault may make an operation fail; n is how much of a write is done anyway.
	fault func(op, name string, n int) (int, error)
}

type memOp struct {
	kind     string // create, rename, remove, syncdir; write, truncate, sync
	name, to string
	file     int
	off      int64
	data     []byte
}

type memFile struct {
	fs     *memFS
	name   string
	file   int
	closed bool
}

func newMemFS() *memFS { return &memFS{names: map[string]int{}} }

func (m *memFS) check(op, name string, n int) (int, error) {
	m.mu.Lock()
	f := m.fault
	m.mu.Unlock()
	if f == nil {
		return n, nil
	}
	return f(op, name, n)
}

func (m *memFS) setFault(f func(op, name string, n int) (int, error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
}

// apply does an operation and remembers it.
func (m *memFS) apply(op memOp) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.redo(op)
	m.ops = append(m.ops, op)
}

func (m *memFS) redo(op memOp) {
	switch op.kind {
	case "create":
		for len(m.data) <= op.file {
			m.data = append(m.data, nil)
		}
		m.names[op.name] = op.file
	case "rename":
		if i, ok := m.names[op.name]; ok {
			delete(m.names, op.name)
			m.names[op.to] = i
		}
	case "remove":
		delete(m.names, op.name)
	case "write":
		for len(m.data) <= op.file {
			m.data = append(m.data, nil)
		}
		b := m.data[op.file]
		if end := int(op.off) + len(op.data); len(b) < end {
			b = append(b, make([]byte, end-len(b))...)
		}
		copy(b[op.off:], op.data)
		m.data[op.file] = b
	case "truncate":
		if b := m.data[op.file]; int(op.off) < len(b) {
			m.data[op.file] = b[:op.off:op.off]
		}
	}
	var n int64
	for _, i := range m.names {
		n += int64(len(m.data[i]))
	}
	m.peak = max(m.peak, n)
}

func (m *memFS) Open(name string, create bool) (File, error) {
	if _, err := m.check("open", name, 0); err != nil {
		return nil, err
	}
	m.mu.Lock()
	i, ok := m.names[name]
	n := len(m.data)
	m.mu.Unlock()
	if !ok {
		if !create {
			return nil, fs.ErrNotExist
		}
		if _, err := m.check("create", name, 0); err != nil {
			return nil, err
		}
		i = n
		m.apply(memOp{kind: "create", name: name, file: i})
	}
	m.mu.Lock()
	m.open++
	m.mu.Unlock()
	return &memFile{fs: m, name: name, file: i}, nil
}

func (m *memFS) List() ([]Info, error) {
	if _, err := m.check("list", "", 0); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []Info
	for _, name := range slices.Sorted(maps.Keys(m.names)) {
		list = append(list, Info{Name: name, Size: int64(len(m.data[m.names[name]])), Regular: true})
	}
	return list, nil
}

func (m *memFS) Rename(from, to string) error {
	if _, err := m.check("rename", from, 0); err != nil {
		return err
	}
	m.apply(memOp{kind: "rename", name: from, to: to})
	return nil
}

func (m *memFS) Remove(name string) error {
	if _, err := m.check("remove", name, 0); err != nil {
		return err
	}
	m.mu.Lock()
	_, ok := m.names[name]
	m.mu.Unlock()
	if !ok {
		return fs.ErrNotExist
	}
	m.apply(memOp{kind: "remove", name: name})
	return nil
}

func (m *memFS) Sync() error {
	if _, err := m.check("syncdir", "", 0); err != nil {
		return err
	}
	m.apply(memOp{kind: "syncdir"})
	return nil
}

func (m *memFS) Close() error { return nil }

func (m *memFS) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.ops)
}

func (m *memFS) handles() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open
}

// bytes returns the file of a name, to look at or to damage.
func (m *memFS) bytes(name string) *[]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.names[name]
	if !ok {
		return nil
	}
	return &m.data[i]
}

func (m *memFS) put(name string, b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.names[name] = len(m.data)
	m.data = append(m.data, b)
}

func (m *memFS) list() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.names))
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	if _, err := f.fs.check("read", f.name, int(off)); err != nil {
		return 0, err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	data := f.fs.data[f.file]
	if off >= int64(len(data)) {
		return 0, io.EOF
	}
	n := copy(b, data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(b []byte, off int64) (int, error) {
	n, err := f.fs.check("write", f.name, len(b))
	if n > 0 {
		f.fs.apply(memOp{kind: "write", name: f.name, file: f.file, off: off, data: slices.Clone(b[:n])})
	}
	return n, err
}

func (f *memFile) Truncate(size int64) error {
	if _, err := f.fs.check("truncate", f.name, 0); err != nil {
		return err
	}
	f.fs.apply(memOp{kind: "truncate", name: f.name, file: f.file, off: size})
	return nil
}

func (f *memFile) Sync() error {
	if _, err := f.fs.check("sync", f.name, 0); err != nil {
		return err
	}
	f.fs.apply(memOp{kind: "sync", name: f.name, file: f.file})
	return nil
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	f.fs.open--
	return nil
}

// killed returns the folder as a killed process leaves it: the first n
// operations are done, and part of the next one.
func (m *memFS) killed(n int, part float64) *memFS {
	c := newMemFS()
	for _, op := range m.ops[:n] {
		c.redo(op)
	}
	if n < len(m.ops) && m.ops[n].kind == "write" {
		op := m.ops[n]
		op.data = op.data[:int(part*float64(len(op.data)))]
		c.redo(op)
	}
	return c
}

// cut returns the folder as a power cut after n operations may leave it: of
// what was not synced, each part may be there, torn, or not, in any order.
func (m *memFS) cut(n int, r *rand.Rand) *memFS {
	synced := map[int]int{} // file: index of its last sync
	dir := -1
	for i, op := range m.ops[:n] {
		switch op.kind {
		case "sync":
			synced[op.file] = i
		case "syncdir":
			dir = i
		}
	}
	c := newMemFS()
	for range m.data {
		c.data = append(c.data, nil)
	}
	for i, op := range m.ops[:n] {
		last := dir
		if op.kind == "write" || op.kind == "truncate" {
			last = -1
			if s, ok := synced[op.file]; ok {
				last = s
			}
		}
		switch {
		case i <= last:
		case r.IntN(3) == 0:
			continue
		case op.kind == "write" && r.IntN(3) == 0:
			op.data = slices.Clone(op.data)
			if r.IntN(2) == 0 {
				op.data = op.data[:r.IntN(len(op.data)+1)]
			} else { // sectors that never came
				from := r.IntN(len(op.data) + 1)
				clear(op.data[from:min(len(op.data), from+512)])
			}
		}
		c.redo(op)
	}
	return c
}
