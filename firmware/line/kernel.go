package line

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"nightseg/firmware/tree"
)

// handle is an open file of a chip, or of a line that was asked of it: the kernel's, or
// a recording.
type handle interface {
	Ioctl(request uint32, arg []byte) error // arg is read and written
	Read(p []byte) (int, error)
	SetReadDeadline(t time.Time) error
	Close() error
	adopt(fd int32, name string) (handle, error)
}

func openChip(root tree.Root, path string) (handle, error) {
	if root.Recorded() {
		return openRecording(root.Path(path))
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%w: add this user to the group gpio", err)
	}
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

// file is a file of the kernel's.
type file struct{ *os.File }

// Ioctl implements handle.
func (f file) Ioctl(request uint32, arg []byte) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno unix.Errno
	err = c.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(unsafe.Pointer(&arg[0])))
	})
	if err != nil {
		return err
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// adopt makes a file of a descriptor, on which reads can be ended.
func (f file) adopt(fd int32, name string) (handle, error) {
	if err := unix.SetNonblock(int(fd), true); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), unix.Close(int(fd)))
	}
	return file{os.NewFile(uintptr(fd), name)}, nil
}
