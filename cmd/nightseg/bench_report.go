package main

import (
	"fmt"
	"slices"
	"strings"
)

// Limits of what the loop may add to the networks.
const (
	limitOutsideMs  = 2.0  // processor time per frame outside the networks
	limitShare      = 0.20 // of a frame's processor time
	limitDecideMs   = 0.5  // 99th percentile of the decision of logits at 1/8 of the picture
	limitDecide19Ms = 0.8  // the same of more than 11 classes
	limitWallFactor = 1.05 // wall time per frame to (networks + half of the time outside)
	limitColdMs     = 3000
	limitWarmMs     = 1500
)

// benchInfo says what was timed.
type benchInfo struct {
	Bundle    string             `json:"bundle"`
	SHA256    string             `json:"bundle_sha256"`
	Engine    string             `json:"engine"`
	Provider  string             `json:"provider"`
	Precision string             `json:"precision"`
	Library   string             `json:"library"`
	Threads   int                `json:"threads"`
	Parallel  int                `json:"parallel"` // frames in the networks at a time
	NodeShare map[string]float64 `json:"node_share"`
	LoadMs    float64            `json:"load_ms"`
	Relight   string             `json:"relight"`
	Codec     string             `json:"codec"`
	Pictures  string             `json:"pictures"`
	Shape     [2]int             `json:"shape"` // height, width
	Classes   int                `json:"classes"`
	Frames    int                `json:"frames_per_round"`
	Rounds    int                `json:"rounds"`
	Broker    string             `json:"broker"`
}

// benchResult is what bench found, as --json prints it. Times are in ms per
// frame; "core" is processor time of all threads of the process.
type benchResult struct {
	benchInfo
	Others     spread            `json:"other_programs_cores"`
	Decode     spread            `json:"decode_core"`
	Fit        spread            `json:"fit_core"`
	Segment    spread            `json:"segment_wall"`  // the segmentation network alone, normalising included
	Networks   spread            `json:"networks_wall"` // both networks alone
	Relit      spread            `json:"relight_wall"`  // their difference
	NetCore    spread            `json:"networks_core"`
	Stages     map[string]spread `json:"stages_core"`  // the loop's own threads, without networks
	Outside    spread            `json:"outside_core"` // the loop with networks that cost nothing
	Wall       spread            `json:"loop_wall"`
	Core       spread            `json:"loop_core"`
	Share      spread            `json:"outside_share"`
	WallFactor spread            `json:"wall_factor"`
	Decide     spread            `json:"decide_wall"` // the decision alone, mean over the frames
	DecideP99  spread            `json:"decide_p99"`
	Eighth     spread            `json:"decide_eighth_p99"`     // with logits at 1/8 of the picture
	DecideMost spread            `json:"decide_noise"`          // the slowest on random logits: borders in each cell
	Allocs     float64           `json:"allocations_per_frame"` // with broker and networks, in the whole process
	AllocsLoop float64           `json:"allocations_per_frame_without_broker"`
	Starts     *startTimes       `json:"starts,omitempty"`
	Limits     []limit           `json:"limits"`
}

// limit is a bound that a figure is held to.
type limit struct {
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Limit float64 `json:"limit"`
	Holds bool    `json:"holds"`
}

// spread is a figure over the rounds.
type spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	return spread{Min: s[0], Median: (s[(n-1)/2] + s[n/2]) / 2, Max: s[n-1]}
}

func (s spread) String() string {
	return fmt.Sprintf("%7.2f  (%.2f to %.2f)", s.Median, s.Min, s.Max)
}

// result turns the rounds into figures.
func (bn *bench) result(rounds []benchRound) (*benchResult, error) {
	over := func(f func(r *benchRound) float64) spread {
		values := make([]float64, len(rounds))
		for i := range rounds {
			values[i] = f(&rounds[i])
		}
		return spreadOf(values)
	}
	r := &benchResult{
		benchInfo:  bn.info(),
		Others:     over(func(r *benchRound) float64 { return r.others }),
		Decode:     over(func(r *benchRound) float64 { return r.decode }),
		Fit:        over(func(r *benchRound) float64 { return r.fit }),
		Segment:    over(func(r *benchRound) float64 { return r.segment.wall }),
		Networks:   over(func(r *benchRound) float64 { return r.networks.wall }),
		Relit:      over(func(r *benchRound) float64 { return r.networks.wall - r.segment.wall }),
		NetCore:    over(func(r *benchRound) float64 { return r.networks.core }),
		Outside:    over(func(r *benchRound) float64 { return r.outside.core }),
		Wall:       over(func(r *benchRound) float64 { return r.whole.wall }),
		Core:       over(func(r *benchRound) float64 { return r.whole.core }),
		Share:      over(func(r *benchRound) float64 { return r.outside.core / r.whole.core }),
		WallFactor: over((*benchRound).wallFactor),
		Decide:     over(func(r *benchRound) float64 { return r.decide.mean }),
		DecideP99:  over(func(r *benchRound) float64 { return r.decide.p99 }),
		Eighth:     over(func(r *benchRound) float64 { return r.decide.eighth }),
		DecideMost: over(func(r *benchRound) float64 { return r.decide.noise }),
		Stages:     map[string]spread{},
		Allocs:     bn.allocs.whole, AllocsLoop: bn.allocs.unsent,
	}
	for name := range rounds[0].stages {
		if name != "networks" { // the stand-in
			r.Stages[name] = over(func(r *benchRound) float64 { return r.stages[name] })
		}
	}
	return r, bn.f.refuseBusy(r.Others)
}

