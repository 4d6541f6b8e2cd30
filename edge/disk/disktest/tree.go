package disktest

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"nightseg/edge/disk"
)

// LinkMark opens the content that stands for a symbolic link.
const LinkMark = "symlink to "

// parent is the folder that a name is in, "" for the outermost.
func parent(name string) string {
	if d := path.Dir(name); d != "." {
		return d
	}
	return ""
}

// holds reports whether the folder of a name is there.
func (m *FS) holds(name string) bool { return parent(name) == "" || m.dirs[parent(name)] }

// below returns the part of a name below a folder.
func below(name, dir string) (string, bool) {
	if name == dir {
		return "", true
	}
	rest, ok := strings.CutPrefix(name, dir+"/")
	return "/" + rest, ok
}

func (m *FS) moveAll(from, to string) {
	if !m.dirs[from] {
		return
	}
	for name, i := range m.names {
		if rest, ok := below(name, from); ok {
			delete(m.names, name)
			m.names[to+rest] = i
		}
	}
	for name := range m.dirs {
		if rest, ok := below(name, from); ok {
			delete(m.dirs, name)
			m.dirs[to+rest] = true
		}
	}
}

func (m *FS) dropAll(dir string) {
	for name := range m.names {
		if _, ok := below(name, dir); ok {
			delete(m.names, name)
		}
	}
	for name := range m.dirs {
		if _, ok := below(name, dir); ok {
			delete(m.dirs, name)
		}
	}
}

// Mkdir implements disk.Tree.
func (m *FS) Mkdir(name string) error {
	if _, err := m.Check("mkdir", name, 0); err != nil {
		return err
	}
	if m.IsDir(name) {
		return fs.ErrExist
	}
	if p := parent(name); p != "" && !m.IsDir(p) {
		return fs.ErrNotExist
	}
	m.apply(Op{Kind: "mkdir", Name: name})
	return nil
}

// Create implements disk.Tree.
func (m *FS) Create(name string, _ bool) (disk.File, error) {
	if m.Bytes(name) != nil {
		return nil, fs.ErrExist
	}
	return m.Open(name, true)
}

// Symlink implements disk.Tree: a link is a file that says where it leads.
func (m *FS) Symlink(target, name string) error {
	f, err := m.Create(name, false)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(LinkMark+target), 0)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// RemoveAll implements disk.Tree: each name goes by itself, so that a crash may leave some.
func (m *FS) RemoveAll(name string) error {
	if _, err := m.Check("removeall", name, 0); err != nil {
		return err
	}
	m.mu.Lock()
	var files, dirs []string
	for _, n := range slices.Sorted(maps.Keys(m.names)) {
		if _, ok := below(n, name); ok {
			files = append(files, n)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(m.dirs)) {
		if _, ok := below(n, name); ok {
			dirs = append(dirs, n)
		}
	}
	m.mu.Unlock()
	for _, n := range files {
		m.apply(Op{Kind: "remove", Name: n})
	}
	slices.Reverse(dirs)
	for _, n := range dirs {
		m.apply(Op{Kind: "rmdir", Name: n})
	}
	return nil
}

// SyncDir implements disk.Tree.
func (m *FS) SyncDir(name string) error {
	if _, err := m.Check("syncdir", name, 0); err != nil {
		return err
	}
	m.apply(Op{Kind: "syncdir", Name: name})
	return nil
}

// Free implements disk.Tree; the fault may say another number.
func (m *FS) Free() (int64, error) {
	n, err := m.Check("free", "", 1<<40)
	return int64(n), err
}

// IsDir reports whether there is a folder of a name.
func (m *FS) IsDir(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dirs[name]
}

// Sub returns a folder of this one, with the same journal. It must be there.
func (m *FS) Sub(dir string) disk.Tree { return &sub{m, dir} }

type sub struct {
	m   *FS
	dir string
}

func (s *sub) in(name string) string { return path.Join(s.dir, name) }

// Open implements disk.FS.
func (s *sub) Open(name string, create bool) (disk.File, error) { return s.m.Open(s.in(name), create) }

// List implements disk.FS.
func (s *sub) List() ([]disk.Info, error) { return s.m.list(s.dir) }

// Rename implements disk.FS.
func (s *sub) Rename(from, to string) error { return s.m.Rename(s.in(from), s.in(to)) }

// Remove implements disk.FS.
func (s *sub) Remove(name string) error { return s.m.Remove(s.in(name)) }

// Sync implements disk.FS.
func (s *sub) Sync() error { return s.m.SyncDir(s.dir) }

// Close implements disk.FS.
func (s *sub) Close() error { return nil }

// Mkdir implements disk.Tree.
func (s *sub) Mkdir(name string) error { return s.m.Mkdir(s.in(name)) }

// Create implements disk.Tree.
func (s *sub) Create(name string, executable bool) (disk.File, error) {
	return s.m.Create(s.in(name), executable)
}

// Symlink implements disk.Tree.
func (s *sub) Symlink(target, name string) error { return s.m.Symlink(target, s.in(name)) }

// RemoveAll implements disk.Tree.
func (s *sub) RemoveAll(name string) error { return s.m.RemoveAll(s.in(name)) }

// SyncDir implements disk.Tree.
func (s *sub) SyncDir(name string) error { return s.m.SyncDir(s.in(name)) }

// Free implements disk.Tree.
func (s *sub) Free() (int64, error) { return s.m.Free() }
