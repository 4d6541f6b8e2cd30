package bus

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/host/v3/sysfs"
)

// handle is an open adapter of the kernel's, or a recording of one.
type handle interface {
	Funcs() (uint64, error)   // what the adapter can do
	Device(addr uint16) error // whom SMBus speaks to
	SMBus(arg smbusArg) error
	Close() error
}

// adapter is an I2C bus of the kernel's: a plain one by periph, one that knows SMBus
// alone by smbus.go. It is open for the time of a transaction: the kernel keeps an
// adapter that is pulled out, or whose driver is unloaded, and its number with it, until
// nobody has it open.
type adapter struct {
	name  string
	open  func() (handle, error)
	plain func() (i2c.BusCloser, error)
}

func newAdapter(number int) *adapter {
	name := Name(number)
	return &adapter{
		name:  name,
		open:  func() (handle, error) { return openFile(name) },
		plain: func() (i2c.BusCloser, error) { return sysfs.NewI2C(number) },
	}
}

func (a *adapter) String() string { return a.name }

// SetSpeed implements i2c.Bus.
func (a *adapter) SetSpeed(physic.Frequency) error {
	return fmt.Errorf("%s: its speed is set by the kernel's driver", a.name)
}

// Tx implements i2c.Bus.
func (a *adapter) Tx(addr uint16, w, r []byte) error {
	h, err := a.open()
	if err != nil {
		return err
	}
	funcs, err := h.Funcs()
	switch {
	case err != nil:
		err = fmt.Errorf("%s: %w", a.name, err)
	case funcs&funcI2C != 0:
		err = a.transfer(addr, w, r)
	default:
		err = smbus(h, funcs, addr, w, r)
	}
	return errors.Join(err, h.Close())
}

func (a *adapter) transfer(addr uint16, w, r []byte) error {
	b, err := a.plain()
	if err != nil {
		return err
	}
	return errors.Join(b.Tx(addr, w, r), b.Close())
}

// file is a file of the kernel's.
type file struct{ *os.File }

func openFile(name string) (handle, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	switch {
	case errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("%w: the unit has it closed, which board.conf opens", err)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%w: add this user to the group i2c", err)
	case err != nil:
		return nil, err
	}
	return file{f}, nil
}

// Funcs implements handle.
func (f file) Funcs() (uint64, error) {
	var funcs uintptr // an unsigned long
	err := f.ioctl(reqFuncs, unsafe.Pointer(&funcs))
	return uint64(funcs), err
}

// Device implements handle.
func (f file) Device(addr uint16) error {
	return f.control(func(fd int) error { return unix.IoctlSetInt(fd, reqDevice, int(addr)) })
}

// SMBus implements handle.
func (f file) SMBus(arg smbusArg) error {
	var pin runtime.Pinner // the kernel follows the pointer
	pin.Pin(arg.data)
	defer pin.Unpin()
	return f.ioctl(reqSMBus, unsafe.Pointer(&arg))
}

func (f file) ioctl(request uintptr, arg unsafe.Pointer) error {
	return f.control(func(fd int) error {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
			return errno
		}
		return nil
	})
}

func (f file) control(do func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := c.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}
