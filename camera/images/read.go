package images

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxFile bounds the size of a file: no picture of 64 megapixels is larger in
// any sensible quality.
const maxFile = 256 << 20

// reader reads whole files into one buffer. It makes the system calls itself,
// because os.Open allocates for each file.
type reader struct {
	buf  []byte
	stat unix.Stat_t
}

// read returns the bytes of the file; they are good until the next call. The
// path ends with a zero byte.
func (r *reader) read(path []byte) ([]byte, error) {
	fd, err := open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := retry(func() error { return unix.Fstat(fd, &r.stat) }); err != nil {
		return nil, err
	}
	if r.stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("no regular file")
	}
	if r.stat.Size > maxFile {
		return nil, fmt.Errorf("%d bytes are above the limit of %d", r.stat.Size, maxFile)
	}
	if need := int(r.stat.Size) + 1; cap(r.buf) < need { // one more, to see the end
		r.buf = make([]byte, need+need/4)
	}
	r.buf = r.buf[:cap(r.buf)]
	n := 0
	for n < len(r.buf) {
		got, err := unix.Read(fd, r.buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if got == 0 {
			return r.buf[:n], nil
		}
		n += got
	}
	return nil, errors.New("the file grows while it is read")
}

// open opens a file for reading. O_NONBLOCK keeps a named pipe that ends in
// .jpg from holding us for ever.
func open(path []byte) (int, error) {
	const flags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK
	at := unix.AT_FDCWD
	for {
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(&path[0])), flags, 0, 0, 0)
		switch errno {
		case 0:
			return int(fd), nil
		case unix.EINTR:
		default:
			return -1, errno
		}
	}
}

func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
