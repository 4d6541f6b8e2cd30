package qdq

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/lapack/lapack64"

	"nightseg/calibrate/observe"
	"nightseg/model/onnx"
)

// damping is what is added to each variance, as a share of their mean: what was
// never seen to move must not move the weights by much.
const damping = 0.01

// widest is how many values an output may read whose weights are fitted: 3 x 3 of 256
// channels. The covariance has as many rows and columns; those of all groups are no larger.
const widest = 2304

// Reader is a convolution whose weights Fit can round, and what it reads.
type Reader struct {
	Node, Tensor string
	observe.Window
}

// Readers returns the convolutions over rows and columns that become integer, but
// for those that share weights, in the order of the graph.
func (p *Plan) Readers() []Reader {
	users := map[*onnx.Tensor]int{}
	for _, l := range p.layers {
		users[l.weight]++
	}
	var readers []Reader
	for _, n := range p.graph.Nodes {
		l := p.layers[n]
		if l == nil || users[l.weight] > 1 {
			continue
		}
		if w, ok := l.window(n); ok {
			readers = append(readers, Reader{label(n), n.Input(0), w})
		}
	}
	return readers
}

// window returns what an output reads; false where it is no plain convolution over
// rows and columns.
func (l *layer) window(n *onnx.Node) (w observe.Window, ok bool) {
	d := l.weight.Dims
	pad, groups := n.Text("auto_pad", "NOTSET"), int(n.Int("group", 1))
	if n.Op != "Conv" || len(d) != 4 || pad != "NOTSET" || groups < 1 {
		return w, false
	}
	w = observe.Window{
		Channels: int(l.inputs), Groups: groups, Kernel: [2]int{int(d[2]), int(d[3])},
		Stride: [2]int{1, 1}, Dilation: [2]int{1, 1},
	}
	for name, to := range map[string][]int{"strides": w.Stride[:], "dilations": w.Dilation[:], "pads": w.Pad[:]} {
		a := n.Attribute(name)
		if a == nil {
			continue
		}
		if len(a.Ints) != len(to) || slices.Min(a.Ints) < 0 || name != "pads" && slices.Min(a.Ints) < 1 {
			return w, false
		}
		for i, v := range a.Ints {
			to[i] = int(v)
		}
	}
	size := w.Size()
	return w, size > 0 && size <= widest && w.Groups*size <= widest*widest/size
}

// Fit rounds the weights of convolutions so that what they give has the least
// error, by what outputs were seen to read, by node: a weight is rounded up or down
// so that it makes up for the error of those before it, where both read what goes up
// and down together (Frantar et al. 2022, GPTQ, arXiv 2210.17323; as the nearest plane
// of a lattice, Babai 1986). Weights of which too little was seen go to the nearest
// number. Parts of the plan have the same weights.
func (p *Plan) Fit(seen map[string]*observe.Spread, step func()) {
	for _, n := range p.graph.Nodes {
		l, s := p.layers[n], seen[label(n)]
		if l == nil || s == nil {
			continue
		}
		if s.Enough() {
			l.fit(s)
		}
		step()
	}
}

func (l *layer) fit(s *observe.Spread) {
	scales := l.scales(float32(math.Inf(1))) // no bias asks for larger steps
	q := l.nearest(scales)
	size, rows := s.Size(), int(l.output)/s.Groups
	for g := range s.Groups {
		f, ok := newFitter(s.Covariance(g))
		if !ok {
			continue
		}
		for o := g * rows; o < (g+1)*rows; o++ {
			f.fit(l.values[o*size:(o+1)*size], float64(scales[o]), l.most, q[o*size:(o+1)*size])
		}
	}
	l.fitted, l.fittedTo = q, scales
}

// fitter rounds the weights of outputs that read the same. The error of an output is
// the length of root times the errors of its weights, in that order.
type fitter struct {
	order []int     // those that vary most come last, and are rounded first
	root  []float64 // upper triangle, row by row
	w, d  []float64 // of one output: weights in steps, and their errors
}

// newFitter takes the root of a covariance; false where it has none, as that of
// values which never moved.
func newFitter(c blas64.Symmetric) (*fitter, bool) {
	n := c.N
	f := &fitter{order: make([]int, n), w: make([]float64, n), d: make([]float64, n)}
	sum := 0.0
	for i := range n {
		f.order[i] = i
		sum += c.Data[i*n+i]
	}
	if !(sum > 0) || math.IsInf(sum, 1) {
		return nil, false
	}
	slices.SortStableFunc(f.order, func(a, b int) int { return cmp.Compare(c.Data[a*n+a], c.Data[b*n+b]) })
	sorted := c
	sorted.Data = make([]float64, n*n)
	for i, a := range f.order {
		for j := i; j < n; j++ {
			b := f.order[j]
			sorted.Data[i*n+j] = c.Data[min(a, b)*n+max(a, b)]
		}
		sorted.Data[i*n+i] += damping * sum / float64(n)
	}
	root, ok := lapack64.Potrf(sorted)
	f.root = root.Data
	return f, ok
}

// fit rounds the weights of one output into q, which holds them rounded to the
// nearest numbers and stays so where that is better.
func (f *fitter) fit(weights []float32, scale, most float64, q []byte) {
	n := len(f.order)
	nearest := 0.0
	for i := n - 1; i >= 0; i-- {
		f.w[i] = float64(weights[f.order[i]]) / scale
		f.d[i] = f.w[i] - float64(int8(q[f.order[i]]))
		e := f.dot(i) + f.root[i*n+i]*f.d[i]
		nearest += e * e
	}
	fitted := 0.0
	for i := n - 1; i >= 0; i-- {
		others := f.dot(i)
		r := math.RoundToEven(f.w[i] + others/f.root[i*n+i])
		f.d[i] = f.w[i] - min(max(r, -most), most)
		e := others + f.root[i*n+i]*f.d[i]
		fitted += e * e
	}
	if fitted >= nearest {
		return
	}
	for i, at := range f.order {
		q[at] = byte(int8(math.RoundToEven(f.w[i] - f.d[i])))
	}
}

// dot is what the errors of the weights behind the i-th add to its row.
func (f *fitter) dot(i int) float64 {
	n := len(f.order)
	return blas64.Dot(
		blas64.Vector{N: n - i - 1, Inc: 1, Data: f.root[i*n+i+1 : (i+1)*n]},
		blas64.Vector{N: n - i - 1, Inc: 1, Data: f.d[i+1:]},
	)
}
