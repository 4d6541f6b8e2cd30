// Package sensitivity holds the measure of what each layer of a network costs in
// accuracy when it alone works on bytes, and the order in which layers are given
// back to float by it.
//
// A layer's error is measured where it counts: at the logits, over a few frames,
// against those of the float networks. Each layer gets a network of its own in
// which all else is float. That needs as many networks as layers, and a moment for
// each; no ranges are gathered again.
package sensitivity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"nightseg/calibrate/quantize"
	"nightseg/model"
	"nightseg/model/onnx"
)

// Frame is one picture in the bundle's size: red, green, blue by pixel.
type Frame []byte

// Options say what is measured and with what.
type Options struct {
	Bundle *model.Bundle
	Frames []Frame
	Load   func(m *onnx.Model, shape []int64) (quantize.Network, error)
}

// Error is what became of the networks' results, over all frames.
type Error struct {
	Noise   float64 `json:"noise"`             // energy of the logits' error, in parts of that of the logits
	Changed float64 `json:"changed"`           // percent of the logits' places whose best class is another
	Picture float64 `json:"picture,omitempty"` // of the relit picture as Noise is of the logits
}

// Layer is one unit of a network, and the error when it alone works on bytes.
type Layer struct {
	Graph string `json:"graph"`
	Name  string `json:"name"`
	Error
}

// Decibels is the ratio of signal to noise; without noise it is infinite.
func Decibels(noise float64) float64 { return -10 * math.Log10(noise) }

// Probe holds the float networks and what they make of the frames.
type Probe struct {
	Options
	relight, segment *onnx.Model // float
	float            quantize.Network
	relit            [][]float32 // nil: the bundle does not relight
	logits           [][]float32
	classes          int
}

// New runs the float networks on the frames.
func New(ctx context.Context, o Options) (p *Probe, err error) {
	p = &Probe{Options: o, classes: len(o.Bundle.Classes)}
	defer func() {
		if err != nil {
			p, err = nil, fmt.Errorf("sensitivity: %w", errors.Join(err, p.Close()))
		}
	}()
	if len(o.Frames) == 0 {
		return p, errors.New("no frames")
	}
	if p.segment, err = quantize.Float(o.Bundle, "segment"); err != nil {
		return p, err
	}
	if o.Bundle.Graphs.Relight != nil {
		if p.relight, err = quantize.Float(o.Bundle, "relight"); err != nil {
			return p, err
		}
		if p.relit, err = p.pictures(ctx, p.relight); err != nil {
			return p, err
		}
	}
	if p.float, err = o.Load(p.segment, quantize.Shape(o.Bundle, o.Bundle.Graphs.Segment)); err != nil {
		return p, err
	}
	for i := range o.Frames {
		if err := ctx.Err(); err != nil {
			return p, err
		}
		err := p.through(p.float, i, p.relit, func(v []float32) { p.logits = append(p.logits, slices.Clone(v)) })
		if err != nil {
			return p, err
		}
	}
	return p, nil
}

// Close releases the float network.
func (p *Probe) Close() error {
	if p.float == nil {
		return nil
	}
	err := p.float.Close()
	p.float = nil
	return err
}

// pictures relights all frames.
func (p *Probe) pictures(ctx context.Context, m *onnx.Model) (relit [][]float32, err error) {
	g := p.Bundle.Graphs.Relight
	net, err := p.Load(m, quantize.Shape(p.Bundle, g))
	if err != nil {
		return nil, fmt.Errorf("relight network: %w", err)
	}
	defer func() { err = errors.Join(err, net.Close()) }()
	for _, f := range p.Frames {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		quantize.Fill(net, f, p.Bundle.Normalise)
		if err := output(net, g.Output.Name, func(v []float32) { relit = append(relit, slices.Clone(v)) }); err != nil {
			return nil, fmt.Errorf("relight network: %w", err)
		}
	}
	return relit, nil
}

// through runs a segmentation network on a frame, or on what became of it.
func (p *Probe) through(net quantize.Network, i int, relit [][]float32, see func([]float32)) error {
	if relit != nil {
		copy(net.Floats(), relit[i])
	} else {
		quantize.Fill(net, p.Frames[i], p.Bundle.Normalise)
	}
	if err := output(net, p.Bundle.Graphs.Segment.Output.Name, see); err != nil {
		return fmt.Errorf("segmentation network: %w", err)
	}
	return nil
}

func output(net quantize.Network, name string, see func([]float32)) error {
	return net.Run(func(output string, _ []int64, v []float32) error {
		if output == name {
			see(v)
		}
		return nil
	})
}

