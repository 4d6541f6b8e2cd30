package observe

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
)

// Window is what an output of a two-dimensional convolution reads: rows come before
// columns, as in ONNX.
type Window struct {
	Channels, Groups         int
	Kernel, Stride, Dilation [2]int
	Pad                      [4]int // top, left, bottom, right
}

// Size is how many values one output reads.
func (w Window) Size() int { return w.Channels / w.Groups * w.Kernel[0] * w.Kernel[1] }

// outputs are the rows and columns of what comes out of a map of that size.
func (w Window) outputs(height, width int) (rows, columns int) {
	size := [2]int{height + w.Pad[0] + w.Pad[2], width + w.Pad[1] + w.Pad[3]}
	for i := range size {
		size[i] = (size[i]-w.Dilation[i]*(w.Kernel[i]-1)-1)/w.Stride[i] + 1
	}
	return size[0], size[1]
}

// places is how many outputs of a picture are looked at: neighbours read nearly the same.
const places = 64

// Spread is the covariance of the values that an output of a convolution reads, one
// matrix for each group, from places all over the pictures.
type Spread struct {
	Window
	taken   []float64 // of the last picture: what an output reads, place by place
	count   int
	sums    []float64          // of each value, group by group
	squares []blas64.Symmetric // of the products, by group
}

// NewSpread returns one that has seen nothing.
func NewSpread(w Window) *Spread {
	s := &Spread{Window: w, sums: make([]float64, w.Groups*w.Size())}
	for range w.Groups {
		s.squares = append(s.squares, symmetric(w.Size()))
	}
	return s
}

func symmetric(n int) blas64.Symmetric {
	return blas64.Symmetric{N: n, Stride: n, Data: make([]float64, n*n), Uplo: blas.Upper}
}

// Take copies what outputs read of a tensor, n x channels x height x width, of which
// it sees the first map; Add counts it.
func (s *Spread) Take(shape []int64, values []float32) error {
	if len(shape) != 4 || shape[1] != int64(s.Channels) ||
		int64(len(values)) != shape[0]*shape[1]*shape[2]*shape[3] {
		return fmt.Errorf("%d values of the shape %v where a map of %d channels is read", len(values), shape, s.Channels)
	}
	height, width := int(shape[2]), int(shape[3])
	rows, columns := s.outputs(height, width)
	if rows < 1 || columns < 1 {
		return fmt.Errorf("a map of %d x %d is smaller than what is read of it", height, width)
	}
	s.taken = s.taken[:0]
	for i := range min(places, rows*columns) {
		at := i
		if rows*columns > places { // the golden ratio spreads them, other ones in each picture
			_, part := math.Modf(float64(s.count+i) * (math.Phi - 1))
			at = int(part * float64(rows*columns))
		}
		s.read(values, height, width, at/columns*s.Stride[0]-s.Pad[0], at%columns*s.Stride[1]-s.Pad[1])
	}
	return nil
}

// read appends what an output reads whose window begins in that row and column.
func (s *Spread) read(values []float32, height, width, top, left int) {
	for c := range s.Channels {
		for i := range s.Kernel[0] {
			for j := range s.Kernel[1] {
				y, x, v := top+i*s.Dilation[0], left+j*s.Dilation[1], float32(0)
				if y >= 0 && y < height && x >= 0 && x < width {
					v = values[(c*height+y)*width+x]
				}
				s.taken = append(s.taken, float64(v))
			}
		}
	}
}

// Add counts what was taken.
func (s *Spread) Add() {
	all, n := len(s.sums), s.Size()
	rows := len(s.taken) / all
	if rows == 0 {
		return
	}
	for i, v := range s.taken {
		s.sums[i%all] += v
	}
	for g, sum := range s.squares {
		blas64.Syrk(blas.Trans, 1, blas64.General{Rows: rows, Cols: n, Stride: all, Data: s.taken[g*n:]}, 1, sum)
	}
	s.count += rows
	s.taken = s.taken[:0]
}

// Enough reports whether the covariance rests on clearly more places than it has
// rows: with fewer it would be that of these places alone.
func (s *Spread) Enough() bool { return s.count >= 2*s.Size() }

// Covariance returns the upper triangle of that of a group.
func (s *Spread) Covariance(group int) blas64.Symmetric {
	n := s.Size()
	c := symmetric(n)
	mean := s.sums[group*n : (group+1)*n]
	for i := range n {
		for j := i; j < n; j++ {
			c.Data[i*n+j] = (s.squares[group].Data[i*n+j] - mean[i]*mean[j]/float64(s.count)) / float64(s.count)
		}
	}
	return c
}
