package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

const newSuffix = ".new" // of a file that is being written

// WriteAtomic replaces a file in such a way that after a crash or a power cut
// either the old or the new content is there, whole. After nil it is the new one.
func WriteAtomic(fsys FS, name string, b []byte) error {
	temp := name + newSuffix
	err := write(fsys, temp, b)
	if err == nil {
		err = fsys.Rename(temp, name)
	}
	if err != nil {
		if e := fsys.Remove(temp); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
		return err
	}
	return fsys.Sync()
}

// write makes a file whose content lasts, but not its name.
func write(fsys FS, name string, b []byte) error {
	f, err := fsys.Open(name, true)
	if err != nil {
		return err
	}
	if err = f.Truncate(0); err == nil { // a crash may have left it
		_, err = f.WriteAt(b, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// ReadFile returns the content of a regular file, and an error where that is
// longer than limit bytes.
func ReadFile(fsys FS, name string, limit int) ([]byte, error) {
	list, err := fsys.List()
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if e.Name == name && !e.Regular {
			return nil, errors.New("no regular file")
		}
	}
	f, err := fsys.Open(name, false)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, int64(limit)+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(b) > limit {
		return nil, fmt.Errorf("above the limit of %d bytes", limit)
	}
	return b, nil
}

// Keep writes a file of a folder, which it makes where it is missing, unless it
// has that content: flash wears out.
func Keep(path string, b []byte) (err error) {
	fsys, err := Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fsys.Close()) }()
	name := filepath.Base(path)
	if old, err := ReadFile(fsys, name, len(b)); err == nil && bytes.Equal(old, b) {
		return nil
	}
	return WriteAtomic(fsys, name, b)
}
