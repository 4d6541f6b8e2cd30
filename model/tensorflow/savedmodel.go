//go:build tensorflow && cgo

package tensorflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	tf "github.com/tensorflow/tensorflow/tensorflow/go"

	"nightseg/model"
)

const remedyAgain = "remove the folder and run scripts/savedmodel.sh again"

// savedModels is savedmodel.json, which convert.py writes.
type savedModels struct {
	Schema  int       `json:"schema"`
	Bundle  string    `json:"bundle"`
	Segment *endpoint `json:"segment"`
	Relight *endpoint `json:"relight"`
}

// endpoint says what to feed to a SavedModel and what to fetch.
type endpoint struct {
	Dir    string `json:"dir"`
	Input  tensor `json:"input"`
	Output tensor `json:"output"`
}

type tensor struct {
	Name   string  `json:"name"` // operation:index
	Shape  []int64 `json:"shape"`
	Type   string  `json:"type"`
	Layout string  `json:"layout"`
}

// findSavedModels returns the folder with the SavedModels of a bundle: in the
// cache that was asked for, or in .cache/savedmodel of a checkout.
func findSavedModels(b *model.Bundle, cacheDir string) (string, error) {
	if cacheDir == "" {
		cacheDir = model.DefaultCacheDir()
	}
	dirs := []string{filepath.Join(cacheDir, "savedmodel")}
	if exe, err := os.Executable(); err == nil {
		dirs = append(dirs, above(filepath.Dir(exe))...)
	}
	if wd, err := os.Getwd(); err == nil {
		dirs = append(dirs, above(wd)...)
	}
	for _, d := range dirs {
		dir := filepath.Join(d, b.SHA256)
		if _, err := os.Stat(filepath.Join(dir, "savedmodel.json")); err == nil {
			return dir, nil
		}
	}
	return "", &model.FileError{
		File: b.Path, Remedy: "run scripts/savedmodel.sh " + b.Dir,
		Problem: fmt.Sprintf("has no SavedModel %.12s… in %s or in .cache/savedmodel of a checkout", b.SHA256, dirs[0]),
	}
}

// above lists .cache/savedmodel in a folder and those above it.
func above(dir string) []string {
	var dirs []string
	for {
		dirs = append(dirs, filepath.Join(dir, ".cache", "savedmodel"))
		up := filepath.Dir(dir)
		if up == dir {
			return dirs
		}
		dir = up
	}
}

func readSavedModels(dir string) (*savedModels, error) {
	name := filepath.Join(dir, "savedmodel.json")
	doc, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	m := new(savedModels)
	if err := json.Unmarshal(doc, m); err != nil || m.Schema != 1 || m.Segment == nil {
		return nil, &model.FileError{
			File: name, Problem: "is not what scripts/savedmodel.sh writes", Err: err,
			Remedy: remedyAgain,
		}
	}
	return m, nil
}

// session is one loaded SavedModel.
type session struct {
	saved *tf.SavedModel
	feed  tf.Output
	fetch []tf.Output
}

func (e *endpoint) load(dir string, threads int) (*session, error) {
	path := filepath.Join(dir, e.Dir)
	saved, err := tf.LoadSavedModel(path, []string{"serve"}, &tf.SessionOptions{Config: config(threads)})
	if err != nil {
		return nil, &model.FileError{
			File: path, Problem: "cannot be loaded", Err: err,
			Remedy: remedyAgain,
		}
	}
	s := &session{saved: saved}
	feed, err1 := output(saved.Graph, e.Input.Name)
	fetch, err2 := output(saved.Graph, e.Output.Name)
	if err := errors.Join(err1, err2); err != nil {
		return nil, errors.Join(&model.FileError{File: path, Err: err, Remedy: remedyAgain}, saved.Session.Close())
	}
	s.feed, s.fetch = feed, []tf.Output{fetch}
	return s, nil
}

// output finds a tensor by a name such as serving_default_x:0.
func output(g *tf.Graph, name string) (tf.Output, error) {
	var index int
	op := name
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == ':' {
			if _, err := fmt.Sscanf(name[i+1:], "%d", &index); err != nil {
				return tf.Output{}, fmt.Errorf("tensor name %q: %w", name, err)
			}
			op = name[:i]
			break
		}
	}
	o := g.Operation(op)
	if o == nil || index < 0 || index >= o.NumOutputs() {
		return tf.Output{}, fmt.Errorf("has no tensor %q", name)
	}
	return o.Output(index), nil
}

// config is a serialised ConfigProto: intra_op_parallelism_threads (field 2) and
// inter_op_parallelism_threads (field 5), both numbers.
func config(threads int) []byte {
	c := []byte{2 << 3}
	for v := uint(threads); ; v >>= 7 {
		if v < 0x80 {
			c = append(c, byte(v))
			break
		}
		c = append(c, byte(v)|0x80)
	}
	return append(c, 5<<3, 1)
}

func (s *session) run(in *tf.Tensor) (*tf.Tensor, error) {
	out, err := s.saved.Session.Run(map[tf.Output]*tf.Tensor{s.feed: in}, s.fetch, nil)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

func (s *session) close() error {
	if s == nil {
		return nil
	}
	return s.saved.Session.Close()
}
