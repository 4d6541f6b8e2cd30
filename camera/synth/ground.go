package synth

// cover is a ground material: texels of a tile at a scale.
type cover struct {
	tex    *texture
	scale  float32 // texels per metre
	label  uint8
	normal uint8
}

// covers are the grounds of one street.
type covers struct {
	road, pavement, verge, kerb, paint, yellow, gutter cover
}

func bakeCovers(seed uint64, noise, fine *noiseTile, paved bool) covers {
	r := stream(seed, streamGround, 0)
	asphalt := hex(0x6a6b6e).times(r.in(0.75, 1.15)).blend(hex(0x756d66), r.unit()*0.6)
	road := bakeAsphalt(asphalt, noise, fine)
	slab := hex([]uint32{0x9a948c, 0x8d8c8a, 0xa39a8c, 0x93897f}[r.below(4)]).times(r.in(0.85, 1.1))
	c := covers{
		road:     cover{road, 40, ClassRoad, normalGround},
		gutter:   cover{bakeAsphalt(asphalt.times(0.8), noise, fine), 40, ClassRoad, normalGround},
		pavement: cover{bakeSlabs(slab, noise, fine, r.below(3)), 64, ClassPavement, normalGround},
		kerb:     cover{bakeAsphalt(hex(0xa5a199), noise, fine), 40, ClassPavement, normalGround},
		paint:    cover{bakePaint(hex(0xd9d8d2), asphalt, noise, fine), 40, ClassRoad, normalGround},
		yellow:   cover{bakePaint(hex(0xc9ab4a), asphalt, noise, fine), 40, ClassRoad, normalGround},
		verge:    cover{bakeGrass(noise, fine), 40, ClassTree, normalGround},
	}
	if paved {
		c.verge = cover{bakeSlabs(slab.times(0.85), noise, fine, 2), 64, ClassPavement, normalGround}
	}
	return c
}

// bakeTile paints a 256 x 256 tile.
func bakeTile(f func(x, y int) rgb) *texture {
	t := newTexture(256, 256)
	for y := range t.h {
		for x := range t.w {
			t.set(x, y, f(x, y), kindPlain)
		}
	}
	return t.finish()
}

func bakeAsphalt(c rgb, noise, fine *noiseTile) *texture {
	return bakeTile(func(x, y int) rgb {
		v := 0.82 + 0.18*noise.at(x, y) + 0.24*(fine.at(x*3, y*3)-0.25)
		return c.times(v)
	})
}

func bakePaint(c, under rgb, noise, fine *noiseTile) *texture {
	return bakeTile(func(x, y int) rgb {
		worn := step01(0.62, 0.78, float32(0.6*noise.at(x*2, y*2))+float32(0.4*fine.at(x*3, y*3)))
		return c.times(0.85+0.2*fine.at(x*3, y*3)).blend(under, float32(worn*0.8))
	})
}

// bakeSlabs is flags, small pavers or plain asphalt on 4 m.
func bakeSlabs(c rgb, noise, fine *noiseTile, kind int) *texture {
	w, h := []int{32, 16, 256}[kind], []int{64, 8, 256}[kind]
	return bakeTile(func(x, y int) rgb {
		row := y / h
		bx := (x + row%2*w/2) & 255
		tone := 0.9 + 0.2*float32(mix(uint64(row*97+bx/w))>>40)/(1<<24)
		v := tone * (0.84 + 0.2*noise.at(x, y) + 0.2*(fine.at(x*3, y*3)-0.3))
		if kind < 2 && (y%h == 0 || bx%w == 0) {
			v *= 0.75
		}
		return c.times(v)
	})
}

func bakeGrass(noise, fine *noiseTile) *texture {
	return bakeTile(func(x, y int) rgb {
		n := noise.at(x*2, y*2)
		v := 0.55 + 0.8*fine.at(x*5, y*5)
		return hex(0x5c7430).blend(hex(0x86803f), float32(0.6*n)).times(v * (0.75 + 0.4*n))
	})
}

// fillGround draws everything below the horizon that nothing stands before.
func (s *Renderer) fillGround() {
	g := &s.g
	y0 := max(int(g.cy+1), 0)
	for y := y0; y < g.h; y++ {
		s.groundRow(y)
	}
}

