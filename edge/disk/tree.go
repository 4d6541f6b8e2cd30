package disk

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Tree is a folder that holds folders. Names are paths below it, with slashes; none
// leads out of it.
type Tree interface {
	FS
	// Mkdir makes a folder in one that is there.
	Mkdir(name string) error
	// Create makes a file that is not there yet.
	Create(name string, executable bool) (File, error)
	Symlink(target, name string) error
	// RemoveAll removes a file or a folder with all that it holds, where it is there.
	RemoveAll(name string) error
	// SyncDir makes created, renamed and removed names in a folder last.
	SyncDir(name string) error
	// Free returns how many bytes can be written.
	Free() (int64, error)
}

// OpenTree is Open for a folder with folders.
func OpenTree(dir string) (Tree, error) { return openedTree(open(dir, false)) }

// OpenTreeLocked is OpenLocked for a folder with folders.
func OpenTreeLocked(dir string) (Tree, error) { return openedTree(open(dir, true)) }

func openedTree(d *folder, err error) (Tree, error) {
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Mkdir implements Tree.
func (d *folder) Mkdir(name string) error { return d.root.Mkdir(name, 0o750) }

// Create implements Tree.
func (d *folder) Create(name string, executable bool) (File, error) {
	mode := fs.FileMode(0o640)
	if executable {
		mode = 0o750
	}
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Symlink implements Tree.
func (d *folder) Symlink(target, name string) error { return d.root.Symlink(target, name) }

// RemoveAll implements Tree.
func (d *folder) RemoveAll(name string) error { return d.root.RemoveAll(name) }

// SyncDir implements Tree.
func (d *folder) SyncDir(name string) error {
	f, err := d.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Free implements Tree.
func (d *folder) Free() (int64, error) {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(d.self.Fd()), &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
}
