package synth

// viewDepth is how far things are drawn, in metres.
const viewDepth = 150

// assets are the baked textures of one drive.
type assets struct {
	furniture
	facades  []facade
	offices  []facade
	shops    []facade
	trees    []*texture
	treeKind []treeKind
	vehicles []vehicle
	people   []person
	cyclists []cyclist
}

func bakeAssets(seed uint64, st *street, noise, fine *noiseTile) assets {
	a := assets{furniture: bakeFurniture(seed, noise, fine), treeKind: treeKinds}
	r := stream(seed, streamBake, 0)
	next := func() rng { return rng(r.next()) }
	for i := range 9 {
		n := st.floorsLow + i%(st.floorsHigh-st.floorsLow+1)
		a.facades = append(a.facades, bakeFacade(next(), noise, n, false, false))
	}
	for i := range 7 {
		n := max(2, st.floorsLow) + i%(st.floorsHigh-st.floorsLow+1)
		a.shops = append(a.shops, bakeFacade(next(), noise, n, true, false))
	}
	for i := range 3 {
		a.offices = append(a.offices, bakeFacade(next(), noise, 4+i, i == 1, true))
	}
	for _, k := range treeKinds {
		k.leaf = k.leaf.times(r.in(0.85, 1.2))
		a.trees = append(a.trees, bakeTree(next(), noise, k))
	}
	for _, o := range outlines {
		a.vehicles = append(a.vehicles, bakeVehicle(next(), fine, o))
	}
	for range 10 {
		a.people = append(a.people, bakePerson(next(), fine))
	}
	for range 5 {
		a.cyclists = append(a.cyclists, bakeCyclist(next(), fine))
	}
	return a
}

// drawStatic draws all that stands still, from near to far.
func (s *Renderer) drawStatic() {
	first := int(floor((s.camZ - 2) / slot))
	last := int(floor((s.camZ + viewDepth) / slot))
	for i := first; i <= last; i++ {
		for _, side := range [2]float32{-1, 1} {
			s.drawSlot(i, side)
		}
	}
}

// slotKey numbers the slots of both sides.
func slotKey(i int, side float32) uint64 { return uint64(int64(i)*2 + int64(side) + 1<<20) }

func (s *Renderer) drawSlot(i int, side float32) {
	st := &s.street
	key := slotKey(i, side)
	cross := st.crossSlot(i)
	s.drawFurniture(i, side, key, cross)
	if !cross {
		s.drawParked(i, side, key)
		s.drawStreetTree(i, side, key)
		s.drawFrontage(i, side, key)
	}
	s.drawBuilding(i, side, key, cross)
}

// pick chooses the facade of a slot; two or three neighbours may share one.
func (s *Renderer) pick(key uint64) *facade {
	r := stream(s.seed, streamBuilding, key)
	st, a := &s.street, &s.assets
	x := r.unit()
	switch {
	case x < st.shops:
		return &a.shops[r.below(len(a.shops))]
	case x < st.shops+st.offices:
		return &a.offices[r.below(len(a.offices))]
	}
	return &a.facades[r.below(len(a.facades))]
}

func (s *Renderer) drawBuilding(i int, side float32, key uint64, cross bool) {
	st := &s.street
	r := stream(s.seed, streamBuilding, key)
	r.next()
	z0 := float32(i*slot) - s.camZ
	front := st.roadHalf + st.pavement + st.setback
	if cross {
		s.drawBehind(key, side, z0, front+26, 7)
		return
	}
	if r.chance(st.gaps) {
		s.drawBehind(key, side, z0, front+r.in(1, 5), r.in(3, 9))
		return
	}
	f := s.pick(slotKey(i/(2+int(mix(uint64(i/4))&1)), side))
	a, b := r.next(), r.next()
	lit := a & b // a bit in four
	if r.chance(0.3) {
		lit = r.next()
	}
	detached := st.gaps > 0.3
	len0, len1 := float32(0), float32(slot)
	if detached {
		len0, len1 = r.in(0.5, 2), slot-r.in(0.5, 2)
		s.drawBehind(key, side, z0+6, front+12, 6)
	}
	s.box(f, side, z0+len0, z0+len1, front, 10, lit, detached || st.crossSlot(i-1), &r)
}

