package edge

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"nightseg/edge/frame"
)

// Stage names a part of the loop whose time is measured.
type Stage uint8

// The stages. StageTotal is from capture to the hand-over to the broker.
const (
	StageCapture Stage = iota
	StageRelight
	StageInfer
	StageDecide
	StageEncode
	StagePublish
	StageTotal
	stageCount
)

var stageNames = [stageCount]string{"capture", "relight", "networks", "decide", "encode", "publish", "total"}

// String returns the stage's name in reports.
func (s Stage) String() string { return stageNames[s] }

// Drop is a reason for which a frame got no mask, or a mask was not sent.
type Drop uint8

// The reasons.
const (
	DropSource  Drop = iota // the source could not deliver it
	DropOverrun             // the networks were busy and a newer one came
	DropRelight             // relighting refused it
	DropInfer               // the networks refused it, or their output was not finite
	DropDecide              // the decision failed
	DropEncode              // the message could not be made
	DropPublish             // the publisher refused it
	dropCount
)

var dropNames = [dropCount]string{"source", "overrun", "relight", "networks", "decide", "encode", "publish"}

// String returns the reason's name in reports.
func (d Drop) String() string { return dropNames[d] }

// Rows of a mask that are counted for the class shares: each eighth.
const shareRows = 8

// Recorder counts what happens in a loop. All methods may be called from any
// goroutine; recording allocates nothing.
type Recorder struct {
	captured atomic.Uint64
	masks    atomic.Uint64
	bytes    atomic.Uint64
	drops    [dropCount]atomic.Uint64
	cpu      [stageCount]atomic.Int64 // nanoseconds of thread time
	whole    [stageCount]histogram
	interval [stageCount]histogram
	first    atomic.Int64 // Mono of the first mask sent
	last     atomic.Int64

	mu      sync.Mutex
	classes [256]uint64
	pixels  uint64
	luma    float64
	gain    float64
	lumaN   uint64
	light   light
	told    struct { // at the last Interval
		since   time.Duration
		sent    uint64
		classes [256]uint64
		pixels  uint64
	}
}

// light is what is known of it at the last mask.
type light struct {
	lux      float32
	exposure time.Duration
	gain     float32
}

// NewRecorder returns an empty recorder.
func NewRecorder() *Recorder {
	r := &Recorder{}
	r.told.since = frame.Mono()
	return r
}

// Drop counts a lost frame.
func (r *Recorder) Drop(why Drop) { r.drops[why].Add(1) }

func (r *Recorder) time(s Stage, d time.Duration) {
	r.whole[s].add(d)
	r.interval[s].add(d)
}

// classCounts counts the classes of every eighth row. Neighbours are mostly alike: four
// tables take turns, so that no count waits for the one before it.
func classCounts(m *frame.Mask) (sum [256]uint32) {
	var c [4][256]uint32
	for y := 0; y < m.H; y += shareRows {
		row := m.Class[y*m.W : (y+1)*m.W]
		for len(row) >= 4 {
			q := (*[4]uint8)(row)
			c[0][q[0]]++
			c[1][q[1]]++
			c[2][q[2]]++
			c[3][q[3]]++
			row = row[4:]
		}
		for _, k := range row {
			c[0][k]++
		}
	}
	for k := range sum {
		sum[k] = c[0][k] + c[1][k] + c[2][k] + c[3][k]
	}
	return sum
}

// mask counts the classes, the luma and the gain of a decided frame.
func (r *Recorder) mask(m *frame.Mask) {
	c := classCounts(m)
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, n := range c {
		r.classes[k] += uint64(n)
	}
	r.pixels += uint64((m.H + shareRows - 1) / shareRows * m.W)
	r.luma += float64(m.Luma)
	r.gain += float64(m.Gain)
	r.lumaN++
	r.light = light{m.Lux, m.Exposure, m.CameraGain}
}

func (r *Recorder) published(m *frame.Mask, n int) {
	now := frame.Mono()
	r.masks.Add(1)
	r.bytes.Add(uint64(n))
	r.time(StageTotal, now-m.Mono)
	r.first.CompareAndSwap(0, int64(now))
	r.last.Store(int64(now))
}

// Totals are the counts of a whole run.
type Totals struct {
	Captured  uint64               `json:"captured"`
	Masks     uint64               `json:"masks"`
	Drops     map[string]uint64    `json:"drops"`
	MaskBytes uint64               `json:"mask_bytes"`
	Stages    map[string]Quantiles `json:"stages_ms"`
	CoreMs    map[string]float64   `json:"core_ms,omitempty"` // mean thread time per frame and stage
	First     time.Duration        `json:"-"`                 // Mono of the first mask sent, 0 when none was
	Last      time.Duration        `json:"-"`
}

