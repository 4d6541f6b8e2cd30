package decide

import "golang.org/x/sys/cpu"

// wide tells whether the processor takes eight values at a time.
var wide = cpu.X86.HasAVX2

// winnersAVX2 is plainWinners for the first n grid points, n a multiple of 32.
// plane is the distance between classes in data, in values.
//
//go:noescape
func winnersAVX2(arg *uint8, best, data *float32, plane, n, classes int, mul, add *float32)

// fastWinners does as many grid points as it can, and returns how many.
func (d *Decider) fastWinners(data []float32, plane, classes int) int {
	n := plane &^ 31
	if !wide || n == 0 {
		return 0
	}
	winnersAVX2(&d.arg[0], &d.best[0], &data[0], plane, n, classes, &d.mul[0], &d.add[0])
	return n
}
