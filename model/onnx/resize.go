package onnx

import "fmt"

// SetSize makes a network whose input has a fixed size take pictures of another
// one. Convolutions and pools take any size; what is fixed in a file are the
// sizes that its Resize nodes give, each a whole part of the picture's: they
// become the same part of the new one, rounded up as convolutions with a stride
// round. Shapes of other tensors are forgotten; who loads the file finds them.
//
// The input's height and width are its dimensions axes[0] and axes[1]. Open ones
// are set and nothing else. A size that is no whole part of the picture's is an error.
func (g *Graph) SetSize(input string, axes [2]int, h, w int) error {
	in := Find(g.RealInputs(), input)
	if in == nil {
		return fmt.Errorf("there is no input %q", input)
	}
	shape := in.Shape()
	if len(shape) != 4 {
		return fmt.Errorf("the input %q has the shape %v, not one of four dimensions", input, shape)
	}
	from, to := [2]int64{shape[axes[0]], shape[axes[1]]}, [2]int64{int64(h), int64(w)}
	if from == to {
		return nil
	}
	if from[0] > 0 && from[1] > 0 {
		if err := g.resize(from, to); err != nil {
			return err
		}
	}
	for i, axis := range axes {
		in.Type.Tensor.Shape.Dims[axis] = &Dim{Value: to[i]}
	}
	for i, out := range g.Outputs {
		g.Outputs[i] = NewValue(out.Name, out.Elem())
	}
	g.Values = nil
	return nil
}

// resize gives every Resize node of fixed size the size for the new picture.
func (g *Graph) resize(from, to [2]int64) error {
	x, err := g.Index()
	if err != nil {
		return err
	}
	made := map[string]string{} // new sizes by the name of the old ones
	for _, n := range g.Nodes {
		old := n.Input(3)
		if n.Op != "Resize" || !n.Standard() || old == "" {
			continue
		}
		if made[old] == "" {
			sizes, err := x.Constant(old).Longs()
			if err != nil || len(sizes) != 4 {
				return fmt.Errorf("node %q: its sizes are not four numbers that stand in the file", n.Name)
			}
			for i := range from {
				part := sizes[2+i]
				if part <= 0 || from[i]%part != 0 {
					return fmt.Errorf("node %q gives %d where the picture has %d, which is no whole part of it",
						n.Name, part, from[i])
				}
				step := from[i] / part
				sizes[2+i] = (to[i] + step - 1) / step
			}
			made[old] = fmt.Sprintf("%s@%dx%d", old, to[1], to[0])
			g.Initializers = append(g.Initializers, NewLongs(made[old], sizes, int64(len(sizes))))
		}
		n.Inputs[3] = made[old]
	}
	return nil
}
