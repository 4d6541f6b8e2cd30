package quantize

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"

	"nightseg/calibrate/observe"
	"nightseg/model"
)

// Record is what the bundle says of its calibration.
type Record struct {
	Tool     string              `json:"tool"`
	From     string              `json:"from"` // identity of the bundle with the float networks
	Drive    driveRecord         `json:"drive"`
	Choice   string              `json:"choice"`
	Frames   []int               `json:"frames"` // of the drive, from 0
	Plain    int                 `json:"plain_every"`
	Observer map[string]string   `json:"observer"` // by graph
	Weights  int                 `json:"weight_bits"`
	Pixels   bool                `json:"pixels"`   // the segmentation network reads pixels without loss
	Biases   string              `json:"biases"`   // how they make up for rounded weights
	Rounding string              `json:"rounding"` // of the weights
	Float    map[string][]string `json:"float"`    // nodes that stay float, by graph
	Search   any                 `json:"search,omitempty"`
	Engine   engineRecord        `json:"engine"`
}

// tool is what says that a record is of this package.
const tool = "nightseg calibrate quantize"

// ReadRecord reads the record of a bundle; nil where others made its networks.
func ReadRecord(b *model.Bundle) *Record {
	r := new(Record)
	if json.Unmarshal(b.Calibration, r) != nil || r.Tool != tool {
		return nil
	}
	return r
}

// String is the record in a few words.
func (r *Record) String() string {
	s := fmt.Sprintf("ranges of %d of %d frames of %s (%.12s)", len(r.Frames), r.Drive.Frames, r.Drive.Name,
		r.Drive.SHA256)
	for _, graph := range graphs {
		if how := r.Observer[graph]; how != "" {
			s += fmt.Sprintf(", %s %s", graph, how)
		}
	}
	s += fmt.Sprintf("; %s on %s", r.Engine.Library, r.Engine.Machine)
	for _, graph := range graphs {
		if kept := r.Float[graph]; len(kept) > 0 {
			s += fmt.Sprintf("\n%s stays float in %s", graph, strings.Join(kept, ", "))
		}
	}
	return s
}

type driveRecord struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"` // of the frames' pixels, in the bundle's size
	Frames int    `json:"frames"` // that were looked at
}

type engineRecord struct {
	Library  string `json:"library"`
	Provider string `json:"provider"`
	Threads  int    `json:"threads"`
	Machine  string `json:"machine"`
}

func (j *job) record(r *Result) Record {
	rec := Record{
		Tool: tool, From: j.Bundle.SHA256, Drive: j.state.Drive, Choice: j.Chooser.String(),
		Plain: plainEvery, Observer: map[string]string{}, Float: r.Kept,
		Weights: j.Weights, Pixels: len(j.fixed) > 0, Biases: "means", Rounding: "least error of the outputs",
		Engine: engineRecord{j.state.Library, model.CPU, j.Threads, j.Machine},
	}
	if rec.Engine.Threads <= 0 {
		rec.Engine.Threads = runtime.NumCPU()
	}
	for _, c := range j.state.Chosen {
		rec.Frames = append(rec.Frames, c.Index)
	}
	for _, name := range graphs {
		if j.plans[name] == nil {
			continue
		}
		s := j.settingsOf(name)
		rec.Observer[name] = string(s.Method)
		if s.Method == observe.Percentile {
			rec.Observer[name] = fmt.Sprintf("%s %g", s.Method, s.Percentile)
		}
	}
	return rec
}
