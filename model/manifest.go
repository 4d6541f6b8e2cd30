// Package model holds the bundle: a directory, or one .tar.zst file of it, with
// the networks and every constant that inference needs (classes, input size,
// normalisation, corner rule, class shares, tolerances, golden vectors). It
// opens and checks bundles, packs them, makes them from a user's own network,
// and replays their golden vectors on an engine. The engines are in model/ort
// and model/tensorflow.
package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// SchemaVersion is the bundle.json version that this package reads and writes.
const SchemaVersion = 1

// ManifestName is the file in a bundle that describes the rest.
const ManifestName = "bundle.json"

// maxManifest is the largest bundle.json that is read, in bytes.
const maxManifest = 1 << 20

// The numeric precisions that a bundle may hold its graphs in.
const (
	FP32 = "fp32"
	FP16 = "fp16"
	INT8 = "int8"
	Auto = "auto" // int8 where the bundle has it, else fp32
)

// Manifest is the content of bundle.json.
type Manifest struct {
	Schema       int                  `json:"schema"`
	Name         string               `json:"name"`
	Version      string               `json:"version"`
	Created      time.Time            `json:"created"`
	Licence      string               `json:"licence"`
	Classes      []Class              `json:"classes"`
	Unknown      Unknown              `json:"unknown"`
	Shapes       [][2]int             `json:"shapes"` // [H, W], the first is the default, which the files are made for
	Resize       Resize               `json:"resize"`
	Normalise    Normalise            `json:"normalise"`
	AlignCorners bool                 `json:"align_corners"`
	Stride       int                  `json:"stride"`           // input pixels per logit, in both directions
	Logits       [][2]int             `json:"logits,omitempty"` // [H, W] per shape, where not shape / Stride rounded up
	Graphs       Graphs               `json:"graphs"`
	ClassShares  []float64            `json:"class_shares"`      // share of each class among labelled pixels, sum 1
	Relight      string               `json:"relight,omitempty"` // mode it is best with; see RelightMode
	Reweight     Reweight             `json:"reweight"`
	Temperature  float64              `json:"temperature"` // logits are divided by it before a probability is taken
	Calibration  json.RawMessage      `json:"calibration,omitempty"`
	Gate         *Gate                `json:"gate,omitempty"`
	Training     json.RawMessage      `json:"training,omitempty"`
	Tolerance    map[string]Tolerance `json:"tolerance"` // by precision, or by "precision/provider"
	Golden       Golden               `json:"golden"`
	Card         Card                 `json:"card"`
}

// Class is one entry of the palette; its ID is the value in the mask.
type Class struct {
	ID     int      `json:"id"`
	Name   string   `json:"name"`
	Colour [3]uint8 `json:"colour"` // red, green, blue
	Static bool     `json:"static"` // the thing cannot move
}

// Unknown is the palette entry of a pixel without a class.
type Unknown struct {
	Index  int      `json:"index"`
	Colour [3]uint8 `json:"colour"`
}

// Resize says how a camera picture becomes the network's input size.
type Resize struct {
	Filter    string `json:"filter"` // bilinear or nearest
	Antialias bool   `json:"antialias"`
	Fit       string `json:"fit"` // stretch, crop or letterbox
}

// Normalise holds the mean and standard deviation per channel (red, green,
// blue) of a value between 0 and 1: x = (value/255 - mean) / std.
type Normalise struct {
	Mean [3]float64 `json:"mean"`
	Std  [3]float64 `json:"std"`
}

// Graphs are the networks of a bundle. Segment is always there; the others are
// nil where the bundle lacks them.
type Graphs struct {
	Relight *Graph `json:"relight,omitempty"` // picture -> relit picture in normalised units
	Segment *Graph `json:"segment,omitempty"` // picture or relit picture -> logits
	Fused   *Graph `json:"fused,omitempty"`   // picture -> logits of the relit picture
	Ranges  *Graph `json:"ranges,omitempty"`  // picture -> value ranges, for calibration
}

// Each calls fn for every graph that is there, in a fixed order.
func (g *Graphs) Each(fn func(name string, g *Graph)) {
	for _, e := range []struct {
		name string
		g    *Graph
	}{{"relight", g.Relight}, {"segment", g.Segment}, {"fused", g.Fused}, {"ranges", g.Ranges}} {
		if e.g != nil {
			fn(e.name, e.g)
		}
	}
}

// Graph is one network: a file per precision, all with the same input and output.
type Graph struct {
	Input  Port            `json:"input"`
	Output Port            `json:"output"`
	Files  map[string]File `json:"files"`
}

// Port is an input or output of a graph.
type Port struct {
	Name   string `json:"name"`
	Type   string `json:"type"`   // float32 or uint8
	Layout string `json:"layout"` // NCHW or NHWC, N is 1
}

