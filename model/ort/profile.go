//go:build cgo

package ort

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"nightseg/model"
)

// event is an entry of the runtime's profile.
type event struct {
	Cat  string `json:"cat"`
	Name string `json:"name"`
	Args struct {
		Op       string `json:"op_name"`
		Provider string `json:"provider"`
		Index    string `json:"node_index"`
	} `json:"args"`
}

// provider gives the name that nightseg uses.
func (ev *event) provider() string {
	name := strings.ToLower(strings.TrimSuffix(ev.Args.Provider, "ExecutionProvider"))
	return map[string]string{
		"tensorrt": model.TensorRT, "cuda": model.CUDA, "openvino": model.OpenVINO, "cpu": model.CPU,
	}[name]
}

// profile runs a graph once and counts which provider ran its nodes. A provider
// that compiles (TensorRT, OpenVINO) shows as few nodes that stand for many: it
// gets those of the file that no other provider ran.
func (e *Engine) profile(src *source, p plan, nodes int) (map[string]int, error) {
	events, err := e.profileEvents(src, p)
	if err != nil {
		return nil, err
	}
	return shares(events, p.first(), nodes), nil
}

func shares(events []event, first string, nodes int) map[string]int {
	share := map[string]int{}
	compiles := first == model.TensorRT || first == model.OpenVINO
	others := 0
	for _, ev := range events {
		name := ev.provider()
		if name == first && compiles {
			continue
		}
		share[name]++
		others++
	}
	if compiles && nodes > others {
		share[first] = nodes - others
	}
	return share
}

// profileEvents runs a graph once with the runtime's profile on.
func (e *Engine) profileEvents(src *source, p plan) ([]event, error) {
	dir, err := os.MkdirTemp("", "nightseg-profile-")
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	s, err := e.create(src, p, filepath.Join(dir, "p"))
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	err = s.Run()
	keepSignalStack(func() { err = errors.Join(err, s.Destroy()) }) // the profile is written now
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "p*"))
	if err != nil || len(names) != 1 {
		return nil, errors.New("profile: the runtime wrote none")
	}
	data, err := os.ReadFile(names[0])
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return parseProfile(data)
}

// parseProfile returns the node runs of a profile.
func parseProfile(data []byte) ([]event, error) {
	var all []event
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	var nodes []event
	for _, ev := range all {
		if ev.Cat == "Node" && strings.HasSuffix(ev.Name, "_kernel_time") && ev.provider() != "" {
			nodes = append(nodes, ev)
		}
	}
	return nodes, nil
}
