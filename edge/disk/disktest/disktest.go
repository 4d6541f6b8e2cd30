// Package disktest holds a folder in memory for tests. It keeps a journal of what
// was done to it, from which the states after a crash or a power cut can be made.
package disktest

import (
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sync"

	"nightseg/edge/disk"
)

// FS is a folder in memory.
type FS struct {
	mu    sync.Mutex
	names map[string]int // to an index of data
	dirs  map[string]bool
	data  [][]byte
	ops   []Op
	open  int   // handles
	peak  int64 // most bytes of all files
	fault Fault
	lazy  map[string]bool
}

// Fault may make an operation fail; n is how much of a write is done anyway.
type Fault func(op, name string, n int) (int, error)

// Op is an operation on the folder.
type Op struct {
	Kind     string // create, mkdir, rmdir, rename, remove, syncdir; write, truncate, sync
	Name, To string
	file     int
	off      int64
	data     []byte
}

type file struct {
	fs     *FS
	name   string
	file   int
	closed bool
}

// New returns an empty folder.
func New() *FS { return &FS{names: map[string]int{}, dirs: map[string]bool{}} }

// Check asks the fault, as each operation does.
func (m *FS) Check(op, name string, n int) (int, error) {
	m.mu.Lock()
	f := m.fault
	m.mu.Unlock()
	if f == nil {
		return n, nil
	}
	return f(op, name, n)
}

// SetFault makes operations fail from now on; nil: none.
func (m *FS) SetFault(f Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
}

// Lazy makes operations of the kinds sync and syncdir do nothing, as a program
// would have it that has forgotten them: its crash test must fail.
func (m *FS) Lazy(kinds ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lazy = map[string]bool{}
	for _, k := range kinds {
		m.lazy[k] = true
	}
}

// apply does an operation and remembers it.
func (m *FS) apply(op Op) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lazy[op.Kind] {
		return
	}
	m.redo(op)
	m.ops = append(m.ops, op)
}

func (m *FS) redo(op Op) {
	switch op.Kind {
	case "create":
		for len(m.data) <= op.file {
			m.data = append(m.data, nil)
		}
		if m.holds(op.Name) {
			m.names[op.Name] = op.file
		}
	case "mkdir":
		if m.holds(op.Name) {
			m.dirs[op.Name] = true
		}
	case "rename":
		if i, ok := m.names[op.Name]; ok && m.holds(op.To) {
			delete(m.names, op.Name)
			m.names[op.To] = i
		}
		m.moveAll(op.Name, op.To)
	case "rmdir":
		m.dropAll(op.Name)
	case "remove":
		delete(m.names, op.Name)
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
	m.peak = max(m.peak, m.size())
}

func (m *FS) size() (n int64) {
	for _, i := range m.names {
		n += int64(len(m.data[i]))
	}
	return n
}

// Open implements disk.FS.
func (m *FS) Open(name string, create bool) (disk.File, error) {
	if _, err := m.Check("open", name, 0); err != nil {
		return nil, err
	}
	m.mu.Lock()
	i, ok := m.names[name]
	n := len(m.data)
	holds := m.holds(name)
	m.mu.Unlock()
	if !ok {
		if !create || !holds {
			return nil, fs.ErrNotExist
		}
		if _, err := m.Check("create", name, 0); err != nil {
			return nil, err
		}
		i = n
		m.apply(Op{Kind: "create", Name: name, file: i})
	}
	m.mu.Lock()
	m.open++
	m.mu.Unlock()
	return &file{fs: m, name: name, file: i}, nil
}

// List implements disk.FS.
func (m *FS) List() ([]disk.Info, error) { return m.list("") }

func (m *FS) list(dir string) ([]disk.Info, error) {
	if _, err := m.Check("list", dir, 0); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []disk.Info
	for _, name := range slices.Sorted(maps.Keys(m.names)) {
		if parent(name) == dir {
			list = append(list, disk.Info{
				Name: path.Base(name), Size: int64(len(m.data[m.names[name]])), Regular: true,
			})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.dirs)) {
		if parent(name) == dir {
			list = append(list, disk.Info{Name: path.Base(name)})
		}
	}
	return list, nil
}

// Rename implements disk.FS.
func (m *FS) Rename(from, to string) error {
	if _, err := m.Check("rename", from, 0); err != nil {
		return err
	}
	if m.Bytes(from) == nil && !m.IsDir(from) {
		return fs.ErrNotExist
	}
	m.apply(Op{Kind: "rename", Name: from, To: to})
	return nil
}

// Remove implements disk.FS.
func (m *FS) Remove(name string) error {
	if _, err := m.Check("remove", name, 0); err != nil {
		return err
	}
	m.mu.Lock()
	_, ok := m.names[name]
	m.mu.Unlock()
	if !ok {
		return fs.ErrNotExist
	}
	m.apply(Op{Kind: "remove", Name: name})
	return nil
}

// Sync implements disk.FS.
func (m *FS) Sync() error {
	if _, err := m.Check("syncdir", "", 0); err != nil {
		return err
	}
	m.apply(Op{Kind: "syncdir"})
	return nil
}

// Close implements disk.FS.
func (m *FS) Close() error { return nil }

// Count returns how many operations the journal has.
func (m *FS) Count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.ops)
}

// Ops returns the journal.
func (m *FS) Ops() []Op {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.ops)
}

// Size returns the bytes of all files.
func (m *FS) Size() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.size()
}

// Peak returns the most bytes that all files had.
func (m *FS) Peak() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peak
}

// Handles returns how many files are open.
func (m *FS) Handles() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open
}

// Bytes returns the file of a name, to look at or to damage.
func (m *FS) Bytes(name string) *[]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.names[name]
	if !ok {
		return nil
	}
	return &m.data[i]
}

// Put makes a file that the journal knows nothing of.
func (m *FS) Put(name string, b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.names[name] = len(m.data)
	m.data = append(m.data, b)
}

// Names returns the names of all files, sorted.
func (m *FS) Names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.names))
}

// ReadAt implements disk.File.
func (f *file) ReadAt(b []byte, off int64) (int, error) {
	if _, err := f.fs.Check("read", f.name, int(off)); err != nil {
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

// WriteAt implements disk.File.
func (f *file) WriteAt(b []byte, off int64) (int, error) {
	n, err := f.fs.Check("write", f.name, len(b))
	if n > 0 {
		f.fs.apply(Op{Kind: "write", Name: f.name, file: f.file, off: off, data: slices.Clone(b[:n])})
	}
	return n, err
}

// Truncate implements disk.File.
func (f *file) Truncate(size int64) error {
	if _, err := f.fs.Check("truncate", f.name, 0); err != nil {
		return err
	}
	f.fs.apply(Op{Kind: "truncate", Name: f.name, file: f.file, off: size})
	return nil
}

// Sync implements disk.File.
func (f *file) Sync() error {
	if _, err := f.fs.Check("sync", f.name, 0); err != nil {
		return err
	}
	f.fs.apply(Op{Kind: "sync", Name: f.name, file: f.file})
	return nil
}

// Close implements disk.File.
func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	f.fs.open--
	return nil
}