// Axes returns which dimensions are height and width.
func (p *Port) Axes() [2]int {
	if p.Layout == "NHWC" {
		return [2]int{1, 2}
	}
	return [2]int{2, 3}
}

// File names a file of the bundle, relative to its directory, with the sha256
// of its bytes in hexadecimal.
type File struct {
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
}

// Reweight is the default re-weighting of class probabilities; see edge/decide.
type Reweight struct {
	Mode string  `json:"mode"` // probability or logit
	Std  float64 `json:"std"`
}

// Tolerance says how near an engine must come to the golden vectors.
type Tolerance struct {
	LogitsRelative float64 `json:"logits_relative"` // max |difference| of logits / range of the expected ones
	MaskAgreement  float64 `json:"mask_agreement"`  // share of equal pixels in the mask
}

// Golden names the test vectors: one picture of the default shape and what each
// precision makes of it.
type Golden struct {
	Image   File                    `json:"image"` // RGB PNG
	Outputs map[string]GoldenOutput `json:"outputs"`
}

// GoldenOutput is what a precision makes of the golden picture, relit by the
// bundle's network where it has one: logits as little-endian float32, class-major,
// and the mask of their arg-max at full size, not re-weighted, as grey PNG.
type GoldenOutput struct {
	Logits File `json:"logits"`
	Mask   File `json:"mask"`
}

// Card is the model card.
type Card struct {
	IntendedUse string
	Data        string
	Limits      string
	More        map[string]string // entries under other names; nil without any
}