// wallFactor is the wall time of the loop to what it may be: the networks, and
// half of the rest, which the other core can do meanwhile.
func (r *benchRound) wallFactor() float64 { return r.whole.wall / (r.networks.wall + r.outside.core/2) }

// refuseBusy refuses figures that were taken while other programs worked.
func (f *benchFlags) refuseBusy(others spread) error {
	if others.Max <= quietDuring || f.force {
		return nil
	}
	return fail(exitRefused, "other programs kept up to %.2f cores busy while timing: "+
		"the times are not worth much; end them, or give --force", others.Max)
}

// limits holds the figures against their bounds.
func (r *benchResult) limits() []limit {
	decision := limitDecideMs
	if r.Classes > 11 {
		decision = limitDecide19Ms
	}
	list := []limit{
		{What: "processor time outside the networks, ms a frame", Value: r.Outside.Median, Limit: limitOutsideMs},
		{What: "its share of a frame's processor time", Value: r.Share.Median, Limit: limitShare},
		{What: "wall time to (networks + half of that)", Value: r.WallFactor.Median, Limit: limitWallFactor},
		{What: "decision of logits at 1/8 of the picture, 99th percentile, ms", Value: r.Eighth.Median, Limit: decision},
	}
	if r.Starts != nil {
		list = append(list,
			limit{What: "cold start to the first mask, ms", Value: spreadOf(r.Starts.Cold).Median, Limit: limitColdMs},
			limit{What: "warm start to the first mask, ms", Value: spreadOf(r.Starts.Warm).Median, Limit: limitWarmMs})
	}
	for i := range list {
		list[i].Holds = list[i].Value <= list[i].Limit
	}
	return list
}

func (a *app) benchReport(f *benchFlags, r *benchResult) error {
	r.Limits = r.limits()
	if a.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
	}
	a.printf("%s", r.text())
	broken := 0
	for _, l := range r.Limits {
		if !l.Holds {
			broken++
		}
	}
	if f.check && broken > 0 {
		return fail(exitRefused, "%d of %d limits do not hold", broken, len(r.Limits))
	}
	return nil
}

// text is the report for people.
func (r *benchResult) text() string {
	var s strings.Builder
	line := func(name string, v spread) { fmt.Fprintf(&s, "  %-28s %v\n", name, v) }
	fmt.Fprintf(&s, "%s, %s on %s, %d threads, %d frames at a time; relight %s; %d x %d; %s\n", r.Bundle, r.Precision,
		r.Provider, r.Threads, r.Parallel, r.Relight, r.Shape[1], r.Shape[0], r.Library)
	for _, p := range sortedKeys(r.NodeShare) {
		fmt.Fprintf(&s, "%.0f %% of the nodes on %s\n", 100*r.NodeShare[p], p)
	}
	fmt.Fprintf(&s, "%d rounds of %d frames (%s); broker %s; other programs kept %.2f cores busy\n\n",
		r.Rounds, r.Frames, r.Pictures, r.Broker, r.Others.Median)
	s.WriteString("ms a frame, wall time                median  (least to most)\n")
	line("segmentation alone", r.Segment)
	line("relighting adds", r.Relit)
	line("networks alone", r.Networks)
	line("whole loop", r.Wall)
	s.WriteString("ms a frame, one thread, wall time\n")
	line("decide", r.Decide)
	line("  99th percentile", r.DecideP99)
	line("  logits at 1/8, the same", r.Eighth)
	line("  random logits, the slowest", r.DecideMost)
	s.WriteString("ms a frame, processor time of one thread\n")
	line("decode", r.Decode)
	line("fit", r.Fit)
	for _, name := range []string{"capture", "relight", "decide", "encode", "publish"} {
		line("stage "+name, r.Stages[name])
	}
	s.WriteString("ms a frame, processor time of all threads\n")
	line("outside the networks", r.Outside)
	line("networks alone", r.NetCore)
	line("whole loop", r.Core)
	fmt.Fprintf(&s, "\nobjects allocated a frame: %.2f with broker %s, %.2f without\n",
		r.Allocs, r.Broker, r.AllocsLoop)
	if r.Starts != nil {
		fmt.Fprintf(&s, "start to first mask, ms: cold %v, warm %v\n",
			spreadOf(r.Starts.Cold), spreadOf(r.Starts.Warm))
	}
	s.WriteString("\n")
	for _, l := range r.Limits {
		fmt.Fprintf(&s, "%s %s: %.4g (limit %g)\n", holds(l.Holds), l.What, l.Value, l.Limit)
	}
	return s.String()
}
