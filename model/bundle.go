package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"nightseg/model/onnx"
)

// maxFile is the largest file of a bundle that is read, in bytes.
const maxFile = 1 << 30

const remedyCopy = "copy the bundle again, or make it again with its tools"

// Bundle is an opened bundle: its manifest, the directory with its files, and
// its identity.
type Bundle struct {
	Manifest
	Dir    string // where the files are
	Path   string // what Open was given
	SHA256 string // of the canonical bundle.json, hexadecimal

	own *Bundle // with the default shape of the files, where this one has another
}

// Open opens a bundle directory or a .tar.zst file of one. A .tar.zst file is
// unpacked once into DefaultCacheDir. The schema, the hash of every file and the
// inputs and outputs of every network are checked; errors name the file and the remedy.
func Open(path string) (*Bundle, error) { return OpenIn(path, "") }

// OpenIn is Open with a cache folder of its own; "" means DefaultCacheDir.
func OpenIn(path, cacheDir string) (*Bundle, error) {
	st, err := os.Stat(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &FileError{
				File: path, Problem: "no such bundle",
				Remedy: "give a bundle directory or a .tar.zst file of one",
			}
		}
		return nil, fmt.Errorf("bundle: %w", err)
	}
	if !st.IsDir() && filepath.Base(path) != ManifestName {
		return openArchive(path, cacheDirOr(cacheDir))
	}
	b := &Bundle{Dir: path, Path: path}
	if !st.IsDir() {
		b.Dir = filepath.Dir(path)
	}
	if err := b.load(); err != nil {
		return nil, err
	}
	return b, nil
}

// openArchive opens a .tar.zst file by way of the cache. Where the unpacked form
// was damaged in the cache, it is unpacked again.
func openArchive(path, cacheDir string) (*Bundle, error) {
	dir, fresh, err := unpackCached(path, cacheDir)
	if err != nil {
		return nil, err
	}
	b := &Bundle{Dir: dir, Path: path}
	err = b.load()
	if err == nil {
		return b, nil
	}
	if e := os.RemoveAll(dir); e != nil || fresh {
		return nil, errors.Join(err, e)
	}
	if dir, _, err = unpackCached(path, cacheDir); err != nil {
		return nil, err
	}
	b = &Bundle{Dir: dir, Path: path}
	if err := b.load(); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Bundle) load() error {
	name := filepath.Join(b.Dir, ManifestName)
	doc, err := readCapped(name, maxManifest)
	if err != nil {
		return &FileError{
			File: name, Problem: "cannot be read", Err: err,
			Remedy: "a bundle directory holds a bundle.json; see docs/bundles.md",
		}
	}
	m, err := ParseManifest(doc)
	if err != nil {
		return &FileError{
			File: name, Problem: "is not a valid bundle description", Err: err,
			Remedy: "see docs/bundles.md for every field",
		}
	}
	b.Manifest = *m
	if b.SHA256, err = Identity(doc); err != nil {
		return &FileError{File: name, Problem: "has no canonical form", Err: err}
	}
	return b.checkContent()
}

// checkContent hashes every file and looks into the networks.
func (b *Bundle) checkContent() error {
	var err error
	done := map[string]bool{}
	b.Graphs.Each(func(name string, g *Graph) {
		for _, p := range sortedKeys(g.Files) {
			if err != nil {
				return
			}
			var data []byte
			if data, err = b.read(g.Files[p]); err == nil {
				err = b.checkGraph(name, g, g.Files[p], data)
			}
			done[g.Files[p].File] = true
		}
	})
	if err != nil {
		return err
	}
	for _, f := range b.AllFiles() {
		if done[f.File] {
			continue
		}
		if _, err := b.read(f); err != nil {
			return err
		}
		done[f.File] = true
	}
	return nil
}

// path returns where a file of the bundle is.
func (b *Bundle) path(f File) string { return filepath.Join(b.Dir, filepath.FromSlash(f.File)) }

// FilePath returns the path of a file that the manifest names.
func (b *Bundle) FilePath(f File) string { return b.path(f) }

