package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"nightseg/edge"
	"nightseg/edge/frame"
	"nightseg/edge/settings"
	"nightseg/firmware/board"
	"nightseg/firmware/button"
	"nightseg/firmware/governor"
	"nightseg/firmware/indicate"
	"nightseg/firmware/lamp"
	"nightseg/firmware/poll"
)

// Parts of the service that can be a reason to be degraded.
const (
	partBoard = "board"
	partHeat  = "heat"
	partCool  = "start"
	partStop  = "stop"
	partLamp  = "lamp"
)

// attendEvery is how often the board is looked at for the cameras' and the lamp's sake, and
// freshLight how old a light may be.
const (
	attendEvery = 100 * time.Millisecond
	freshLight  = 5 * time.Second
)

// work is what the cameras do: it is taken away where it is too hot, and the lamp is for it.
type work interface {
	luma() (mean float64, ok bool) // of the newest frame of the first camera
	masks() uint64                 // of all cameras so far
	// shrink goes on with smaller networks, or with those of the settings again. It may take
	// long. After an error nothing has changed.
	shrink(ctx context.Context, small bool, bundle string) error
}

// boardService is the board around the camera at work in a service. A nil one is none, and
// takes everything.
type boardService struct {
	d      board.Description
	board  *board.Board
	around *surroundings
	health *edge.Health
	run    string
	event  func(m *frame.Meta, json []byte) bool // sends an event
	report func(*settings.Shed)                  // tells what is shed
	stop   func()                                // ends the service
	use    atomic.Pointer[settings.Board]
	lamp   *lampFeed // nil: there is none

	ran     atomic.Bool                     // the pipeline has been started
	stopped atomic.Pointer[string]          // why the service was ended by the board
	step    atomic.Pointer[governor.Change] // the newest
	work    atomic.Pointer[working]
	shed    atomic.Pointer[settings.Shed]
	shedMu  sync.Mutex // of telling it
	told    uint64     // events so far; toldMu
	toldMu  sync.Mutex // of telling them in order
}

// working is the work that is under way.
type working struct{ work }

// boardParts are what a boardService needs of its service.
type boardParts struct {
	around *surroundings
	health *edge.Health
	run    string
	event  func(m *frame.Meta, json []byte) bool
	report func(*settings.Shed)
	stop   func()
}

// newBoard makes the board that settings name, nil where they name none.
func newBoard(c settings.Board, root string, p boardParts) (*boardService, error) {
	if c.Description == settings.BoardNone || c.Description == "" {
		return nil, nil
	}
	f := boardFlags{root: root, board: c.Description}
	if c.Description == settings.BoardAuto {
		f.board = ""
	}
	r, d, err := f.description()
	if err != nil {
		return nil, fmt.Errorf("board.description: %w", err)
	}
	if !c.LED {
		d.Status = ""
	}
	s := &boardService{
		d: d, around: p.around, health: p.health, run: p.run,
		event: p.event, report: p.report, stop: p.stop,
	}
	s.use.Store(&c)
	s.board = board.New(r, d, board.Options{OnStep: s.stepped, OnBattery: s.empty, OnButton: s.pressed})
	if l, ok := d.LampConfig(); ok {
		s.lamp = newLampFeed(l, root, c.Lamp.Feed)
	}
	return s, nil
}

// start runs the board until ctx is done, or the returned function is called, which waits.
func (s *boardService) start(ctx context.Context) (stop func()) {
	if s == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.board.Run(ctx); err != nil {
			slog.Error("board", "error", err)
		}
	})
	wg.Go(func() { s.attend(ctx) })
	wg.Go(func() { s.resize(ctx) })
	if s.lamp != nil {
		wg.Go(func() { s.lamp.run(ctx, s.health) })
	}
	slog.Info("board", "description", s.d.Name)
	return func() {
		cancel()
		wg.Wait()
	}
}

// change takes other settings.
func (s *boardService) change(c settings.Board) {
	if s != nil {
		s.use.Store(&c)
	}
}

// awaitCool waits while it is too hot to begin; it reports whether ctx lasted that long.
func (s *boardService) awaitCool(ctx context.Context) bool {
	if s == nil || !s.use.Load().Governor {
		return ctx.Err() == nil
	}
	for ctx.Err() == nil {
		why := s.board.MayStart()
		if why == "" {
			s.health.Clear(partCool)
			s.board.Show(indicate.Starting)
			return true
		}
		s.health.Set(partCool, why)
		s.health.Log(partCool, errors.New(why))
		s.board.Show(indicate.Fault)
		poll.Wait(ctx, time.Second)
	}
	return false
}

// started says that the pipeline runs, which is where work is shed.
func (s *boardService) started(w work) {
	if s == nil {
		return
	}
	s.work.Store(&working{w})
	if s.lamp != nil {
		s.lamp.follow(w.masks)
	}
	s.ran.Store(true)
	s.show(s.health.State())
}

// show follows the state of the service with the LED.
func (s *boardService) show(degraded bool, _ string) {
	switch {
	case s == nil || !s.ran.Load():
	case degraded:
		s.board.Show(indicate.Degraded)
	default:
		s.board.Show(indicate.Running)
	}
}

