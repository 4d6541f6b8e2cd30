//go:build cgo

package ort

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stackT is stack_t of sigaltstack(2) on 64-bit Linux.
type stackT struct {
	sp    uintptr
	flags int32
	_     int32
	size  uintptr
}

// keepSignalStack runs f on one thread and gives that thread its signal stack
// back afterwards. OpenVINO's CPU plug-in sets a signal stack of its own on the
// thread that happens to load it, and frees it when it is unloaded, on whatever
// thread that is (class SigAltStackSetup). The thread would be left with a stack
// that is gone, and the next signal, which Go uses to preempt goroutines, would
// end the program.
func keepSignalStack(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var old stackT
	_, _, errno := unix.RawSyscall(unix.SYS_SIGALTSTACK, 0, uintptr(unsafe.Pointer(&old)), 0)
	f()
	if errno == 0 {
		// It cannot fail: it is the stack that this thread had.
		_, _, _ = unix.RawSyscall(unix.SYS_SIGALTSTACK, uintptr(unsafe.Pointer(&old)), 0, 0)
	}
	runtime.KeepAlive(&old)
}