// box draws a building: front, the end that faces the camera, roof and chimney.
func (s *Renderer) box(f *facade, side, z0, z1, front, depth float32, lit uint64, end bool, r *rng) {
	g, b := &s.g, &s.b
	if z1 < near {
		return
	}
	x, h := side*front, f.height
	m := material{tex: f.front, label: ClassBuilding, normal: normalRight, lit: lit}
	if side > 0 {
		m.normal = normalLeft
	}
	reps := max(1, floor((z1-z0)/f.width+0.5))
	// Two pieces, so that the front follows the bend of the street.
	for p := range 3 {
		a, c := lerp(z0, z1, float32(p)/3), lerp(z0, z1, float32(p+1)/3)
		ua, uc := reps*float32(p)/3, reps*float32(p+1)/3
		g.quad(&m, [4]point{
			b.point(x, h, a, ua, 0), b.point(x, h, c, uc, 0),
			b.point(x, 0, c, uc, 0.998), b.point(x, 0, a, ua, 0.998),
		})
	}
	wall := m
	wall.normal = normalToward
	u := depth / 4
	wall.tex, wall.lit = f.wall, 0
	v := h / 4
	if end && mix(lit)&3 != 0 {
		wall.tex, wall.lit, u, v = f.front, lit>>3, max(1, floor(depth/f.width+0.5)), 0.998
	}
	back := side * (front + depth)
	g.quad(&wall, [4]point{
		b.point(x, h, z0, 0, 0), b.point(back, h, z0, u, 0),
		b.point(back, 0, z0, u, v), b.point(x, 0, z0, 0, v),
	})
	s.shadeBox(side, z0, z1, front, h)
	if f.flat {
		return
	}
	rise := 2.4 + 0.8*r.unit()
	ridge := side * (front + depth/2)
	eave := side * (front - 0.25)
	roof := material{tex: s.assets.roof, label: ClassBuilding, normal: normalSlope, tint: f.roof.packed()}
	g.quad(&roof, [4]point{
		b.point(ridge, h+rise, z0, 0, 0), b.point(ridge, h+rise, z1, 4, 0),
		b.point(eave, h-0.1, z1, 4, 2), b.point(eave, h-0.1, z0, 0, 2),
	})
	wall.tex, wall.lit = f.wall, 0
	g.quad(&wall, [4]point{
		b.point(ridge, h+rise, z0, u/2, -0.7), b.point(ridge, h+rise, z0, u/2, -0.7),
		b.point(back, h, z0, u, 0), b.point(x, h, z0, 0, 0),
	})
	s.chimney(f, ridge, h+rise, z0+1, side)
}

func (s *Renderer) chimney(f *facade, x, top, z, side float32) {
	m := material{tex: f.wall, label: ClassBuilding, normal: normalToward}
	g, b := &s.g, &s.b
	x0, x1 := x-0.5, x+0.5
	y0, y1 := top-0.8, top+1.2
	g.quad(&m, [4]point{
		b.point(x0, y1, z, 0, 0), b.point(x1, y1, z, 0.25, 0),
		b.point(x1, y0, z, 0.25, 0.5), b.point(x0, y0, z, 0, 0.5),
	})
	m.normal = normalRight
	xs := x1
	if side > 0 {
		m.normal, xs = normalLeft, x0
	}
	g.quad(&m, [4]point{
		b.point(xs, y1, z, 0, 0), b.point(xs, y1, z+1.4, 0.35, 0),
		b.point(xs, y0, z+1.4, 0.35, 0.5), b.point(xs, y0, z, 0, 0.5),
	})
}

