package model

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nightseg/edge/frame"
	"nightseg/model/onnx"
)

// NewOptions say how a user's own segmentation network becomes a bundle.
type NewOptions struct {
	Out     string // directory to make; it must not be there yet
	ONNX    string // the network: one picture in, logits out
	Classes string // text file with a class per line; see ReadClasses
	// Labels is a folder of label pictures (PNG, a class per pixel, 255 for none) from which the
	// class shares are counted; "" gives every class the same share, with a warning.
	Labels string
	// Picture is a PNG or JPEG picture for the golden vectors; "" makes an artificial one.
	Picture string

	Name, Version, Licence string    // defaults: the network's file name, 0.1.0, "not stated"
	Shape                  [2]int    // height, width; needed where the network leaves them open
	Normalise              Normalise // default: ImageNet's mean and deviation; not used for a uint8 input
	AlignCorners           bool      // the corner rule by which the logits are brought to full size
	Now                    time.Time // written as the time of creation; default: now

	// Engine opens an engine on the bundle, to make the golden vectors.
	Engine func(*Bundle) (Engine, error)
}

// Engine is an Inferer that can be closed.
type Engine interface {
	Inferer
	Close() error
}

// NewBundle makes a bundle of a user's own network: it finds out inputs, outputs
// and stride from the file, runs the network once for the golden vectors, writes
// the bundle into a directory and opens it. The warnings say what was assumed.
func NewBundle(o NewOptions) (b *Bundle, warnings []string, err error) {
	b, data, err := describe(&o)
	if err != nil {
		return nil, nil, fmt.Errorf("new bundle: %w", err)
	}
	if warnings, err = b.fillShares(&o); err != nil {
		return nil, nil, fmt.Errorf("new bundle: %w", err)
	}
	if err := os.Mkdir(o.Out, 0o755); err != nil {
		return nil, nil, fmt.Errorf("new bundle: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(o.Out)) // no half bundle stays
		}
	}()
	if err := b.write(&o, data, &warnings); err != nil {
		return nil, warnings, fmt.Errorf("new bundle: %w", err)
	}
	b, err = Open(o.Out)
	return b, warnings, err
}

// describe makes the manifest as far as the network and the class list give it.
func describe(o *NewOptions) (*Bundle, []byte, error) {
	data, err := readCapped(o.ONNX, maxFile)
	if err != nil {
		return nil, nil, &FileError{File: o.ONNX, Problem: "cannot be read", Err: err}
	}
	bad := func(problem string, args ...any) error {
		return &FileError{
			File: o.ONNX, Problem: fmt.Sprintf(problem, args...), Remedy: "export the network with one picture " +
				"as input (float32 NCHW, or uint8 NHWC), batch 1, and logits (float32 NCHW) as first output",
		}
	}
	m, err := onnx.Parse(data)
	if err != nil {
		return nil, nil, bad("is not an ONNX network: %v", err)
	}
	if m.Graph.External() {
		return nil, nil, bad("keeps weights in other files")
	}
	inputs, outputs := m.Graph.RealInputs(), m.Graph.Outputs
	if len(inputs) != 1 || len(outputs) == 0 {
		return nil, nil, bad("has the inputs [%s] and the outputs [%s]", portNames(inputs), portNames(outputs))
	}
	classes, err := ReadClasses(o.Classes)
	if err != nil {
		return nil, nil, err
	}
	b := &Bundle{Dir: o.Out, Path: o.Out, Manifest: o.defaults(classes)}
	if err := b.readPorts(inputs[0], outputs[0], o, bad); err != nil {
		return nil, nil, err
	}
	return b, data, nil
}