// Of measures networks in the place of the float ones, by graph; a graph without
// one stays float.
func (p *Probe) Of(ctx context.Context, networks map[string]*onnx.Model) (e Error, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("sensitivity: %w", err)
		}
	}()
	relit := p.relit
	if m := networks["relight"]; m != nil {
		if relit, err = p.pictures(ctx, m); err != nil {
			return e, err
		}
		var picture sums
		for i := range relit {
			picture.add(p.relit[i], relit[i])
		}
		e.Picture = picture.noise()
	}
	net := p.float
	if m := networks["segment"]; m != nil {
		if net, err = p.Load(m, quantize.Shape(p.Bundle, p.Bundle.Graphs.Segment)); err != nil {
			return e, fmt.Errorf("segmentation network: %w", err)
		}
		defer func() { err = errors.Join(err, net.Close()) }()
	}
	var logits sums
	places, changed := 0, 0
	for i := range p.Frames {
		if err := ctx.Err(); err != nil {
			return e, err
		}
		err := p.through(net, i, relit, func(v []float32) {
			logits.add(p.logits[i], v)
			n := len(v) / p.classes
			places, changed = places+n, changed+differ(p.logits[i], v, n, p.classes)
		})
		if err != nil {
			return e, err
		}
	}
	e.Noise, e.Changed = logits.noise(), 100*float64(changed)/float64(max(places, 1))
	return e, nil
}

// sums are energies of a signal and of its error.
type sums struct{ signal, err float64 }

func (s *sums) add(want, got []float32) {
	for i, w := range want {
		d := float64(got[i]) - float64(w)
		s.signal += float64(w) * float64(w)
		s.err += d * d
	}
}

// noise is 0 for two signals of zeros, and 1 for an error of a signal of zeros.
func (s *sums) noise() float64 {
	if s.signal == 0 {
		return min(s.err, 1)
	}
	return s.err / s.signal
}

// differ counts the places at which another class is the best; n places a class.
func differ(a, b []float32, n, classes int) (changed int) {
	best := func(v []float32, i int) (k int) {
		for c := 1; c < classes; c++ {
			if v[c*n+i] > v[k*n+i] {
				k = c
			}
		}
		return k
	}
	for i := range n {
		if best(a, i) != best(b, i) {
			changed++
		}
	}
	return changed
}

// Layers measures each unit of the parts that is not among the known ones, and
// calls step after each. They come in the order of the graphs.
func (p *Probe) Layers(
	ctx context.Context, parts []quantize.Part, known []Layer, step func([]Layer) error,
) ([]Layer, error) {
	var layers []Layer
	for _, part := range parts {
		for _, name := range part.Plan.Units() {
			at := slices.IndexFunc(known, func(l Layer) bool { return l.Graph == part.Graph && l.Name == name })
			if at >= 0 {
				layers = append(layers, known[at])
				continue
			}
			l, err := p.layer(ctx, part, name)
			if err != nil {
				return nil, fmt.Errorf("%s network, %s: %w", part.Graph, name, err)
			}
			layers = append(layers, l)
			if err := step(layers); err != nil {
				return nil, err
			}
		}
	}
	return layers, nil
}

func (p *Probe) layer(ctx context.Context, part quantize.Part, name string) (Layer, error) {
	l := Layer{Graph: part.Graph, Name: name}
	only, err := part.Plan.Only(name)
	if err != nil {
		return l, err
	}
	m, err := only.Write(part.Ranges, part.Means)
	if err != nil {
		return l, err
	}
	l.Error, err = p.Of(ctx, map[string]*onnx.Model{part.Graph: m})
	return l, err
}

// Order sorts layers by their noise, the largest first; equal ones keep their order.
func Order(layers []Layer) []Layer {
	sorted := slices.Clone(layers)
	slices.SortStableFunc(sorted, func(a, b Layer) int { return cmp.Compare(b.Noise, a.Noise) })
	return sorted
}

// Units are the names of layers by graph.
func Units(layers []Layer) map[string][]string {
	units := map[string][]string{}
	for _, l := range layers {
		units[l.Graph] = append(units[l.Graph], l.Name)
	}
	return units
}

// Steps are how many layers are given back at once, one try after the other: none,
// one, and twice as many each time up to most.
func Steps(most int) []int {
	steps := []int{0}
	for n := 1; n < most; n *= 2 {
		steps = append(steps, n)
	}
	if most > 0 {
		steps = append(steps, most)
	}
	return steps
}

// Firsts are the ranks of the n most sensitive layers, 1 to n, for each n.
func Firsts(counts ...int) (sets [][]int) {
	for _, n := range counts {
		ranks := make([]int, n)
		for i := range ranks {
			ranks[i] = i + 1
		}
		sets = append(sets, ranks)
	}
	return sets
}

// Between are up to three numbers between one that fails and one that holds, which
// halve and quarter the way.
func Between(fails, holds int) []int {
	var numbers []int
	for i := 1; i < 4 && fails >= 0; i++ {
		n := fails + (holds-fails)*i/4
		if n > fails && n < holds && !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
	}
	return numbers
}
