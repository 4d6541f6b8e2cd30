package quantize

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"nightseg/calibrate/drive"
	"nightseg/calibrate/observe"
	"nightseg/edge/frame"
	"nightseg/model"
	"nightseg/model/onnx"
)

// saveEvery is how many frames may have to be run again.
const saveEvery = 8

// scan looks over the drive and chooses frames.
func (j *job) scan(ctx context.Context) (err error) {
	src, err := j.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	total := src.Len()
	if total < 0 || total > j.Scan {
		total = j.Scan
	}
	step, done := j.Progress("look", total)
	defer done()
	var f frame.Frame
	var sums []string
	var seen drive.Hash
	for len(sums) < j.Scan {
		err := src.Next(ctx, &f)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		sums = append(sums, seen.Add(&f))
		j.Chooser.Look(&f)
		step()
	}
	if len(sums) == 0 {
		return errors.New("the drive has no frames")
	}
	picked := j.Chooser.Choose(j.Frames)
	if len(picked) == 0 || !slices.IsSorted(picked) || picked[0] < 0 || picked[len(picked)-1] >= len(sums) {
		return fmt.Errorf("the choice of frames is %v, of %d", picked, len(sums))
	}
	j.state.Drive = driveRecord{j.Drive, seen.String(), seen.Frames()}
	for _, i := range slices.Compact(picked) {
		j.state.Chosen = append(j.state.Chosen, chosen{i, sums[i]})
	}
	j.state.Seen, j.state.Means = map[string]map[string]*observe.Observer{}, map[string]map[string]*observe.Means{}
	for name, p := range j.plans {
		if p == nil {
			continue
		}
		j.state.Seen[name], j.state.Means[name] = map[string]*observe.Observer{}, map[string]*observe.Means{}
		for _, tensor := range p.Tensors() {
			j.state.Seen[name][tensor] = new(observe.Observer)
		}
		for _, in := range p.Inputs() {
			j.state.Means[name][in.Tensor] = observe.NewMeans(in.Channels)
		}
	}
	return j.save()
}

// gather runs the chosen frames. Those that were run before are looked at again for
// what convolutions read alone.
func (j *job) gather(ctx context.Context) (err error) {
	step, done := j.Progress("ranges", len(j.state.Chosen))
	defer done()
	nets, err := j.load()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, nets.close()) }()
	if was, is := j.state.Library, nets.segment.Library(); was != "" && was != is {
		return fmt.Errorf("the work so far was done with %s, not %s: remove %s to start again", was, is, StateFile(j.Out))
	}
	j.state.Library = nets.segment.Library()
	src, err := j.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	whole := true  // the state holds no part of a frame
	defer func() { // also of a run that was broken off
		if whole {
			err = errors.Join(err, j.save())
		}
	}()
	var f frame.Frame
	at := 0
	for i, c := range j.state.Chosen {
		for ; at <= c.Index; at++ {
			if err := src.Next(ctx, &f); err != nil {
				if errors.Is(err, io.EOF) {
					return fmt.Errorf("the drive ended at frame %d, where it had %d before: "+
						"give a recording, not a live camera", at, j.state.Drive.Frames)
				}
				return err
			}
		}
		if drive.FrameHash(&f) != c.SHA256 {
			return fmt.Errorf("frame %d is another one than before: give a recording that does not change", c.Index)
		}
		nets.again = i < j.state.Done
		whole = nets.again
		if err := nets.see(&f, i%plainEvery == 0); err != nil {
			return fmt.Errorf("frame %d: %w", c.Index, err)
		}
		whole = true
		step()
		if nets.again {
			continue
		}
		j.state.Done++
		if j.state.Done%saveEvery == 0 {
			if err := j.save(); err != nil {
				return err
			}
		}
	}
	return nil
}

// networks are the float networks that show what is inside of them.
type networks struct {
	*job
	relight, segment *probe
	relit            []float32
	again            bool // the frame was counted before
}

// probe is one network and the observers of its tensors.
type probe struct {
	Network
	input  string
	shape  []int64
	output string
	seen   map[string]*observe.Observer // nil: nothing of it becomes integer
	means  map[string]*observe.Means
	reads  map[string][]*observe.Spread
}