// drawBehind closes a gap between buildings with a thicket.
func (s *Renderer) drawBehind(key uint64, side, z0, x, height float32) {
	r := stream(s.seed, streamTree, key*8+7)
	m := material{tex: s.assets.thicket[r.below(3)], label: ClassTree, normal: normalRound}
	b := &s.b
	xs := side * x
	h := height * r.in(0.8, 1.2)
	s.g.quad(&m, [4]point{
		b.point(xs, h, z0, 0, 0), b.point(xs, h, z0+slot, slot/h, 0),
		b.point(xs, 0, z0+slot, slot/h, 0.98), b.point(xs, 0, z0, 0, 0.98),
	})
	z := z0 + slot
	far := side * (x + 30)
	s.g.quad(&m, [4]point{
		b.point(xs, h, z, 0, 0), b.point(far, h, z, 30/h, 0),
		b.point(far, 0, z, 30/h, 0.98), b.point(xs, 0, z, 0, 0.98),
	})
	s.tree(&r, side*(x-1.5), z0+r.in(2, 10), r.in(6, 10))
}

// tree draws one tree of the given height with its foot at (x, z).
func (s *Renderer) tree(r *rng, x, z, height float32) {
	k := r.below(len(s.assets.trees))
	if z < near {
		return
	}
	m := material{tex: s.assets.trees[k], label: ClassTree, normal: normalRound}
	w := height * 0.5
	u0, u1 := float32(0.004), float32(0.996)
	if r.chance(0.5) {
		u0, u1 = u1, u0
	}
	s.sprite(&m, x, 0, z, w, height, u0, u1)
	s.shadow(x, z, height*0.33, height)
}

// sprite draws a picture that stands upright and faces the camera.
func (s *Renderer) sprite(m *material, x, y, z, half, height, u0, u1 float32) {
	if z < near {
		return
	}
	b := &s.b
	p := b.point(x, y, z, 0, 0)
	top := y + height - b.camY
	s.g.quad(m, [4]point{
		{p.x - half, top, z, u0, 0.004},
		{p.x + half, top, z, u1, 0.004},
		{p.x + half, p.y, z, u1, 0.996},
		{p.x - half, p.y, z, u0, 0.996},
	})
}

func (s *Renderer) drawStreetTree(i int, side float32, key uint64) {
	st := &s.street
	r := stream(s.seed, streamTree, key*8)
	if r.chance(st.trees) {
		x := side * (st.roadHalf + 0.7)
		if st.pavement < 2.4 {
			x = side * (st.roadHalf + st.pavement + st.setback*0.5)
			if st.setback < 2 {
				return
			}
		}
		s.tree(&r, x, float32(i*slot)+r.in(2, 10)-s.camZ, r.in(5.5, 9.5))
	}
	if st.setback > 2.5 && r.chance(0.5) {
		s.tree(&r, side*(st.roadHalf+st.pavement+r.in(1, 2.5)), float32(i*slot)+r.in(0, 12)-s.camZ, r.in(3.5, 7))
	}
}

// drawFrontage draws what stands between pavement and house: a railing,
// boards, a hedge or a low wall.
func (s *Renderer) drawFrontage(i int, side float32, key uint64) {
	st := &s.street
	r := stream(s.seed, streamFence, key/4)
	if !r.chance(st.fence) || st.setback < 0.8 {
		if r.chance(0.18) { // a guard rail at the kerb instead
			s.fence(i, side, st.roadHalf+0.25, s.assets.rails[2], ClassFence, 1.0, slot/2)
		}
		return
	}
	x := st.roadHalf + st.pavement + 0.1
	kind := r.below(8)
	a := &s.assets
	switch {
	case kind < 3:
		s.fence(i, side, x, a.rails[r.below(2)], ClassFence, r.in(1.1, 1.6), slot/2)
	case kind < 5:
		s.fence(i, side, x, a.planks[r.below(3)], ClassFence, r.in(1.2, 1.9), slot/2)
	case kind < 7:
		s.fence(i, side, x, a.hedges[r.below(3)], ClassTree, r.in(0.9, 1.8), slot/1.5)
	default:
		s.fence(i, side, x, a.lowWall, ClassBuilding, r.in(0.7, 1.1), slot/2)
	}
}

