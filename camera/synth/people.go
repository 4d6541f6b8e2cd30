package synth

// person is one pedestrian in four poses of a step.
type person struct{ pose [4]*texture }

// figure paints limbs into a sprite 0.9 m wide and 1.8 m high.
type figure struct {
	t     *texture
	noise *noiseTile
	ox    int
}

// limb is a round-shaded capsule between two points (parts of the sprite,
// y down); radii in parts of its width.
func (f *figure) limb(c rgb, x0, y0, x1, y1, r0, r1 float32) {
	w, h := float32(f.t.w), float32(f.t.h)
	x0, x1, r0, r1 = x0*w, x1*w, r0*w, r1*w
	y0, y1 = y0*h, y1*h
	dx, dy := x1-x0, y1-y0
	length := max(float32(dx*dx)+float32(dy*dy), 0.01)
	big := max(r0, r1)
	for y := int(min(y0, y1) - big); y <= int(max(y0, y1)+big); y++ {
		for x := int(min(x0, x1) - big); x <= int(max(x0, x1)+big); x++ {
			px, py := float32(x)+0.5-x0, float32(y)+0.5-y0
			t := clamp01((float32(px*dx) + float32(py*dy)) / length)
			ex, ey := px-float32(t*dx), py-float32(t*dy)
			d := sqrt(float32(ex*ex)+float32(ey*ey)) / max(lerp(r0, r1, t), 0.1)
			if d > 1 {
				continue
			}
			v := 1.1 - float32(0.5*float32(d*d)) - float32(0.12*(ex/big))
			v *= 0.75 + 0.5*f.noise.at(x*4+f.ox, y*3)
			f.t.set(x, y, c.times(v), kindPlain)
		}
	}
}

var coatColours = []uint32{
	0x23262d, 0x2e3138, 0x3a3f4a, 0x1d2c4a, 0x54282a, 0x6a6458, 0x8a8f96, 0x2b3d33, 0x8a2f2a, 0xc2beb2, 0x49586b, 0x7a5c3a,
}

var legColours = []uint32{0x1c2026, 0x27304a, 0x2b2b2e, 0x4a4438, 0x394257, 0x6b6250, 0x1a1a1c}

var skinColours = []uint32{0xc99a7c, 0xb98a6a, 0x8a5f45, 0x5f4030, 0xd8ae92}

var hairColours = []uint32{0x231a14, 0x3d2a1c, 0x5c4630, 0x14120f, 0x8a8580, 0x7a5a34}

func bakePerson(r rng, noise *noiseTile) person {
	coat, leg := hex(coatColours[r.below(len(coatColours))]), hex(legColours[r.below(len(legColours))])
	skinTone, hair := hex(skinColours[r.below(len(skinColours))]), hex(hairColours[r.below(len(hairColours))])
	long, bag, back := r.chance(0.4), r.chance(0.4), r.chance(0.5)
	fat := r.in(0.9, 1.15)
	var p person
	for i := range p.pose {
		f := &figure{t: newTexture(64, 128), noise: noise, ox: r.below(tileSize)}
		s := [4]float32{1, 0.25, -1, -0.25}[i]
		f.walker(s, fat, coat, leg, skinTone, hair, long, back)
		if bag {
			f.limb(hex(0x2a211c), 0.72, 0.47, 0.72, 0.53, 0.08, 0.09)
		}
		p.pose[i] = f.t.finish()
	}
	return p
}

func (f *figure) walker(s, fat float32, coat, leg, skinTone, hair rgb, long, back bool) {
	shoe := hex(0x1a1715)
	for _, side := range [2]float32{-1, 1} {
		foot := 0.5 + float32(0.05*side) + float32(0.13*float32(s*side))
		lift := 0.975 - float32(0.03*abs(s))*(1-side)/2
		knee := 0.5 + float32(0.06*side) + float32(0.07*float32(s*side))
		shade := 1 - float32(0.12*(1+side))
		f.limb(leg.times(shade), 0.5+float32(0.05*side), 0.5, knee, 0.73, 0.10*fat, 0.075)
		f.limb(leg.times(shade), knee, 0.73, foot, lift-0.02, 0.075, 0.055)
		f.limb(shoe, foot-0.03, lift, foot+0.06, lift, 0.055, 0.05)
	}
	f.limb(coat.times(0.8), 0.36, 0.21, 0.33-float32(0.1*s), 0.48, 0.07, 0.055)
	bottom := float32(0.50)
	if long {
		bottom = 0.63
	}
	f.limb(coat, 0.5, 0.22, 0.5, 0.36, 0.18*fat, 0.165*fat)
	f.limb(coat, 0.5, 0.34, 0.5, bottom, 0.165*fat, 0.16*fat)
	f.limb(coat.times(0.88), 0.65, 0.21, 0.67+float32(0.1*s), 0.48, 0.07, 0.055)
	f.limb(skinTone, 0.67+float32(0.1*s), 0.495, 0.67+float32(0.1*s), 0.51, 0.045, 0.04)
	f.limb(skinTone, 0.5, 0.13, 0.5, 0.17, 0.06, 0.07)
	f.limb(skinTone, 0.5, 0.075, 0.5, 0.10, 0.105, 0.095)
	f.limb(hair, 0.5, 0.055, 0.5, 0.065, 0.115, 0.11)
	if back {
		f.limb(hair, 0.5, 0.06, 0.5, 0.10, 0.115, 0.10)
	}
}

// cyclist is a rider and his bicycle from behind (or before) in two poses of
// the pedals, and from the side, alone or parked.
type cyclist struct {
	along  [2]*texture
	across *texture
}

