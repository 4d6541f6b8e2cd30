package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"sync"
	"time"

	"nightseg/edge"
	"nightseg/edge/frame"
	"nightseg/model"
)

// Schema of the topics and documents, as meta names it.
const wireSchema = "nightseg/v1"

// healthEvery is how often the state of the machine is sent.
const healthEvery = 5 * time.Second

// metaDocument is what is retained on meta.
type metaDocument struct {
	Schema   string        `json:"schema"`
	Software string        `json:"software"`
	Run      string        `json:"run"`
	Bundle   bundleMeta    `json:"bundle"`
	Classes  []model.Class `json:"classes"`
	Unknown  model.Unknown `json:"unknown"`
	Shape    [2]int        `json:"shape"` // height, width of a mask
	Engine   model.Info    `json:"engine"`
	Cameras  []cameraMeta  `json:"cameras"`
	Codecs   []string      `json:"codecs"`
}

type bundleMeta struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	SHA256  string `json:"sha256"`
	Licence string `json:"licence"`
}

type cameraMeta struct {
	ID     string `json:"id"`
	Source string `json:"source"` // without user name and password
}

// sendMeta describes software, bundle, engine and cameras on meta.
func (l *link) sendMeta(run string, b *model.Bundle, info model.Info, cameras []cameraMeta) error {
	if l.client == nil {
		return nil
	}
	doc, err := json.Marshal(metaDocument{
		Schema: wireSchema, Software: "nightseg " + version(), Run: run,
		Bundle:  bundleMeta{b.Name, b.Version, b.SHA256, b.Licence},
		Classes: b.Classes, Unknown: b.Unknown, Shape: b.Shapes[0], Engine: info,
		Cameras: cameras, Codecs: codecNames(),
	})
	if err != nil {
		return err
	}
	l.client.SetMeta(doc)
	return nil
}

// counted is a source that says how many frames it lost, by reason.
type counted interface{ Counters() map[string]uint64 }

// statsDocument is what is sent on cam/<id>/stats.
type statsDocument struct {
	edge.Report
	Source map[string]uint64 `json:"source,omitempty"`
	Broker brokerCounts      `json:"broker"`
}

// brokerCounts are the masks of a camera since the start as the way to the broker
// counts them.
type brokerCounts struct {
	Sent     uint64            `json:"sent"`
	Kept     uint64            `json:"kept"`     // for later, on hist/
	Connects uint64            `json:"connects"` // of the connection for all but masks
	Drops    map[string]uint64 `json:"drops"`
}

func (l *link) counts(camera string) brokerCounts {
	if l.client == nil {
		return brokerCounts{Drops: map[string]uint64{}}
	}
	c := l.client.CameraCounters(camera)
	return brokerCounts{
		Sent: c.Sent, Kept: c.Kept, Connects: l.client.Counters().Connects,
		Drops: map[string]uint64{
			"offline": c.DroppedOffline, "queue": c.DroppedQueue, "thin": c.DroppedThin, "write": c.DroppedWrite,
			"invalid": c.DroppedInvalid, "rate": l.thinnedOf(camera).Load(),
		},
	}
}

// reporter sends the figures of the cameras and the state of the machine.
type reporter struct {
	link     *link
	lanes    func() []reported // now
	interval time.Duration
	every    chan time.Duration // another interval; may be nil
	stateDir string
	board    func() *boardSnapshot                // may be nil
	latest   func(camera string, s statsDocument) // may be nil
}

// reported is a lane of which figures are sent.
type reported struct {
	lane    *lane
	source  edge.Source
	classes int // of the bundle in force
}

// always is a lane that stays as it is.
func always(r reported) func() []reported { return func() []reported { return []reported{r} } }

// start runs the reporter until the returned function is called.
func (r *reporter) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { r.run(ctx) })
	return func() {
		cancel()
		wg.Wait()
	}
}

func (r *reporter) run(ctx context.Context) {
	stats := time.NewTicker(r.interval)
	defer stats.Stop()
	health := time.NewTicker(healthEvery)
	defer health.Stop()
	for {
		select {
		case <-ctx.Done():
			r.stats() // the figures of the last part of a second
			return
		case d := <-r.every:
			stats.Reset(d)
		case <-stats.C:
			r.stats()
		case <-health.C:
			r.health()
		}
	}
}

func (r *reporter) stats() {
	for _, of := range r.lanes() {
		l := of.lane
		doc := statsDocument{Report: l.loop.Stats().Interval(of.classes), Broker: r.link.counts(l.camera)}
		if c, ok := of.source.(counted); ok {
			doc.Source = c.Counters()
		}
		if r.latest != nil {
			r.latest(l.camera, doc)
		}
		if r.link.client == nil {
			continue
		}
		b, err := json.Marshal(doc)
		if err != nil { // a figure that is not finite
			slog.Error("stats", "camera", l.camera, "error", err)
			continue
		}
		r.link.client.PublishStats(l.camera, b)
	}
}

func (r *reporter) health() {
	if r.link.client == nil {
		return
	}
	doc := readHealth(os.DirFS("/"), r.stateDir)
	if r.board != nil {
		doc.Board = r.board()
	}
	b, err := json.Marshal(struct {
		healthDocument
		Spool *spoolDocument `json:"spool,omitempty"`
	}{doc, r.link.spool()})
	if err != nil {
		slog.Error("health", "error", err)
		return
	}
	r.link.client.PublishHealth(b)
}

// firstMask is the time from the start of the program to the first mask, in ms.
func firstMask(t edge.Totals) float64 {
	if t.First == 0 {
		return 0
	}
	return float64(t.First-processStart()) / 1e6
}

// processStart is when this program was started, on the clock of frame.Mono.
func processStart() time.Duration {
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return frame.Mono()
	}
	return startTicks(b)
}
