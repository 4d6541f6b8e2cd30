//go:build cgo

// Command nightseg-capture reads one camera or video file with OpenCV and hands
// the pictures to the nightseg that started it, over shared memory.
//
// It is a program of its own so that a crash in a video library, a read that
// never returns or a missing libopencv does not stop nightseg.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"nightseg/camera/capture/ring"
)

func main() {
	// Ctrl-C and `systemctl stop` reach us too, but it is nightseg that ends us, by
	// closing our standard input, when it has done with the last picture.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if err := ring.Serve(open); err != nil {
		fmt.Fprintln(os.Stderr, "nightseg-capture:", err)
		os.Exit(1)
	}
}
