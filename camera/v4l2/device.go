package v4l2

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// device is the kernel's, or a stand-in of tests.
type device interface {
	Query(arg []byte) error                         // of sizeQuery
	Controls(request uint32, controls []byte) error // several of sizeControl, which are all of one kind of value
	Close() error
}

// file is a file of the kernel's.
type file struct{ *os.File }

// openFile opens a camera past Go's poller: some drivers take a poll for the begin of
// reading, and nobody else gets pictures then (vb2_poll of the kernel).
func openFile(path string) (file, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return file{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return file{os.NewFile(uintptr(fd), path)}, nil
}

// Query implements device.
func (f file) Query(arg []byte) error { return f.ioctl(reqQuery, unsafe.Pointer(&arg[0])) }

// Controls implements device.
func (f file) Controls(request uint32, controls []byte) error {
	var head struct {
		which, count, errorIndex uint32
		fd                       int32
		_                        uint32
		controls                 unsafe.Pointer
	}
	var pin runtime.Pinner // the kernel follows the pointer
	pin.Pin(&controls[0])
	defer pin.Unpin()
	head.count, head.controls = uint32(len(controls)/sizeControl), unsafe.Pointer(&controls[0])
	return f.ioctl(request, unsafe.Pointer(&head))
}

func (f file) ioctl(request uint32, arg unsafe.Pointer) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno unix.Errno
	err = c.Control(func(fd uintptr) {
		for errno = unix.EINTR; errno == unix.EINTR; {
			_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(arg))
		}
	})
	if err != nil {
		return err
	}
	if errno != 0 {
		return errno
	}
	return nil
}
