package synth

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// The classes of the labels: the eleven of CamVid.
const (
	ClassSky = iota
	ClassBuilding
	ClassPole
	ClassRoad
	ClassPavement
	ClassTree
	ClassSign
	ClassFence
	ClassCar
	ClassPedestrian
	ClassBicyclist
	ClassCount

	// Unknown is the label of what belongs to no class (lamp heads).
	Unknown = 255
)

// The times of day. The same drive at another time is the same street with
// the same things in the same places, pixel for pixel.
const (
	Day   = "day"
	Dusk  = "dusk"
	Night = "night"
)

// The layouts. "auto" picks one of the first three by the seed. LayoutDemo is
// kept out of training.
const (
	LayoutAuto    = "auto"
	LayoutTerrace = "terrace"
	LayoutSuburb  = "suburb"
	LayoutAvenue  = "avenue"
	LayoutDemo    = "demo"
)

// TrainingSeeds is the number of seeds set aside for training: 0 to
// TrainingSeeds-1. A drive that shows or measures something uses another one.
const TrainingSeeds = 1000

// The limits of a picture's sides and of a drive.
const (
	MinSide  = 16
	MaxSide  = 4096
	MaxSpeed = 40
	MaxFPS   = 240
)

var (
	times   = []string{Day, Dusk, Night}
	layouts = []string{LayoutAuto, LayoutTerrace, LayoutSuburb, LayoutAvenue, LayoutDemo}
)

// Params choose a drive. Zero values of W, H, Time, Layout, Speed and FPS
// mean 640, 480, "night", "auto", 8 m/s and 30 frames per second.
type Params struct {
	Seed   uint64  // the drive: same seed, same bytes
	W, H   int     // pixels, MinSide..MaxSide each
	Time   string  // Day, Dusk or Night
	Layout string  // LayoutAuto, LayoutTerrace, LayoutSuburb, LayoutAvenue or LayoutDemo
	Speed  float64 // m/s of the camera, above 0 to MaxSpeed
	FPS    float64 // frames per second of the drive's own time, above 0 to MaxFPS
}

func (p Params) withDefaults() Params {
	if p.W == 0 {
		p.W = 640
	}
	if p.H == 0 {
		p.H = 480
	}
	if p.Time == "" {
		p.Time = Night
	}
	if p.Layout == "" {
		p.Layout = LayoutAuto
	}
	if p.Speed == 0 {
		p.Speed = 8
	}
	if p.FPS == 0 {
		p.FPS = 30
	}
	return p
}

func (p Params) check() error {
	for _, side := range []struct {
		name string
		v    int
	}{{"width", p.W}, {"height", p.H}} {
		if side.v < MinSide || side.v > MaxSide {
			return fmt.Errorf("size: %s %d is not in %d..%d", side.name, side.v, MinSide, MaxSide)
		}
	}
	if !slices.Contains(times, p.Time) {
		return fmt.Errorf("time: %q is not one of %s", p.Time, strings.Join(times, ", "))
	}
	if !slices.Contains(layouts, p.Layout) {
		return fmt.Errorf("layout: %q is not one of %s", p.Layout, strings.Join(layouts, ", "))
	}
	if !(p.Speed > 0 && p.Speed <= MaxSpeed) {
		return fmt.Errorf("speed: %v m/s is not above 0 and at most %d", p.Speed, MaxSpeed)
	}
	if !(p.FPS > 0 && p.FPS <= MaxFPS) || math.IsNaN(p.FPS) {
		return fmt.Errorf("fps: %v is not above 0 and at most %d", p.FPS, MaxFPS)
	}
	return nil
}

// layout returns the layout meant: auto is resolved by the seed.
func (p Params) layout() string {
	if p.Layout != LayoutAuto {
		return p.Layout
	}
	return layouts[1+mix(p.Seed*31+7)%3]
}