// groundLine is what one row sees of one height of the ground.
type groundLine struct {
	y       int
	z, inv  float32
	left, k float32 // world x at pixel 0, metres per pixel
	zw      float32 // place along the street
}

func (s *Renderer) line(y int, height float32) groundLine {
	g := &s.g
	z := g.f * (s.camY - height) / (float32(y) + 0.5 - g.cy)
	k := z / g.f
	return groundLine{
		y: y, z: z, inv: 1 / z, k: k,
		left: s.b.camX - s.b.shift(z) - float32((g.cx-0.5)*k), zw: s.camZ + z,
	}
}

func (l *groundLine) column(x float32) float32 { return (x - l.left) / l.k }

func (s *Renderer) groundRow(y int) {
	road := s.line(y, 0)
	if road.z > 400 {
		s.far(y)
		return
	}
	w := float32(s.g.w)
	half := s.street.roadHalf
	c := &s.covers
	if s.street.crossing(road.zw) {
		s.strip(&road, &c.road, 0, w)
		s.markCrossing(&road)
		return
	}
	walk := s.line(y, kerbHeight)
	outer := half + s.street.pavement
	rl, rr := road.column(-half), road.column(half)
	pl, pr := walk.column(-half), walk.column(half)
	kw := 0.15 / walk.k
	vl, vr := walk.column(-outer), walk.column(outer)
	s.strip(&walk, &c.verge, 0, vl)
	s.strip(&walk, &c.pavement, vl, pl-kw)
	s.strip(&walk, &c.kerb, pl-kw, pl)
	s.strip(&road, &c.road, rl, rr)
	s.strip(&walk, &c.kerb, pr, pr+kw)
	s.strip(&walk, &c.pavement, pr+kw, vr)
	s.strip(&walk, &c.verge, vr, w)
	// The face of the kerb, between the two heights.
	s.strip(&road, &c.gutter, pl, rl)
	s.strip(&road, &c.gutter, rr, pr)
	s.markRoad(&road)
}

// far paints the last metres before the horizon.
func (s *Renderer) far(y int) {
	l := s.line(y, 0)
	s.strip(&l, &s.covers.road, 0, float32(s.g.w))
}

// strip fills columns x0..x1 of a row where nothing has been drawn.
func (s *Renderer) strip(l *groundLine, c *cover, x0, x1 float32) {
	g := &s.g
	from, to := max(int(x0+0.5), 0), min(int(x1+0.5), g.w)
	if x0 > 1e6 || x1 < -1e6 || from >= to {
		return
	}
	// A row of ground covers more of it ahead than across: the level is chosen between.
	size := l.k * c.scale * min(max(l.z/3.5, 1), 6)
	lv := 0
	for size > 1.5 && lv < len(c.tex.levels)-1 {
		size *= 0.5
		lv++
	}
	t := &c.tex.levels[lv]
	scale := c.scale * 256 / float32(int(1)<<lv)
	step := int32(l.k * scale)
	u := int32(int64(float32((l.left + float32(float32(from)*l.k)) * scale)))
	v := uint32(int64(float32(l.zw * scale)))
	at := l.y * g.w
	dv := uint32(l.z / g.f * l.z / s.camY * scale)
	for x := from; x < to; x++ {
		if g.inv[at+x] == 0 {
			d := uint32(dither[l.y&3*4+x&3]) >> 8
			tu, tv := uint32(u+int32(d))>>8, (v+(d*dv>>8))>>8
			g.inv[at+x] = l.inv
			g.colour[at+x] = t.pix[(tv&t.hMask)<<t.wShift|tu&t.wMask]
			g.label[at+x], g.normal[at+x] = c.label, c.normal
		}
		u += step
	}
}

