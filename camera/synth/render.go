// Package synth draws a street as a camera on a car sees it: a drive through
// a made-up town with the exact class of every pixel, by day, dusk or night.
//
// Everything follows from the seed: the same parameters give the same bytes.
// No picture depends on the ones before it, so frames may be drawn in any
// order. Bytes are promised for amd64 (GOAMD64 v1 and v2). Where compilers fuse
// products and sums, as on arm64, the inner loops are written so that they may
// not (float32(a*b) + c), but some of the baking is: single pixels may differ
// there.
package synth

import (
	"fmt"

	"nightseg/edge/frame"
)

// Renderer draws the frames of one drive. It reuses its buffers and is not
// for concurrent use.
type Renderer struct {
	params Params
	seed   uint64
	speed  float32

	street   street
	assets   assets
	covers   covers
	lighting lighting
	film     film
	grid     lampGrid
	clouds   *noiseTile

	g      gbuffer
	b      bender
	light  []uint16  // three values a pixel, unity = 1
	own    []float32 // pattern of the own headlamps
	decals []decal
	glows  []glow

	camY, camZ, seconds float32
	midX, midY          float32
	one                 rng // of the thing that each draws
	prepared            bool
}

// New bakes the textures of a drive (about a tenth of a second).
func New(p Params) (*Renderer, error) {
	p = p.withDefaults()
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("synth: %w", err)
	}
	s := &Renderer{params: p, seed: mix(p.Seed), speed: float32(p.Speed)}
	noise, fine := bakeNoise(s.seed, 8, 6, 0.62), bakeNoise(s.seed+99, 32, 4, 0.8)
	s.clouds = bakeNoise(s.seed+7, 4, 6, 0.55)
	s.street = newStreet(s.seed, p.layout())
	s.assets = bakeAssets(s.seed, &s.street, noise, fine)
	s.covers = bakeCovers(s.seed, noise, fine, s.street.paved)
	s.lighting = newLighting(s.seed, &s.street, p.Time)
	s.film.set(&s.lighting)
	s.g.reset(p.W, p.H)
	s.decals, s.glows = make([]decal, 0, 512), make([]glow, 0, 256)
	return s, nil
}

// Params returns the parameters with their defaults filled in.
func (s *Renderer) Params() Params { return s.params }

// Render draws frame n (from 0) of the drive into dst. Where labels is not
// nil it must have room for a label per pixel and is filled with classes
// (0 to ClassCount-1) and Unknown.
func (s *Renderer) Render(dst *frame.Frame, labels []uint8, n int) error {
	w, h := s.params.W, s.params.H
	if labels != nil && len(labels) < w*h {
		return fmt.Errorf("synth: room for %d labels, %d needed", len(labels), w*h)
	}
	s.aim(n)
	s.draw()
	dst.Reset(w, h)
	s.shadeAll()
	if s.lighting.dark {
		s.addGlows()
	}
	s.expose(dst.Pix, uint64(n))
	if labels != nil {
		copy(labels, s.g.label)
	}
	return nil
}

// Labels writes the labels of frame n alone: no light is computed.
func (s *Renderer) Labels(dst []uint8, n int) error {
	if len(dst) < s.params.W*s.params.H {
		return fmt.Errorf("synth: room for %d labels, %d needed", len(dst), s.params.W*s.params.H)
	}
	s.aim(n)
	s.draw()
	copy(dst, s.g.label)
	return nil
}

// aim moves the camera to frame n.
func (s *Renderer) aim(n int) {
	p, g := &s.params, &s.g
	t := float64(n) / p.FPS
	s.seconds = float32(t)
	// The start differs from seed to seed, so that drives do not all begin alike.
	s.camZ = float32(float64(t*p.Speed)) + float32(s.seed%4096)
	s.camY = 1.4 + 0.012*sin(s.seconds*1.7)
	s.b.camX = s.street.lane() + 0.18*sin(s.camZ/70)
	s.b.camY = s.camY
	s.b.bend = s.street.bend * sin(s.camZ/420)
	g.f = 0.86 * float32(p.W)
	s.midX, s.midY = float32(p.W)*0.5, float32(p.H)*0.46
	g.cx = s.midX + g.f*0.012*sin(s.camZ/55)
	g.cy = s.midY + g.f*0.0025*sin(s.seconds*1.3)
	if !s.prepared {
		s.prepare()
		s.prepared = true
	}
}

// draw fills the G-buffer.
func (s *Renderer) draw() {
	s.g.reset(s.params.W, s.params.H)
	s.decals, s.glows = s.decals[:0], s.glows[:0]
	s.drawMoving()
	s.drawStatic()
	s.fillGround()
	s.fillSky()
	s.paintDecals()
}

// fillSky draws what is left above the horizon: the skyline far away and the
// clouds, whose density is kept as the red byte.
func (s *Renderer) fillSky() {
	g := &s.g
	bottom := min(max(int(g.cy+2), 0), g.h)
	for x := range g.w {
		angle := (float32(x) + 0.5 - g.cx) / g.f
		edge, label, tone := s.skyline(angle)
		top := int(g.cy - edge*g.f)
		for y := range bottom {
			i := y*g.w + x
			if g.inv[i] != 0 {
				continue
			}
			if y >= top {
				n := s.clouds.at(x*5, y*5)
				g.inv[i], g.label[i], g.normal[i] = 1.0/400, label, normalToward
				g.colour[i] = tone.times(0.6+0.8*n).packed() | kindPlain<<24
				continue
			}
			g.label[i], g.normal[i] = ClassSky, normalUp
			g.colour[i] = s.cloud(angle, (g.cy-float32(y))/g.f) | kindSky<<24
		}
	}
}

// cloud returns the density of the clouds in a direction, 0..255.
func (s *Renderer) cloud(across, up float32) uint32 {
	h := up + 0.12
	n := s.clouds.at(int(across/h*60)+4000, int(26/h))
	low := float32(0.45)
	if s.street.overcast {
		low = 0.15
	}
	return uint32(toByte(step01(low, 0.85, n)))
}

// skyline returns how high the far town stands over the horizon in a
// direction, and whether it is trees or houses there.
func (s *Renderer) skyline(angle float32) (edge float32, label uint8, tone rgb) {
	p := int(angle*220) + 3000
	n := s.clouds.at(p/9, 11)
	if n > 0.5 {
		block := s.clouds.at(p/14*3, 60)
		return 0.012 + float32(0.035*block), ClassBuilding, hex(0x7d766e)
	}
	return 0.014 + float32(0.030*s.clouds.at(p, 31)), ClassTree, hex(0x55633f)
}