func bakeCyclist(r rng, noise *noiseTile) cyclist {
	coat, leg := hex(coatColours[r.below(len(coatColours))]), hex(legColours[r.below(len(legColours))])
	if r.chance(0.35) {
		coat = hex([]uint32{0xd0d83a, 0xd8772a, 0xc23030}[r.below(3)])
	}
	skinTone := hex(skinColours[r.below(len(skinColours))])
	head := hex(hairColours[r.below(len(hairColours))])
	if r.chance(0.5) {
		head = hex([]uint32{0xd8d8d8, 0x2a2a2a, 0x2b5aa0, 0xb02a2a}[r.below(4)])
	}
	frame := hex([]uint32{0x1d1f22, 0x8c1f22, 0x2a4f86, 0x6a6e72, 0x2c5a3a}[r.below(5)])
	var c cyclist
	for i := range c.along {
		f := &figure{t: newTexture(64, 128), noise: noise, ox: r.below(tileSize)}
		f.riderAlong(float32(1-2*i), coat, leg, skinTone, head, frame)
		c.along[i] = f.t.finish()
	}
	f := &figure{t: newTexture(128, 128), noise: noise, ox: r.below(tileSize)}
	f.riderAcross(coat, leg, skinTone, head, frame)
	c.across = f.t.finish()
	return c
}

func (f *figure) riderAlong(s float32, coat, leg, skinTone, head, frame rgb) {
	f.limb(hex(0x141416), 0.5, 0.66, 0.5, 0.965, 0.035, 0.035)
	f.limb(frame, 0.5, 0.58, 0.5, 0.72, 0.04, 0.03)
	f.limb(hex(0x9a1a1a), 0.5, 0.63, 0.5, 0.64, 0.035, 0.035)
	f.limb(hex(0x303236), 0.26, 0.50, 0.74, 0.50, 0.025, 0.025)
	for _, side := range [2]float32{-1, 1} {
		up := float32(0.05 * float32(s*side))
		x := 0.5 + float32(0.14*side)
		f.limb(leg, 0.5+float32(0.09*side), 0.53, x+float32(0.03*side), 0.69-up, 0.10, 0.08)
		f.limb(leg.times(0.85), x+float32(0.03*side), 0.69-up, x, 0.85-float32(up*1.6), 0.075, 0.055)
		f.limb(hex(0x1a1715), x, 0.865-float32(up*1.6), x+float32(0.02*side), 0.875-float32(up*1.6), 0.055, 0.05)
		f.limb(coat.times(0.85), 0.5+float32(0.19*side), 0.25, 0.5+float32(0.25*side), 0.49, 0.075, 0.055)
	}
	f.limb(coat, 0.5, 0.26, 0.5, 0.5, 0.20, 0.18)
	f.limb(leg, 0.44, 0.53, 0.56, 0.53, 0.11, 0.11)
	f.limb(skinTone, 0.5, 0.15, 0.5, 0.18, 0.08, 0.08)
	f.limb(head, 0.5, 0.10, 0.5, 0.12, 0.115, 0.11)
}

// riderAcross fills a square of 1.8 m.
func (f *figure) riderAcross(coat, leg, skinTone, head, frame rgb) {
	f.wheel(0.22, 0.80, 0.175)
	f.wheel(0.78, 0.80, 0.175)
	for _, l := range [][4]float32{
		{0.22, 0.80, 0.44, 0.80},
		{0.44, 0.80, 0.38, 0.58},
		{0.38, 0.60, 0.70, 0.60},
		{0.44, 0.80, 0.70, 0.62},
		{0.22, 0.80, 0.38, 0.60},
		{0.78, 0.80, 0.69, 0.55},
		{0.69, 0.54, 0.75, 0.52},
	} {
		f.limb(frame, l[0], l[1], l[2], l[3], 0.013, 0.013)
	}
	f.limb(hex(0x18181a), 0.33, 0.565, 0.43, 0.565, 0.02, 0.015)
	f.limb(leg.times(0.8), 0.40, 0.54, 0.55, 0.66, 0.05, 0.04)
	f.limb(leg.times(0.8), 0.55, 0.66, 0.47, 0.82, 0.038, 0.03)
	f.limb(leg, 0.40, 0.54, 0.53, 0.71, 0.055, 0.045)
	f.limb(leg, 0.53, 0.71, 0.43, 0.87, 0.04, 0.03)
	f.limb(hex(0x1a1715), 0.43, 0.885, 0.48, 0.885, 0.025, 0.022)
	f.limb(coat, 0.40, 0.50, 0.53, 0.29, 0.075, 0.085)
	f.limb(coat.times(0.85), 0.53, 0.29, 0.60, 0.42, 0.035, 0.03)
	f.limb(coat.times(0.85), 0.60, 0.42, 0.72, 0.51, 0.03, 0.025)
	f.limb(skinTone, 0.57, 0.20, 0.58, 0.19, 0.05, 0.045)
	f.limb(head, 0.565, 0.155, 0.575, 0.15, 0.052, 0.05)
}

func (f *figure) wheel(cx, cy, r float32) {
	size := float32(f.t.w)
	for y := range f.t.h {
		for x := range f.t.w {
			dx, dy := (float32(x)+0.5)/size-cx, (float32(y)+0.5)/size-cy
			d := sqrt(float32(dx*dx)+float32(dy*dy)) / r
			spoke := d < 0.9 && (x*7+y*3)%9 == 0
			if d < 1 && d > 0.88 || d < 0.12 || spoke {
				f.t.set(x, y, hex(0x1b1b1e), kindPlain)
			}
		}
	}
}