// snapshot is what health tells of the board.
func (s *boardService) snapshot() *boardSnapshot {
	if s == nil {
		return nil
	}
	h := &boardSnapshot{Health: s.board.Health()}
	if s.lamp != nil {
		h.Lamp = s.lamp.state()
	}
	return h
}

// boardSnapshot is the board as health tells it.
type boardSnapshot struct {
	board.Health
	Lamp *lampState `json:"lamp,omitempty"`
}

// ended is why the service was ended by its board, nil where it was not.
func (s *boardService) ended() error {
	if s == nil || s.stopped.Load() == nil {
		return nil
	}
	return fail(exitStopped, "%s", *s.stopped.Load())
}

// end ends the service.
func (s *boardService) end(why string) {
	if !s.stopped.CompareAndSwap(nil, &why) {
		return
	}
	slog.Warn("stop", "reason", why)
	s.health.Set(partStop, why)
	s.stop()
}

// boardEventDocument is what is sent on event.
type boardEventDocument struct {
	boardEvent
	Run        string `json:"run"`
	Seq        uint64 `json:"seq"` // rises by one with each event of a run
	Mono       int64  `json:"mono_ns"`
	WallOffset int64  `json:"wall_offset_ns"`
	Clock      bool   `json:"clock"` // the wall clock is synchronised
}

func (s *boardService) tell(e boardEvent) {
	slog.Info("board", "event", e.String())
	s.toldMu.Lock()
	defer s.toldMu.Unlock()
	s.told++
	m := frame.Meta{Run: s.run, Seq: s.told}
	m.Stamp()
	b, err := json.Marshal(boardEventDocument{
		boardEvent: e, Run: m.Run, Seq: m.Seq,
		Mono: int64(m.Mono), WallOffset: int64(m.WallOffset), Clock: m.Flags&frame.FlagClock != 0,
	})
	if err != nil {
		slog.Error("board", "event", e.String(), "error", err)
		return
	}
	if !s.event(&m, b) {
		slog.Warn("event: lost, there is no room to keep it", "event", e.String())
	}
}

// stepped takes a step of the governor's.
func (s *boardService) stepped(c governor.Change) {
	s.step.Store(&c)
	if s.use.Load().Governor {
		s.tell(boardEvent{Step: &c})
	}
}

// empty takes the guard's word that the battery is low.
func (s *boardService) empty(why string) {
	if s.use.Load().Battery {
		s.tell(boardEvent{Battery: why})
		s.end(why)
	}
}

// pressed takes an event of a button.
func (s *boardService) pressed(e button.Event) {
	if !s.use.Load().Buttons {
		return
	}
	s.tell(boardEvent{Button: &e})
	if e.Kind == button.Held {
		s.end(fmt.Sprintf("the button %s was held", e.Button))
	}
}

// attend brings what the board tells to the cameras, until ctx is done.
func (s *boardService) attend(ctx context.Context) {
	var heat heatShown
	var dark lamp.Follower
	begun := time.Now()
	for n := 0; poll.Wait(ctx, attendEvery); n++ {
		use := s.use.Load()
		lux := s.lux(use)
		s.around.setLux(lux)
		s.cool(use, &heat)
		if s.lamp != nil {
			s.lamp.set(s.lampLevel(use.Lamp, &dark, time.Since(begun), lux))
		}
		if n%10 == 0 {
			s.problems()
		}
	}
}

// lux is the light of the brightest sensor, 0 where none tells it. One that sees nothing
// tells the least that it can.
func (s *boardService) lux(use *settings.Board) (lux float64) {
	if !use.Light {
		return 0
	}
	for name, c := range s.d.Light {
		r, ok := s.board.Light(name)
		if ok && r.Valid && time.Since(r.At) < freshLight+c.Interval {
			lux = max(lux, r.Lux, r.Low, leastLux)
		}
	}
	return lux
}

const leastLux = 0.001

// lampLevel is how bright the lamp is to be.
func (s *boardService) lampLevel(use settings.Lamp, dark *lamp.Follower, now time.Duration, lux float64) float64 {
	t := s.around.dark.Load()
	on := use.Mode == "on"
	w := s.work.Load()
	if use.Mode == "auto" && t != nil && w != nil {
		if lux > 0 && t.DarkLux > 0 {
			on = dark.Lux(now, lux, lamp.Dark{Below: t.DarkLux, Above: t.BrightLux})
		} else if luma, ok := w.luma(); ok {
			on = dark.Luma(now, luma, lamp.Dark{Below: t.Dark, Above: t.Bright})
		}
	}
	if !on {
		return 0
	}
	return use.Level
}

// problems names what of the board does not answer.
func (s *boardService) problems() {
	p := s.board.Health().Problems
	if len(p) == 0 {
		s.health.Clear(partBoard)
		return
	}
	s.health.Set(partBoard, "no answer of "+strings.Join(slices.Sorted(maps.Keys(p)), ", ")+" (why: problems in health)")
}
