// Package disk holds a folder of files behind an interface, so that what a crash
// or a bad disk does to its users can be tried, and the ways to write a file whole.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// FS is a folder. Names are plain file names.
type FS interface {
	// Open opens a file for reading and writing, or for reading only where the
	// file system allows no more. It never waits, whatever the name stands for.
	Open(name string, create bool) (File, error)
	// List returns the entries of the folder, in any order.
	List() ([]Info, error)
	Rename(from, to string) error
	Remove(name string) error
	// Sync makes created, renamed and removed names last.
	Sync() error
	Close() error
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
}

// Info is an entry of the folder.
type Info struct {
	Name    string
	Size    int64
	Regular bool
}

// ErrInUse says that another process has the folder.
var ErrInUse = errors.New("the folder is in use by another process")

const (
	// LockName is the file that OpenLocked locks.
	LockName   = "lock"
	maxEntries = 100_000 // of a folder that is not ours, or has gone mad
)

// folder is an FS of the operating system.
type folder struct {
	root *os.Root
	self *os.File // the folder itself, for Sync
	lock *os.File
}

// OpenLocked makes the folder where it is missing, and locks it: of two writers
// each would destroy what the other has written.
func OpenLocked(dir string) (FS, error) { return opened(open(dir, true)) }

// Open makes the folder where it is missing.
func Open(dir string) (FS, error) { return opened(open(dir, false)) }

// opened keeps a nil folder from becoming an interface that is not nil.
func opened(d *folder, err error) (FS, error) {
	if err != nil {
		return nil, err
	}
	return d, nil
}

func open(dir string, lock bool) (*folder, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	d := &folder{root: root}
	d.self, err = root.Open(".")
	if err == nil && lock {
		err = d.hold()
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// hold takes the lock of the folder.
func (d *folder) hold() (err error) {
	d.lock, err = d.root.OpenFile(LockName, os.O_RDWR|os.O_CREATE|unix.O_NONBLOCK, 0o640)
	if errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOSPC) {
		// What is there can be delivered. The folder itself can be locked too.
		d.lock, err = d.root.Open(".")
	}
	if err != nil {
		return err
	}
	if err := unix.Flock(int(d.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return ErrInUse
		}
		return fmt.Errorf("lock: %w", err)
	}
	return nil
}

// Open implements FS.
func (d *folder) Open(name string, create bool) (File, error) {
	flag := unix.O_NONBLOCK // a pipe of such a name must not stop the start
	if create {
		flag |= os.O_CREATE
	}
	f, err := d.root.OpenFile(name, os.O_RDWR|flag, 0o640)
	if !create && (errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)) {
		f, err = d.root.OpenFile(name, os.O_RDONLY|flag, 0)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// List implements FS.
func (d *folder) List() ([]Info, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing to lose
	entries, err := f.ReadDir(maxEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	list := make([]Info, 0, len(entries))
	for _, e := range entries {
		info := Info{Name: e.Name(), Regular: e.Type().IsRegular()}
		if fi, err := e.Info(); err == nil {
			info.Size = fi.Size()
		}
		list = append(list, info)
	}
	return list, nil
}

// Rename implements FS.
func (d *folder) Rename(from, to string) error { return d.root.Rename(from, to) }

// Remove implements FS.
func (d *folder) Remove(name string) error { return d.root.Remove(name) }

// Sync implements FS.
func (d *folder) Sync() error { return d.self.Sync() }

// Close lets go of the lock.
func (d *folder) Close() error {
	var errs []error
	for _, f := range []*os.File{d.lock, d.self} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(append(errs, d.root.Close())...)
}
