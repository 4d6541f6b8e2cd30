package edge

import (
	"time"

	"nightseg/edge/frame"
)

// Snapshot is what a loop has done since its start. The difference of two is
// what it did in between, see Since.
type Snapshot struct {
	at      time.Duration
	masks   uint64
	refused uint64 // frames that relighting, the networks or the decision did not take
	classes [256]uint64
	pixels  uint64
	latency [buckets]uint32
}

// Snapshot fills s.
func (r *Recorder) Snapshot(s *Snapshot) {
	s.at = frame.Mono()
	s.masks = r.masks.Load()
	s.refused = r.drops[DropRelight].Load() + r.drops[DropInfer].Load() + r.drops[DropDecide].Load()
	for i := range s.latency {
		s.latency[i] = r.whole[StageTotal].counts[i].Load()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.classes, s.pixels = r.classes, r.pixels
}

// Window is what a loop did between two snapshots.
type Window struct {
	Seconds float64 `json:"seconds"`
	Masks   uint64  `json:"masks"`
	Refused uint64  `json:"refused"` // frames that a stage did not take, such as of logits that are not finite
	FPS     float64 `json:"fps"`
	P95     float64 `json:"p95_ms"`        // of the time from capture to the broker
	Largest float64 `json:"largest_share"` // of the pixels that have a class: that of the most frequent one
	Unknown float64 `json:"unknown_share"` // of all pixels
}

// Since returns what happened between an older snapshot and this one.
func (s *Snapshot) Since(old *Snapshot) Window {
	w := Window{
		Seconds: (s.at - old.at).Seconds(), Masks: s.masks - old.masks, Refused: s.refused - old.refused,
	}
	if w.Seconds > 0 {
		w.FPS = float64(w.Masks) / w.Seconds
	}
	var n, seen uint64
	for i := range s.latency {
		n += uint64(s.latency[i] - old.latency[i])
	}
	for i := range s.latency {
		seen += uint64(s.latency[i] - old.latency[i])
		if n > 0 && float64(seen) >= 0.95*float64(n) {
			w.P95 = bucketValue(i) / 1000
			break
		}
	}
	pixels := s.pixels - old.pixels
	unknown := s.classes[frame.Unknown] - old.classes[frame.Unknown]
	if pixels > 0 {
		w.Unknown = float64(unknown) / float64(pixels)
	}
	if pixels > unknown {
		var most uint64
		for k := range frame.Unknown {
			most = max(most, s.classes[k]-old.classes[k])
		}
		w.Largest = float64(most) / float64(pixels-unknown)
	}
	return w
}