func (s *Renderer) fence(i int, side, x float32, tex *texture, label uint8, height, reps float32) {
	m := material{tex: tex, label: label, normal: normalRight}
	if side > 0 {
		m.normal = normalLeft
	}
	if label == ClassTree {
		m.normal = normalRound
	}
	b := &s.b
	xs := side * x
	for p := range 3 {
		z := float32(i*slot) - s.camZ + float32(p*slot)/3
		u := reps * float32(p) / 3
		z1, u1 := z+slot/3, u+reps/3
		if z1 < near {
			continue
		}
		s.g.quad(&m, [4]point{
			b.point(xs, height+kerbHeight, z, u, 0), b.point(xs, height+kerbHeight, z1, u1, 0),
			b.point(xs, 0, z1, u1, 0.98), b.point(xs, 0, z, u, 0.98),
		})
	}
}

// drawFurniture draws lamps, signs and traffic lights of one slot.
func (s *Renderer) drawFurniture(i int, side float32, key uint64, cross bool) {
	st := &s.street
	z0 := float32(i*slot) - s.camZ
	kerb := side * (st.roadHalf + 0.45)
	if s.hasLamp(i, side) && !cross {
		s.lampPost(kerb, side, z0+1)
	}
	r := stream(s.seed, streamPost, key)
	a := &s.assets
	if st.crossSlot(i+1) && st.signalled(i+1) {
		s.signal(i, kerb, z0+slot-0.4)
	}
	if cross {
		return
	}
	if r.chance(0.45) {
		s.post(a.post, side*(st.roadHalf+r.in(0.35, 0.6)), z0+r.in(3, 11), 2.9, 0.045,
			a.signs[r.below(len(a.signs))], r.in(0.6, 0.85))
	}
	if r.chance(0.25) {
		s.post(a.woodPost, side*(st.roadHalf+st.pavement-0.3), z0+r.in(2, 11), 7.5, 0.11, nil, 0)
	}
	if st.zebraSlot(i) {
		s.post(a.post, kerb, z0+2.6, 3, 0.06, a.signs[5], 0.8)
	}
	if r.chance(0.3) {
		for n := range 3 { // bollards
			s.post(a.post, side*(st.roadHalf+0.35), z0+5+float32(n)*1.5, 1, 0.07, nil, 0)
		}
	}
}

func (s *Renderer) post(tex *texture, x, z, height, half float32, sign *texture, size float32) {
	if z < near {
		return
	}
	m := material{tex: tex, label: ClassPole, normal: normalToward}
	s.sprite(&m, x, 0, z, half, height+kerbHeight, 0.02, 0.98)
	if sign != nil {
		m.tex, m.label = sign, ClassSign
		s.sprite(&m, x, height-size+kerbHeight, z-0.06, size/2, size, 0, 1)
	}
}

func (s *Renderer) signal(i int, x, z float32) {
	if z < near {
		return
	}
	a := &s.assets
	s.post(a.post, x, z, 3.4, 0.07, nil, 0)
	on := a.signals[[3]int{0, 2, 2}[(uint64(s.seconds/9)+mix(uint64(i)))%3]]
	m := material{tex: on, label: ClassSign, normal: normalToward}
	s.sprite(&m, x, 2.5, z-0.1, 0.22, 0.95, 0, 1)
	s.glow(x, 2.95, z-0.12, 0.25, glowSignal)
}

// hasLamp says whether slot i has a lamp on this side: the sides take turns.
func (s *Renderer) hasLamp(i int, side float32) bool {
	n := s.street.lampEvery
	if side > 0 {
		return mod(i, n) == 0
	}
	return mod(i+n/2+n%2, n) == 0
}

func (s *Renderer) lampPost(x, side, z float32) {
	if z < near {
		return
	}
	a, h := &s.assets, s.street.lampHeight
	s.post(a.post, x, z, h, 0.085, nil, 0)
	m := material{tex: a.post, label: ClassPole, normal: normalToward}
	b := &s.b
	head := x - float32(side*1.5)
	s.g.quad(&m, [4]point{
		b.point(x, h, z, 0, 0), b.point(head, h+0.45, z, 1, 0), b.point(head, h+0.37, z, 1, 1), b.point(x, h-0.12, z, 0, 1),
	})
	m.tex, m.label = a.lampHead, Unknown
	s.sprite(&m, head, h+0.3, z-0.02, 0.36, 0.16, 0, 1)
	s.glow(head, h+0.32, z-0.1, 0.5, glowLamp)
}
