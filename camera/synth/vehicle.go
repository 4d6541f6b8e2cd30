package synth

// outline is the side of a body: height (parts of the car's) at places along
// it, 0 = front bumper, 1 = rear bumper. The places of screen and roof say
// where the glass is.
type outline struct {
	length, width, height float32 // metres
	belt                  float32 // height of the lower edge of the windows, parts
	hood                  float32 // height of the bonnet's front edge
	screen0, screen1      float32 // foot and head of the windscreen
	roof1, tail           float32 // end of the roof, foot of the rear window
	boot                  float32 // height of the rear deck's end
	taper                 float32 // half width of the roof over that of the body
	wheel                 float32 // radius, metres
	wheels                [2]float32
	doors                 []float32
	blind                 float32 // behind this place there are no side windows (vans)
}

var outlines = []outline{
	{
		4.0, 1.72, 1.47, 0.62, 0.50, 0.24, 0.42, 0.84, 0.965, 0.60, 0.80, 0.31,
		[2]float32{0.19, 0.81},
		[]float32{0.30, 0.53, 0.74},
		1,
	},
	{
		4.5, 1.78, 1.44, 0.62, 0.48, 0.26, 0.42, 0.72, 0.875, 0.64, 0.76, 0.32,
		[2]float32{0.19, 0.80},
		[]float32{0.30, 0.52, 0.72},
		1,
	},
	{
		4.6, 1.78, 1.50, 0.61, 0.48, 0.25, 0.41, 0.93, 0.985, 0.60, 0.80, 0.32,
		[2]float32{0.18, 0.80},
		[]float32{0.30, 0.52, 0.73},
		1,
	},
	{
		4.4, 1.84, 1.72, 0.62, 0.52, 0.22, 0.36, 0.92, 0.985, 0.60, 0.84, 0.36,
		[2]float32{0.19, 0.80},
		[]float32{0.28, 0.52, 0.74},
		1,
	},
	{
		3.6, 1.62, 1.45, 0.61, 0.52, 0.20, 0.40, 0.86, 0.975, 0.58, 0.80, 0.29,
		[2]float32{0.18, 0.83},
		[]float32{0.30, 0.64},
		1,
	},
	{ // van
		5.0, 1.95, 2.25, 0.60, 0.44, 0.12, 0.27, 0.985, 0.995, 0.55, 0.92, 0.34,
		[2]float32{0.16, 0.80},
		[]float32{0.18, 0.36},
		0.38,
	},
	{ // bus
		10.5, 2.5, 3.0, 0.45, 0.42, 0.005, 0.02, 0.99, 0.995, 0.42, 0.97, 0.48,
		[2]float32{0.22, 0.74},
		[]float32{0.08},
		1,
	},
}

// vehicle is an outline with its textures.
type vehicle struct {
	outline
	side, rear, front, top *texture
}

func bakeVehicle(r rng, noise *noiseTile, o outline) vehicle {
	return vehicle{
		outline: o,
		side:    bakeSide(noise, o),
		rear:    bakeEnd(r, noise, o, true),
		front:   bakeEnd(r, noise, o, false),
		top:     bakeTop(noise),
	}
}

// edge returns the height of the outline at place x.
func (o *outline) edge(x float32) float32 {
	switch {
	case x < o.screen0:
		f := x / o.screen0
		return lerp(o.hood, o.belt+0.03, sqrt(clamp01(f*1.15))) * step01(-0.01, 0.012, x)
	case x < o.screen1:
		return lerp(o.belt+0.03, 0.985, (x-o.screen0)/(o.screen1-o.screen0))
	case x < o.roof1:
		f := (x - o.screen1) / (o.roof1 - o.screen1)
		return 0.985 + float32(0.06*f)*(1-f)
	case x < o.tail:
		return lerp(0.985, o.boot+0.04, (x-o.roof1)/(o.tail-o.roof1))
	}
	return lerp(o.boot+0.04, o.boot, (x-o.tail)/(1.001-o.tail)) * step01(1.01, 0.988, x)
}