func (o *NewOptions) defaults(classes []Class) Manifest {
	base := strings.TrimSuffix(filepath.Base(o.ONNX), filepath.Ext(o.ONNX))
	or := func(s *string, d string) string {
		if *s == "" {
			return d
		}
		return *s
	}
	if o.Normalise == (Normalise{}) {
		o.Normalise = Normalise{Mean: [3]float64{0.485, 0.456, 0.406}, Std: [3]float64{0.229, 0.224, 0.225}}
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	return Manifest{
		Schema: SchemaVersion, Name: or(&o.Name, base), Version: or(&o.Version, "0.1.0"),
		Created: o.Now.UTC().Truncate(time.Second), Licence: or(&o.Licence, "not stated"),
		Classes: classes, Unknown: Unknown{Index: frame.Unknown},
		Resize:    Resize{Filter: "bilinear", Antialias: true, Fit: "stretch"},
		Normalise: o.Normalise, AlignCorners: o.AlignCorners,
		Reweight: Reweight{Mode: "probability"}, Temperature: 1,
		Tolerance: map[string]Tolerance{FP32: {LogitsRelative: 1e-3, MaskAgreement: 0.999}},
		Card:      Card{IntendedUse: "not stated", Data: "not stated", Limits: "not measured"},
	}
}

// readPorts fills in graph, shape and stride from the network's input and output.
func (b *Bundle) readPorts(in, out *onnx.Value, o *NewOptions, bad func(string, ...any) error) error {
	kind, shapeIn, shapeOut := in.Elem(), in.Shape(), out.Shape()
	layout := "NCHW"
	ih, iw, ic := 2, 3, 1
	if kind == onnx.Uint8 {
		layout, ih, iw, ic = "NHWC", 1, 2, 3
	}
	if (kind != onnx.Float && kind != onnx.Uint8) || len(shapeIn) != 4 || shapeIn[ic] != 3 || shapeIn[0] > 1 {
		return bad("has the input %q of %v %v", in.Name, kind, shapeIn)
	}
	if out.Elem() != onnx.Float || len(shapeOut) != 4 {
		return bad("has the output %q of %v %v, not logits", out.Name, out.Elem(), shapeOut)
	}
	if c := shapeOut[1]; c >= 0 && c != int64(len(b.Classes)) {
		return bad("gives %d classes, where %s lists %d", c, o.Classes, len(b.Classes))
	}
	shape := o.Shape
	for i, d := range []int64{shapeIn[ih], shapeIn[iw]} {
		switch {
		case d > 0 && shape[i] == 0:
			shape[i] = int(d)
		case d > 0 && shape[i] != int(d):
			return bad("takes %v, not the %dx%d that was asked for", shapeIn, o.Shape[1], o.Shape[0])
		case shape[i] <= 0:
			return bad("leaves its input size open: state height and width")
		}
	}
	b.Shapes = [][2]int{shape}
	h, w := int(shapeOut[2]), int(shapeOut[3])
	if h <= 0 || w <= 0 {
		return bad("leaves its output size open: export it for %dx%d", shape[1], shape[0])
	}
	if !b.setGrid(h, w) {
		return bad("gives logits of %dx%d for an input of %dx%d, which is no whole stride", w, h, shape[1], shape[0])
	}
	b.Graphs.Segment = &Graph{
		Input:  Port{Name: in.Name, Type: kind.String(), Layout: layout},
		Output: Port{Name: out.Name, Type: "float32", Layout: "NCHW"},
	}
	return nil
}

// setGrid sets the stride for logits of h x w, and their size where it does not follow from that.
func (b *Bundle) setGrid(h, w int) bool {
	s, edge := b.Shapes[0], 0
	if b.AlignCorners && (s[0]%h != 0 || s[1]%w != 0) {
		edge = 1 // the first and the last logit lie on pixels
	}
	step := func(n, m int) float64 { return float64(n-edge) / float64(max(m-edge, 1)) }
	b.Stride = max(int(math.Round((step(s[0], h)+step(s[1], w))/2)), 1)
	if lh, lw := b.LogitSize(s[0], s[1]); lh != h || lw != w {
		b.Logits = [][2]int{{h, w}}
	}
	return b.checkLogits() == nil
}

// write puts network, golden vectors and manifest into the bundle's directory.
func (b *Bundle) write(o *NewOptions, network []byte, warnings *[]string) (err error) {
	files := map[string]File{}
	b.Graphs.Segment.Files = files
	if files[FP32], err = b.put("segment.onnx", network); err != nil {
		return err
	}
	picture, made, err := goldenPicture(o.Picture, b.Shapes[0])
	if err != nil {
		return err
	}
	if made {
		*warnings = append(*warnings, "the golden picture is an artificial one: give a picture from your camera")
	}
	var buf bytes.Buffer
	if err := png.Encode(&buf, picture); err != nil {
		return err
	}
	if b.Golden.Image, err = b.put("golden/image.png", buf.Bytes()); err != nil {
		return err
	}
	if err := b.writeGolden(o.Engine, FP32); err != nil {
		return err
	}
	return b.writeManifest()
}

// writeManifest writes bundle.json.
func (b *Bundle) writeManifest() error {
	doc, err := encodeManifest(&b.Manifest)
	if err != nil {
		return err
	}
	_, err = b.put(ManifestName, doc)
	return err
}

// writeGolden runs the networks, which open opens in the given precision, on the
// golden picture and keeps what they give.
func (b *Bundle) writeGolden(open func(*Bundle) (Engine, error), precision string) error {
	if open == nil {
		return errors.New("no engine to make the golden vectors with")
	}
	e, err := open(b)
	if err != nil {
		return err
	}
	defer e.Close() //nolint:errcheck // the results are copies
	in, err := b.GoldenFrame()
	if err != nil {
		return err
	}
	var l frame.Logits
	if err := e.Infer(&l, in); err != nil {
		return err
	}
	data := make([]byte, 0, 4*len(l.Data))
	for _, v := range l.Data {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	mask := image.NewGray(image.Rect(0, 0, l.OutW, l.OutH))
	copy(mask.Pix, FullSizeArgMax(&l, b.AlignCorners))
	var buf bytes.Buffer
	if err := png.Encode(&buf, mask); err != nil {
		return err
	}
	var out GoldenOutput
	if out.Logits, err = b.put("golden/logits."+precision+".bin", data); err != nil {
		return err
	}
	if out.Mask, err = b.put("golden/mask."+precision+".png", buf.Bytes()); err != nil {
		return err
	}
	if b.Golden.Outputs == nil {
		b.Golden.Outputs = map[string]GoldenOutput{}
	}
	b.Golden.Outputs[precision] = out
	return nil
}