func (j *job) load() (*networks, error) {
	n := &networks{job: j}
	j.spreads = map[string]map[string]*observe.Spread{}
	var err error
	if n.segment, err = j.probe("segment"); err == nil && j.Bundle.Graphs.Relight != nil {
		n.relight, err = j.probe("relight")
	}
	if err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// Shape is that of a graph's input.
func Shape(b *model.Bundle, g *model.Graph) []int64 {
	h, w := int64(b.Shapes[0][0]), int64(b.Shapes[0][1])
	if g.Input.Layout == "NHWC" {
		return []int64{1, h, w, 3}
	}
	return []int64{1, 3, h, w}
}

func (j *job) probe(name string) (*probe, error) {
	g := graphOf(j.Bundle, name)
	reads := map[string][]*observe.Spread{}
	var m *onnx.Model
	var err error
	if p := j.plans[name]; p != nil {
		m = p.RangeModel()
		j.spreads[name] = map[string]*observe.Spread{}
		for _, r := range p.Readers() {
			s := observe.NewSpread(r.Window)
			j.spreads[name][r.Node], reads[r.Tensor] = s, append(reads[r.Tensor], s)
		}
	} else if m, err = Float(j.Bundle, name); err != nil {
		return nil, err
	}
	shape := Shape(j.Bundle, g)
	net, err := j.Load(m, shape)
	if err != nil {
		return nil, fmt.Errorf("%s network: %w", name, err)
	}
	return &probe{net, g.Input.Name, shape, g.Output.Name, j.state.Seen[name], j.state.Means[name], reads}, nil
}

func (n *networks) close() error {
	var err error
	for _, p := range []*probe{n.relight, n.segment} {
		if p != nil {
			err = errors.Join(err, p.Close())
		}
	}
	return err
}

// see takes a frame through the networks as the bundle is best used, relit or not;
// other: also the other way.
func (n *networks) see(f *frame.Frame, other bool) error {
	relit := n.Bundle.RelightMode() == frame.RelightNetwork.String()
	if n.relight != nil && (relit || other) {
		if err := n.together(f); err != nil {
			return err
		}
	}
	if !relit || other || n.relight == nil {
		return n.alone(f)
	}
	return nil
}

// together takes a frame through the relight network, and what comes out of it
// through the segmentation network.
func (n *networks) together(f *frame.Frame) error {
	copy(n.relight.Bytes(), f.Pix)
	err := n.relight.run(n.again, func(v []float32) { n.relit = append(n.relit[:0], v...) })
	if err != nil {
		return fmt.Errorf("relight network: %w", err)
	}
	copy(n.segment.Floats(), n.relit)
	if err := n.segment.run(n.again, nil); err != nil {
		return fmt.Errorf("segmentation network: %w", err)
	}
	return nil
}

// alone takes a frame through the segmentation network as it is.
func (n *networks) alone(f *frame.Frame) error {
	Fill(n.segment, f.Pix, n.Bundle.Normalise)
	if err := n.segment.run(n.again, nil); err != nil {
		return fmt.Errorf("segmentation network: %w", err)
	}
	return nil
}

// run runs a network, counts the values of its tensors and hands over its result;
// again: they were counted before.
func (p *probe) run(again bool, result func([]float32)) error {
	see := func(name string, shape []int64, v []float32) error {
		if name == p.output && result != nil {
			result(v)
		}
		if err := p.count(again, name, shape, v); err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		return nil
	}
	if err := see(p.input, p.shape, p.Floats()); err != nil {
		return err
	}
	if err := p.Run(see); err != nil {
		return err
	}
	var all sync.WaitGroup
	for _, spreads := range p.reads {
		for _, s := range spreads {
			all.Go(s.Add)
		}
	}
	all.Wait()
	return nil
}

// count adds the values of a tensor to what is known of it.
func (p *probe) count(again bool, tensor string, shape []int64, v []float32) error {
	if o := p.seen[tensor]; o != nil && !again {
		if err := o.Add(v); err != nil {
			return err
		}
	}
	if m := p.means[tensor]; m != nil && !again {
		if err := m.Add(v); err != nil {
			return err
		}
	}
	for _, s := range p.reads[tensor] {
		if err := s.Take(shape, v); err != nil {
			return err
		}
	}
	return nil
}

// Fill gives a network a picture: its bytes, or normalised planes.
func Fill(net Network, pix []byte, norm model.Normalise) {
	if x := net.Floats(); x != nil {
		model.NewNormaliser(norm).Planes(x, pix)
		return
	}
	copy(net.Bytes(), pix)
}