// bakeSide paints the side: paint, glass, pillars, doors, arches and wheels.
func bakeSide(noise *noiseTile, o outline) *texture {
	w := 256
	if o.length > 8 {
		w = 512
	}
	t := newTexture(w, 128)
	for y := range t.h {
		for x := range t.w {
			fx, fy := (float32(x)+0.5)/float32(t.w), 1-(float32(y)+0.5)/float32(t.h)
			c, k := o.sideTexel(fx, fy, noise.at(x*2, y*2))
			if k != kindNone {
				t.set(x, y, c, k)
			}
		}
	}
	return t.finish()
}

func (o *outline) sideTexel(x, y, n float32) (rgb, uint8) {
	for _, wx := range o.wheels {
		dx, dy := (x-wx)*o.length, float32(y*o.height)-o.wheel
		d := sqrt(float32(dx*dx)+float32(dy*dy)) / o.wheel
		if d < 1 {
			return wheelTexel(d, dx/o.wheel, dy/o.wheel)
		}
		if d < 1.16 && y < 0.6 {
			return hex(0x0c0c0d), kindPlain
		}
	}
	sill := float32(0.17)
	top := o.edge(x)
	if y > top || y < sill-0.02 {
		return rgb{}, kindNone
	}
	if c, k, ok := o.glassTexel(x, y, top); ok {
		return c, k
	}
	if y < sill+0.05 || (x < 0.02 || x > 0.98) && y < 0.34 {
		return hex(0x1b1b1d).times(0.7 + 0.6*n), kindPlain
	}
	// The upper part of a door mirrors the sky, the lower the road; a crease between.
	v := lerp(0.5, 0.82, step01(sill, 0.42, y))
	v += 0.16 * step01(0.44, 0.50, y) * step01(0.60, 0.50, y)
	v += 0.18 * step01(0.9, 1, y/top)
	if abs(y-0.43) < 0.012 {
		v *= 0.8
	}
	for _, d := range o.doors {
		if abs(x-d)*o.length < 0.014 && y > sill+0.04 && y < o.belt {
			v *= 0.35
		}
		if hx := (x - d + 0.045) * o.length; hx > -0.12 && hx < 0.08 && abs(y-o.belt+0.09) < 0.012 {
			v *= 0.55
		}
	}
	v *= 0.95 + 0.1*n
	if x < 0.05 && y > 0.36 && y < 0.47 {
		return hex(0xd6d8d8), kindHead
	}
	if x > 0.955 && y > 0.38 && y < o.belt+0.02 {
		return hex(0x9c1518), kindTail
	}
	return rgb{v, v, v}, kindPaint
}

func wheelTexel(d, dx, dy float32) (rgb, uint8) {
	if d > 0.66 {
		return hex(0x17171a).times(1.2 - float32(0.3*d)), kindPlain
	}
	if d < 0.14 || (d < 0.6 && (abs(dx) < 0.1 || abs(dy) < 0.1 || abs(abs(dx)-abs(dy)) < 0.12)) {
		return hex(0x9a9ca0).times(1.05 - float32(0.3*d)), kindPlain
	}
	return hex(0x3a3b3f), kindPlain
}

// glassTexel says whether there is glass here.
func (o *outline) glassTexel(x, y, top float32) (rgb, uint8, bool) {
	if y < o.belt+0.025 || y > top-0.055 || x > o.blind {
		return rgb{}, 0, false
	}
	// Away from the slope of the screen and of the tail, and from the pillars.
	slope0 := lerp(o.screen0, o.screen1, (y-o.belt)/(1-o.belt))
	slope1 := lerp(o.tail, o.roof1, (y-o.belt)/(1-o.belt))
	if x < slope0+float32(0.10/o.length)+0.012 || x > slope1-float32(0.22/o.length) {
		return rgb{}, 0, false
	}
	for _, d := range o.doors {
		if d > o.screen1-0.08 && abs(x-d)*o.length < 0.055 {
			return hex(0x121214), kindPlain, true
		}
	}
	c := hex(0x1d2327).blend(hex(0x77868f), float32(0.55*step01(o.belt, 1, y)))
	if dx := x - 0.46; y < o.belt+0.14 && float32(dx*dx)*120 < 0.14-(y-o.belt) {
		c = hex(0x101214) // a seat
	}
	return c, kindGlass, true
}