// read returns the bytes of a file after its hash was found right.
func (b *Bundle) read(f File) ([]byte, error) {
	name := b.path(f)
	data, err := readCapped(name, maxFile)
	if err != nil {
		return nil, &FileError{File: name, Problem: "cannot be read", Err: err, Remedy: remedyCopy}
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != f.SHA256 {
		return nil, &FileError{File: name, Problem: fmt.Sprintf("has %d bytes with sha256 %.12s…, where %s says %.12s…",
			len(data), got, ManifestName, f.SHA256), Remedy: "the file is damaged or another one: " + remedyCopy}
	}
	return data, nil
}

// checkGraph compares a network's inputs and outputs with what the manifest says.
func (b *Bundle) checkGraph(name string, g *Graph, f File, data []byte) error {
	bad := func(format string, args ...any) error {
		return &FileError{
			File: b.path(f), Problem: fmt.Sprintf(format, args...),
			Remedy: "export the network again so that it fits graphs." + name + " of " + ManifestName,
		}
	}
	m, err := onnx.Parse(data)
	if err != nil {
		return &FileError{File: b.path(f), Problem: "is not an ONNX network", Err: err, Remedy: remedyCopy}
	}
	if m.Graph.External() {
		return bad("keeps weights in other files, which a bundle cannot hold")
	}
	inputs := m.Graph.RealInputs()
	in, out := onnx.Find(inputs, g.Input.Name), onnx.Find(m.Graph.Outputs, g.Output.Name)
	if in == nil || len(inputs) != 1 {
		return bad("has the inputs [%s], not the single input %q", portNames(inputs), g.Input.Name)
	}
	if out == nil {
		return bad("has the outputs [%s], not %q", portNames(m.Graph.Outputs), g.Output.Name)
	}
	if i, o := in.Elem().String(), out.Elem().String(); i != g.Input.Type || o != g.Output.Type {
		return bad("has %s input and %s output, not %s and %s", i, o, g.Input.Type, g.Output.Type)
	}
	if name == "ranges" {
		return nil
	}
	if err := b.checkShape(name, g, in, out, bad); err != nil {
		return err
	}
	if len(b.Shapes) > 1 { // one stands for all: whether it can be resized is a matter of the file alone
		s := b.Shapes[1]
		if err := m.Graph.SetSize(g.Input.Name, g.Input.Axes(), s[0], s[1]); err != nil {
			return bad("cannot take pictures of %dx%d: %v", s[1], s[0], err)
		}
	}
	return nil
}

// checkShape compares a network's input and output with the default shape.
func (b *Bundle) checkShape(name string, g *Graph, in, out *onnx.Value, bad func(string, ...any) error) error {
	channels := len(b.Classes)
	if name == "relight" {
		channels = 3
	}
	s := b.Shapes[0]
	want := []int64{1, 3, int64(s[0]), int64(s[1])}
	if g.Input.Layout == "NHWC" {
		want = []int64{1, int64(s[0]), int64(s[1]), 3}
	}
	if !fits(in.Shape(), want) {
		return bad("takes an input of shape %v, not %v", in.Shape(), want)
	}
	oh, ow := s[0], s[1]
	if name != "relight" {
		oh, ow = b.LogitSize(oh, ow)
	}
	if want := []int64{1, int64(channels), int64(oh), int64(ow)}; !fits(out.Shape(), want) {
		return bad("gives an output of shape %v, not %v (%d classes, stride %d, logits %v)",
			out.Shape(), want, len(b.Classes), b.Stride, b.Logits)
	}
	return nil
}

// Own returns the bundle as its files have it: with the default shape that the
// golden vectors are of.
func (b *Bundle) Own() *Bundle {
	if b.own != nil {
		return b.own
	}
	return b
}

// At returns the bundle with one of its shapes as the default: engines, cameras
// and masks then have that size.
//
// A shape that the bundle does not hold is an error that lists those it holds.
func (b *Bundle) At(shape [2]int) (*Bundle, error) {
	i := slices.Index(b.Shapes, shape)
	if i < 0 {
		var has []string
		for _, s := range b.Shapes {
			has = append(has, fmt.Sprintf("%dx%d", s[1], s[0]))
		}
		return nil, fmt.Errorf("bundle %s has no shape %dx%d; it has %s", b.Name, shape[1], shape[0],
			strings.Join(has, ", "))
	}
	if i == 0 {
		return b, nil
	}
	other := *b
	other.own = b.Own()
	other.Shapes = slices.Concat([][2]int{shape}, b.Shapes[:i], b.Shapes[i+1:])
	if len(b.Logits) > 0 {
		other.Logits = slices.Concat([][2]int{b.Logits[i]}, b.Logits[:i], b.Logits[i+1:])
	}
	return &other, nil
}

// fits reports whether a declared shape, -1 for a free dimension, can be want.
func fits(declared, want []int64) bool {
	if declared == nil {
		return true // the file does not say
	}
	if len(declared) != len(want) {
		return false
	}
	for i, d := range declared {
		if d >= 0 && d != want[i] {
			return false
		}
	}
	return true
}

func portNames(values []*onnx.Value) string {
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = v.Name
	}
	return strings.Join(names, ", ")
}

// readCapped reads a regular file of at most limit bytes.
func readCapped(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, bareError(err)
	}
	defer f.Close() //nolint:errcheck // only read from
	st, err := f.Stat()
	if err != nil {
		return nil, bareError(err)
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("has %d bytes, more than the %d that are allowed", st.Size(), limit)
	}
	buf := bytes.NewBuffer(make([]byte, 0, st.Size()+bytes.MinRead))
	if _, err := buf.ReadFrom(io.LimitReader(f, limit)); err != nil {
		return nil, bareError(err)
	}
	return buf.Bytes(), nil
}

// bareError drops the path that the caller states anyway.
func bareError(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
