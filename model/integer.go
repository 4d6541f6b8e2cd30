package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"
)

// integerTolerance is that of integer networks whose bundle states none: what one
// provider rounds up, another may round down, and the next layers see it.
var integerTolerance = Tolerance{LogitsRelative: 0.1, MaskAgreement: 0.98}

// IntegerOptions say how a bundle becomes a version of itself with other integer
// networks.
type IntegerOptions struct {
	Out     string // directory to make; it must not be there yet
	Version string // of the new bundle
	// Networks are the integer networks by the names of their graphs; a graph without
	// one runs in fp32.
	Networks    map[string][]byte
	Calibration json.RawMessage // the record of how they were made
	Gate        *Gate           // the record of the gate on them, without its subject; nil: none
	Now         time.Time       // written as the time of creation
	// Engine opens an engine on the bundle, to make the golden vectors.
	Engine func(*Bundle) (Engine, error)
}

// NewIntegers writes a version of the bundle with the given integer networks into
// a directory, with golden vectors that the engine makes, and opens it. All else
// is as it was; notes that the manifest does not name stay behind.
func (b *Bundle) NewIntegers(o IntegerOptions) (n *Bundle, err error) {
	if err := os.Mkdir(o.Out, 0o755); err != nil {
		return nil, fmt.Errorf("new bundle: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(o.Out)) // no half bundle stays
		}
	}()
	n = &Bundle{Manifest: b.Manifest, Dir: o.Out, Path: o.Out}
	n.Version, n.Created, n.Calibration = o.Version, o.Now.UTC().Truncate(time.Second), o.Calibration
	n.Gate = nil // it would be of other integer networks
	n.Tolerance, n.Golden.Outputs = maps.Clone(b.Tolerance), maps.Clone(b.Golden.Outputs)
	if _, stated := n.Tolerance[INT8]; !stated {
		n.Tolerance[INT8] = integerTolerance
	}
	if err := n.putIntegers(o.Networks); err != nil {
		return nil, fmt.Errorf("new bundle: %w", err)
	}
	delete(n.Golden.Outputs, INT8)
	for _, f := range n.AllFiles() {
		if err := n.copyFrom(b, f); err != nil {
			return nil, err
		}
	}
	if err := n.writeGolden(o.Engine, INT8); err != nil {
		return nil, fmt.Errorf("new bundle: %w", err)
	}
	if o.Gate != nil {
		record := *o.Gate
		if record.Subject, err = n.Subject(); err != nil {
			return nil, fmt.Errorf("new bundle: %w", err)
		}
		n.Gate = &record
	}
	if err := n.writeManifest(); err != nil {
		return nil, fmt.Errorf("new bundle: %w", err)
	}
	return Open(o.Out)
}

// Trial returns the bundle with other integer networks, which are written into a
// folder, to try them. It is no bundle on the disk: what an engine needs of it is
// in the folder, and gone with that.
func (b *Bundle) Trial(dir string, networks map[string][]byte) (*Bundle, error) {
	t := &Bundle{Manifest: b.Manifest, Dir: dir, Path: b.Path, SHA256: b.SHA256}
	err := t.putIntegers(networks)
	t.Graphs.Each(func(_ string, g *Graph) {
		if f, used, ok := g.FileFor(INT8); ok && used != INT8 && err == nil {
			err = t.copyFrom(b, f)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("bundle to try: %w", err)
	}
	return t, nil
}

// putIntegers replaces the integer networks of all graphs.
func (b *Bundle) putIntegers(networks map[string][]byte) error {
	var err error
	replace := func(name string, g *Graph) *Graph {
		if g == nil || err != nil {
			return g
		}
		changed := *g
		changed.Files = maps.Clone(g.Files)
		delete(changed.Files, INT8)
		if data, ok := networks[name]; ok {
			changed.Files[INT8], err = b.put(name+".int8.onnx", data)
		}
		return &changed
	}
	g := &b.Graphs
	g.Relight, g.Segment = replace("relight", g.Relight), replace("segment", g.Segment)
	g.Fused, g.Ranges = replace("fused", g.Fused), replace("ranges", g.Ranges)
	return err
}

// copyFrom copies a file of another bundle unless it is there.
func (b *Bundle) copyFrom(old *Bundle, f File) error {
	if _, err := os.Stat(b.path(f)); err == nil {
		return nil
	}
	data, err := old.read(f)
	if err != nil {
		return err
	}
	_, err = b.put(filepath.ToSlash(f.File), data)
	return err
}