// bakeEnd paints the rear or the front: window or screen on top, then lights,
// plate, bumper and tyres.
func bakeEnd(r rng, noise *noiseTile, o outline, rear bool) *texture {
	t := newTexture(128, 128)
	plate := hex(0xe6c84a)
	if !rear {
		plate = hex(0xe8e8e2)
	}
	high := r.chance(0.4) && rear
	for y := range t.h {
		for x := range t.w {
			fx, fy := (float32(x)+0.5)/float32(t.w)*2-1, 1-(float32(y)+0.5)/float32(t.h)
			c, k := o.endTexel(fx, fy, rear, high, plate, noise.at(x*2, y*2))
			if k != kindNone {
				t.set(x, y, c, k)
			}
		}
	}
	return t.finish()
}

func (o *outline) endTexel(x, y float32, rear, high bool, plate rgb, n float32) (rgb, uint8) {
	ax := abs(x)
	belt := o.belt
	deck := o.boot
	if !rear {
		deck = o.hood
	}
	if y > belt { // the window leans in with the roof
		half := lerp(1, o.taper, (y-belt)/(1-belt))
		if y > 0.985 || float32(ax*half) > half-0.02 {
			return rgb{0.5, 0.5, 0.5}, kindPaint
		}
		if ax > 0.9 || y > 0.94 || y < belt+0.03 {
			return rgb{0.6, 0.6, 0.6}, kindPaint
		}
		c := hex(0x1c2226).blend(hex(0x7c8a92), float32(0.5*step01(belt, 1, y)))
		if y < belt+0.16 && abs(ax-0.42) < 0.16 {
			c = c.times(0.55) // head rests
		}
		return c, kindGlass
	}
	return o.lowerEnd(ax, y, deck, rear, high, plate, n)
}

func (o *outline) lowerEnd(ax, y, deck float32, rear, high bool, plate rgb, n float32) (rgb, uint8) {
	if y < 0.17 {
		tyre := ax > 0.72 && ax < 0.95
		if tyre {
			return hex(0x141416), kindPlain
		}
		if y > 0.11 && ax < 0.97 {
			return hex(0x0d0d0e), kindPlain
		}
		return rgb{}, kindNone
	}
	// Corners are round: nothing outside, darker near it.
	if ax > 1-float32(0.06*step01(0.3, 0.17, y)) {
		return rgb{}, kindNone
	}
	lightLow, lightHigh := deck-0.2, deck-0.04
	if high {
		lightHigh = o.belt
	}
	inner := float32(0.68)
	if !rear {
		inner = 0.6
	}
	if ax > inner && ax < 0.96 && y > lightLow && y < lightHigh {
		if rear {
			if y < lightLow+0.05 && ax < 0.8 {
				return hex(0xd8d4cc), kindPlain
			}
			return hex(0xa81a1c).times(0.75 + 0.5*n), kindTail
		}
		return hex(0xdfe3e4).times(0.75 + float32(0.3*n)), kindHead
	}
	if ax < 0.27 && abs(y-0.36) < 0.04 {
		if ax < 0.24 && abs(y-0.36) < 0.02 && n > 0.5 {
			return hex(0x222222), kindPlain
		}
		return plate, kindPlain
	}
	if !rear && y > 0.30 && y < lightHigh-0.05 && ax < 0.52 {
		return hex(0x17181a), kindPlain // grille
	}
	if y < 0.24 {
		return hex(0x1c1c1e), kindPlain
	}
	v := lerp(0.55, 0.9, step01(0.2, deck, y)) * (1 - float32(0.25*step01(0.8, 1, ax)))
	if abs(y-0.42) < 0.008 || abs(y-0.30) < 0.006 {
		v *= 0.5
	}
	return rgb{v, v, v}, kindPaint
}