// Dropped is the sum of all drops.
func (t *Totals) Dropped() uint64 {
	var n uint64
	for _, v := range t.Drops {
		n += v
	}
	return n
}

// Totals returns the counts since the start.
func (r *Recorder) Totals() Totals {
	t := Totals{
		Captured:  r.captured.Load(),
		Masks:     r.masks.Load(),
		MaskBytes: r.bytes.Load(),
		Drops:     r.dropMap(),
		Stages:    map[string]Quantiles{},
		First:     time.Duration(r.first.Load()),
		Last:      time.Duration(r.last.Load()),
	}
	for s := range stageCount {
		t.Stages[s.String()] = r.whole[s].quantiles(false)
		if ns := r.cpu[s].Load(); ns > 0 && t.Masks > 0 {
			if t.CoreMs == nil {
				t.CoreMs = map[string]float64{}
			}
			t.CoreMs[s.String()] = float64(ns) / float64(t.Masks) / 1e6
		}
	}
	return t
}

func (r *Recorder) dropMap() map[string]uint64 {
	m := make(map[string]uint64, dropCount)
	for d := range dropCount {
		m[d.String()] = r.drops[d].Load()
	}
	return m
}

// Report is what is published each second under cam/<id>/stats. Shares are
// taken from each eighth row of the masks; times are in milliseconds.
type Report struct {
	FPS         float64              `json:"fps"`
	Captured    uint64               `json:"captured"`
	Masks       uint64               `json:"masks"`
	MaskBytes   uint64               `json:"mask_bytes"`
	Drops       map[string]uint64    `json:"drops"`
	Stages      map[string]Quantiles `json:"stages_ms"`
	ClassShares []float64            `json:"class_shares"`
	Unknown     float64              `json:"unknown_share"`
	Luma        float64              `json:"mean_luma"`
	Gain        float64              `json:"relight_gain"`
	Seconds     float64              `json:"seconds"`

	// Of the last mask; absent where they are not known.
	Lux        float64 `json:"lux,omitempty"`
	ExposureMs float64 `json:"exposure_ms,omitempty"`
	CameraGain float64 `json:"camera_gain,omitempty"` // percent of its range
}

// Interval returns the rates and times since the last call (counts are since
// the start) with the shares of the first classes classes.
func (r *Recorder) Interval(classes int) Report {
	now := frame.Mono()
	rep := Report{
		Captured:    r.captured.Load(),
		Masks:       r.masks.Load(),
		MaskBytes:   r.bytes.Load(),
		Drops:       r.dropMap(),
		Stages:      make(map[string]Quantiles, stageCount),
		ClassShares: make([]float64, classes),
	}
	for s := range stageCount {
		rep.Stages[s.String()] = r.interval[s].quantiles(true)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	rep.Seconds = (now - r.told.since).Seconds()
	if rep.Seconds > 0 {
		rep.FPS = float64(rep.Masks-r.told.sent) / rep.Seconds
	}
	if pixels := float64(r.pixels - r.told.pixels); pixels > 0 {
		for k := range rep.ClassShares {
			rep.ClassShares[k] = float64(r.classes[k]-r.told.classes[k]) / pixels
		}
		rep.Unknown = float64(r.classes[frame.Unknown]-r.told.classes[frame.Unknown]) / pixels
	}
	r.told.since, r.told.sent, r.told.classes, r.told.pixels = now, rep.Masks, r.classes, r.pixels
	if r.lumaN > 0 {
		rep.Luma = r.luma / float64(r.lumaN)
		rep.Gain = r.gain / float64(r.lumaN)
	}
	r.luma, r.gain, r.lumaN = 0, 0, 0
	rep.Lux, rep.CameraGain = float64(r.light.lux), float64(r.light.gain)
	rep.ExposureMs = float64(r.light.exposure.Microseconds()) / 1000
	return rep
}

// threadClock times the stages of one goroutine on the wall clock and, when
// asked to, in CPU time of its thread, to which it is then locked.
type threadClock struct {
	r       *Recorder
	cpu     bool
	wall    time.Duration
	started int64
}

func (r *Recorder) thread(cpu bool) *threadClock {
	if cpu {
		runtime.LockOSThread()
	}
	return &threadClock{r: r, cpu: cpu}
}

func (c *threadClock) end() {
	if c.cpu {
		runtime.UnlockOSThread()
	}
}

func (c *threadClock) start() {
	c.wall = frame.Mono()
	if c.cpu {
		c.started = threadTime()
	}
}

func (c *threadClock) stop(s Stage) {
	c.r.time(s, frame.Mono()-c.wall)
	if c.cpu {
		c.r.cpu[s].Add(threadTime() - c.started)
	}
}

func threadTime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}

// Masks is the number of masks handed over since the start.
func (r *Recorder) Masks() uint64 { return r.masks.Load() }