// MarshalJSON writes the entries under their names.
func (c Card) MarshalJSON() ([]byte, error) {
	all := map[string]string{"intended_use": c.IntendedUse, "data": c.Data, "limits": c.Limits}
	maps.Copy(all, c.More)
	var doc bytes.Buffer
	enc := json.NewEncoder(&doc)
	enc.SetEscapeHTML(false)
	err := enc.Encode(all)
	return doc.Bytes(), err
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (c *Card) UnmarshalJSON(doc []byte) error {
	var all map[string]string
	if err := json.Unmarshal(doc, &all); err != nil {
		return err
	}
	*c = Card{IntendedUse: all["intended_use"], Data: all["data"], Limits: all["limits"]}
	for _, known := range []string{"intended_use", "data", "limits"} {
		delete(all, known)
	}
	if len(all) > 0 {
		c.More = all
	}
	return nil
}

// ParseManifest reads a bundle.json. The document must fit the JSON Schema (see
// SchemaJSON) and agree with itself; errors name the place in the document.
func ParseManifest(doc []byte) (*Manifest, error) {
	if len(doc) > maxManifest {
		return nil, fmt.Errorf("larger than %d bytes", maxManifest)
	}
	if err := validate(doc); err != nil {
		return nil, err
	}
	m := new(Manifest)
	if err := json.Unmarshal(doc, m); err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

// check holds what the JSON Schema cannot say.
func (m *Manifest) check() error {
	for i, c := range m.Classes {
		if c.ID != i {
			return fmt.Errorf("classes: entry %d has id %d; ids must run from 0 in order", i, c.ID)
		}
		for _, o := range m.Classes[:i] {
			if o.Name == c.Name {
				return fmt.Errorf("classes: the name %q occurs twice", c.Name)
			}
		}
	}
	if len(m.ClassShares) != len(m.Classes) {
		return fmt.Errorf("class_shares: %d shares for %d classes", len(m.ClassShares), len(m.Classes))
	}
	sum := 0.0
	for _, a := range m.ClassShares {
		sum += a
	}
	if math.Abs(sum-1) > 1e-3 {
		return fmt.Errorf("class_shares: the sum is %g, not 1", sum)
	}
	for i, s := range m.Shapes {
		if s[0]*s[1] > 1<<26 {
			return fmt.Errorf("shapes: %dx%d is larger than 64 megapixels", s[1], s[0])
		}
		if slices.Contains(m.Shapes[:i], s) {
			return fmt.Errorf("shapes: %dx%d occurs twice", s[1], s[0])
		}
	}
	return errors.Join(m.checkLogits(), m.checkGraphs(), m.checkFiles())
}

// checkLogits refuses sizes of logits that are not near those of the stride.
func (m *Manifest) checkLogits() error {
	if len(m.Logits) == 0 {
		return nil
	}
	if len(m.Logits) != len(m.Shapes) {
		return fmt.Errorf("logits: %d sizes for %d shapes", len(m.Logits), len(m.Shapes))
	}
	for i, s := range m.Shapes {
		for k, n := range m.Logits[i] {
			if plain := m.steps(s[k]); n < plain-1 || n > plain+1 {
				return fmt.Errorf("logits: %dx%d for the shape %dx%d is not of the stride %d",
					m.Logits[i][1], m.Logits[i][0], s[1], s[0], m.Stride)
			}
		}
	}
	return nil
}

// steps is n divided by the stride, rounded up.
func (m *Manifest) steps(n int) int { return (n + m.Stride - 1) / m.Stride }

// LogitSize returns the height and width of the logits for an input of h x w pixels.
func (m *Manifest) LogitSize(h, w int) (lh, lw int) {
	if i := slices.Index(m.Shapes, [2]int{h, w}); i >= 0 && i < len(m.Logits) {
		return m.Logits[i][0], m.Logits[i][1]
	}
	return m.steps(h), m.steps(w)
}

func (m *Manifest) checkGraphs() error {
	want := map[string][2]string{ // type and layout of the output; the input may be either form
		"relight": {"float32", "NCHW"}, "segment": {"float32", "NCHW"}, "fused": {"float32", "NCHW"},
	}
	var err error
	m.Graphs.Each(func(name string, g *Graph) {
		if w, ok := want[name]; ok && (g.Output.Type != w[0] || g.Output.Layout != w[1]) {
			err = fmt.Errorf("graphs.%s.output: %s %s where %s %s is needed", name,
				g.Output.Type, g.Output.Layout, w[0], w[1])
		}
		picture := g.Input.Type == "uint8" && g.Input.Layout == "NHWC"
		if normal := g.Input.Type == "float32" && g.Input.Layout == "NCHW"; !picture && !normal {
			err = fmt.Errorf("graphs.%s.input: %s %s; a graph takes uint8 NHWC or float32 NCHW",
				name, g.Input.Type, g.Input.Layout)
		}
		if name == "relight" && !picture {
			err = errors.New("graphs.relight.input: a relight network takes the picture itself, uint8 NHWC")
		}
	})
	if r := m.Graphs.Relight; err == nil && r != nil && m.Graphs.Segment.Input.Type != "float32" &&
		m.Graphs.Fused == nil {
		return errors.New("graphs: a relight network needs a segment network with float32 input, or a fused graph")
	}
	return err
}

// checkFiles refuses names that lead out of the bundle, and one name with two hashes.
func (m *Manifest) checkFiles() error {
	seen := map[string]string{ManifestName: ""}
	for _, f := range m.AllFiles() {
		if !filepath.IsLocal(f.File) || strings.Contains(f.File, `\`) || filepath.Clean(f.File) != f.File {
			return fmt.Errorf("file name %q leads out of the bundle or is not in its plain form", f.File)
		}
		if old, ok := seen[f.File]; ok && old != f.SHA256 {
			return fmt.Errorf("file %s is named twice with different sha256", f.File)
		}
		seen[f.File] = f.SHA256
	}
	return nil
}

// AllFiles lists the files that the manifest names, in a fixed order.
func (m *Manifest) AllFiles() []File {
	var fs []File
	m.Graphs.Each(func(_ string, g *Graph) {
		for _, p := range sortedKeys(g.Files) {
			fs = append(fs, g.Files[p])
		}
	})
	fs = append(fs, m.Golden.Image)
	for _, p := range sortedKeys(m.Golden.Outputs) {
		fs = append(fs, m.Golden.Outputs[p].Logits, m.Golden.Outputs[p].Mask)
	}
	return fs
}

// Precision resolves "auto" or "" to what the bundle has, and refuses a
// precision that its segment network lacks.
func (m *Manifest) Precision(asked string) (string, error) {
	has := m.Graphs.Segment.Files
	if asked == "" || asked == Auto {
		for _, p := range []string{INT8, FP32, FP16} {
			if _, ok := has[p]; ok {
				return p, nil
			}
		}
	}
	if _, ok := has[asked]; !ok {
		return "", fmt.Errorf("precision %q: bundle %s has %s", asked, m.Name,
			strings.Join(sortedKeys(has), ", "))
	}
	return asked, nil
}

// FileFor returns the graph's file for a precision; where a graph lacks that
// precision its fp32 file is meant, so that a bundle may keep a sensitive graph
// (a relight network adds small values) in floating point.
func (g *Graph) FileFor(precision string) (f File, used string, ok bool) {
	for _, p := range []string{precision, FP32} {
		if f, ok = g.Files[p]; ok {
			return f, p, true
		}
	}
	return File{}, "", false
}

// ToleranceFor returns the tolerance for a precision on a provider.
func (m *Manifest) ToleranceFor(precision, provider string) (Tolerance, bool) {
	if t, ok := m.Tolerance[precision+"/"+provider]; ok {
		return t, true
	}
	t, ok := m.Tolerance[precision]
	return t, ok
}

// ClassNames returns the names in the order of their ids.
func (m *Manifest) ClassNames() []string {
	names := make([]string, len(m.Classes))
	for i, c := range m.Classes {
		names[i] = c.Name
	}
	return names
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