// bakeTop is painted metal seen from above.
func bakeTop(noise *noiseTile) *texture {
	t := newTexture(32, 32)
	for y := range t.h {
		for x := range t.w {
			d := abs(float32(x)/16 - 1)
			v := 0.95 - float32(0.15*float32(d*d)) + float32(0.04*noise.at(x*4, y*4))
			t.set(x, y, rgb{v, v, v}, kindPaint)
		}
	}
	return t.finish()
}

var carColours = []uint32{
	0x8d9297, 0xb9bcc0, 0xe4e5e3, 0x24262a, 0x35383d, 0x4b5057, 0x7b1d22, 0x26436e, 0x1f3354, 0x2f4a3a, 0x5e4a3a, 0xa32024,
	0x6d8299, 0x16171a, 0xc9c4b4, 0xd9dadb,
}

// place puts a vehicle on the road: its middle at (x, z) of the camera's frame,
// ground at y, heading away from the camera (dir = 1) or towards it (-1).
func (g *gbuffer) drawVehicle(b *bender, v *vehicle, m material, x, y, z, dir float32) {
	hw, l, h := v.width/2, v.length, v.height
	// at maps a place along the body (0 front .. 1 rear) to depth.
	at := func(p float32) float32 { return z + float32(dir*float32((0.5-p)*l)) }
	corner := func(px, along, up, u, vv float32) point {
		return b.point(x+px, y+float32(up*h), at(along), u, 1-vv)
	}
	belt := v.belt
	tw := hw * v.taper
	nearSide, farSide := uint8(normalLeft), uint8(normalRight)
	m.tex = v.side
	for _, s := range [2]float32{-1, 1} {
		m.normal = nearSide
		if s > 0 {
			m.normal = farSide
		}
		g.quad(&m, [4]point{
			corner(s*hw, 0, belt, 0, belt), corner(s*hw, 1, belt, 1, belt),
			corner(s*hw, 1, 0, 1, 0), corner(s*hw, 0, 0, 0, 0),
		})
		g.quad(&m, [4]point{
			corner(s*tw, 0, 1, 0, 1), corner(s*tw, 1, 1, 1, 1),
			corner(s*hw, 1, belt, 1, belt), corner(s*hw, 0, belt, 0, belt),
		})
	}
	end := func(tex *texture, face uint8, low, foot, head, deck float32) {
		m.tex, m.normal = tex, face
		g.quad(&m, [4]point{
			corner(-hw, low, deck, 0, deck), corner(hw, low, deck, 1, deck),
			corner(hw, low, 0, 1, 0), corner(-hw, low, 0, 0, 0),
		})
		g.quad(&m, [4]point{
			corner(-tw, head, 1, 0, 1), corner(tw, head, 1, 1, 1),
			corner(hw, foot, belt, 1, belt), corner(-hw, foot, belt, 0, belt),
		})
	}
	faceFront, faceRear := uint8(normalAway), uint8(normalToward)
	if dir < 0 {
		faceFront, faceRear = faceRear, faceFront
	}
	end(v.rear, faceRear, 0.99, v.tail, v.roof1, v.boot)
	end(v.front, faceFront, 0.01, v.screen0, v.screen1, v.hood)
	m.tex, m.normal = v.top, normalUp
	deck := func(p0, h0, p1, h1, w0, w1 float32) {
		g.quad(&m, [4]point{
			corner(-w0, p0, h0, 0, 0), corner(w0, p0, h0, 1, 0), corner(w1, p1, h1, 1, 1), corner(-w1, p1, h1, 0, 1),
		})
	}
	deck(0.01, v.hood, v.screen0, belt+0.02, hw*0.97, hw*0.97)
	deck(v.screen1, 0.985, v.roof1, 0.985, tw, tw)
	deck(v.tail, belt, 0.99, v.boot, hw*0.97, hw*0.97)
}