// mark repaints a strip of road between two world x. cover is how much of the
// row's footprint is painted; a far row is painted in part of its columns.
func (s *Renderer) mark(l *groundLine, c *cover, x0, x1, part float32) {
	g := &s.g
	f0, f1 := l.column(x0), l.column(x1)
	if f1 < 0 || f0 > float32(g.w) {
		return
	}
	from, to := max(int(f0+0.5), 0), min(int(f1+0.5), g.w)
	if part *= min(f1-f0, 1); from == to && from < g.w {
		to = from + 1 // thinner than a pixel: mix
	}
	t := &c.tex.levels[min(3, len(c.tex.levels)-1)]
	if l.k < 0.012 {
		t = &c.tex.levels[1]
	}
	scale := c.scale * float32(t.wMask+1) / 256
	v := uint32(int32(l.zw * scale))
	a := uint32(part * 256)
	at := l.y * g.w
	for x := from; x < to; x++ {
		if g.normal[at+x] != normalGround || g.label[at+x] != ClassRoad || g.inv[at+x] != l.inv {
			continue
		}
		u := uint32(int32((l.left + float32(float32(x)*l.k)) * scale))
		g.colour[at+x] = mixTexels(g.colour[at+x], t.pix[(v&t.hMask)<<t.wShift|u&t.wMask], a)
	}
}

func mixTexels(p, q, a uint32) uint32 {
	b := 256 - a
	rb := ((p&0xFF00FF)*b + (q&0xFF00FF)*a) >> 8 & 0xFF00FF
	gr := ((p&0x00FF00)*b + (q&0x00FF00)*a) >> 8 & 0x00FF00
	return rb | gr | p&0xFF000000
}

// dashes returns the painted part of a row for dashes of `on` metres every `period`.
func dashes(l *groundLine, camY, f, on, period float32) float32 {
	foot := float32(l.z*l.z) / (f * camY) // metres along the street in this row
	p := l.zw/period - floor(l.zw/period)
	if foot > period/2 {
		return on / period
	}
	if p < on/period {
		return 1
	}
	return 0
}

func (s *Renderer) markRoad(l *groundLine) {
	st, c := &s.street, &s.covers
	if d := st.zebraAt(l.zw); d {
		for x := -st.roadHalf + 0.4; x < st.roadHalf-0.3; x += 1.0 {
			s.mark(l, &c.paint, x, x+0.5, 0.95)
		}
		return
	}
	if st.stopLine(l.zw) {
		s.mark(l, &c.paint, min(0, st.drive*st.roadHalf)+0.2, max(0, st.drive*st.roadHalf)-0.2, 0.9)
		return
	}
	if p := dashes(l, s.camY, s.g.f, st.dashOn, st.dashPeriod); p > 0 {
		s.mark(l, &c.paint, -0.06, 0.06, 0.9*p)
		if st.lanes == 2 {
			s.mark(l, &c.paint, -st.laneWidth-0.06, -st.laneWidth+0.06, 0.9*p)
			s.mark(l, &c.paint, st.laneWidth-0.06, st.laneWidth+0.06, 0.9*p)
		}
	}
	if st.lanes == 2 {
		s.mark(l, &c.paint, -0.16, -0.06, 0.9)
		s.mark(l, &c.paint, 0.06, 0.16, 0.9)
	}
	edge := st.roadHalf - 0.3
	line := &c.paint
	if st.yellow {
		line = &c.yellow
		s.mark(l, line, -edge+0.2, -edge+0.28, 0.85)
		s.mark(l, line, edge-0.28, edge-0.2, 0.85)
	}
	if st.parking > 0 && !st.yellow {
		edge = st.roadHalf - 2.1
		if dashes(l, s.camY, s.g.f, 5.2, 6) == 0 {
			s.mark(l, line, -st.roadHalf, -edge, 0.8)
			s.mark(l, line, edge, st.roadHalf, 0.8)
		}
	}
	if st.edges {
		s.mark(l, line, -edge-0.05, -edge+0.05, 0.85)
		s.mark(l, line, edge-0.05, edge+0.05, 0.85)
	}
}

// markCrossing draws the broken line across the mouth of the side streets.
func (s *Renderer) markCrossing(l *groundLine) {
	half := s.street.roadHalf
	if dashes(l, s.camY, s.g.f, 0.6, 1.2) > 0.4 {
		s.mark(l, &s.covers.paint, -half-0.1, -half+0.1, 0.8)
		s.mark(l, &s.covers.paint, half-0.1, half+0.1, 0.8)
	}
}
