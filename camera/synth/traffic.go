package synth

// drawParked draws the cars parked at the kerb of one slot: up to two.
func (s *Renderer) drawParked(i int, side float32, key uint64) {
	st := &s.street
	if st.lanes == 2 || st.crossSlot(i+1) || st.zebraSlot(i) || st.zebraSlot(i+1) {
		return
	}
	r := stream(s.seed, streamParked, key)
	for n := range 2 {
		if !r.chance(st.parking) {
			r.next()
			continue
		}
		v := &s.assets.vehicles[r.below(6)]
		z := float32(i*slot) + 3 + float32(n*6) + r.in(-0.3, 0.3) - s.camZ
		dir := side * st.drive
		if r.chance(0.15) {
			dir = -dir
		}
		x := side * (st.roadHalf - 1.05 + r.in(-0.1, 0.1))
		m := material{label: ClassCar, tint: carColours[r.below(len(carColours))]}
		s.car(v, &m, x, z, dir, false)
	}
}

// car draws a vehicle with its shadow and, when it is driven, its lights.
func (s *Renderer) car(v *vehicle, m *material, x, z, dir float32, driven bool) {
	if z < -v.length {
		return
	}
	m.tint = packBGR(m.tint)
	s.g.drawVehicle(&s.b, v, *m, x, 0, z, dir)
	s.decal(&s.assets.soft, x, z, v.width*0.62, v.length*0.54, decalContact, 200)
	if !s.street.overcast {
		s.decal(&s.assets.soft, x-float32(s.street.sunX*v.height*0.8), z, v.width*0.7, v.length*0.53, decalSun, 230)
	}
	if !driven {
		return
	}
	rear := z - v.length/2 - 0.02
	for _, e := range [2]float32{-0.8, 0.8} {
		lx := x + float32(e*v.width/2)
		if dir > 0 {
			s.glow(lx, v.height*(v.boot-0.12), rear, 0.35, glowTail)
		} else {
			s.glow(lx, v.height*(v.hood-0.1), rear, 0.9, glowHead)
		}
	}
	if dir < 0 {
		s.decal(&s.assets.pool, x, rear-9, -4, -9, decalBeam, 255)
	} else {
		s.decal(&s.assets.pool, x, rear+v.length+9, 4, 9, decalBeam, 255)
	}
}

// packBGR turns 0xRRGGBB into the order of texels.
func packBGR(v uint32) uint32 { return v>>16&255 | v&0xFF00 | v&255<<16 }

// column is an endless row of things that move alike along the street.
type column struct {
	kind    uint64
	spacing float32 // metres from one to the next
	speed   float32 // m/s along the street
	chance  float32 // that a place is taken
}

// each calls f for the things in sight; r is the stream of the thing.
func (s *Renderer) each(c *column, f func(s *Renderer, r *rng, z float32)) {
	shift := float32(c.speed * s.seconds)
	first := int(floor((s.camZ - 6 - shift) / c.spacing))
	last := int(floor((s.camZ + viewDepth*0.9 - shift) / c.spacing))
	for i := first; i <= last; i++ {
		r := &s.one // a variable of this function would be allocated for each call of f
		*r = stream(s.seed, c.kind, uint64(int64(i)+1<<30))
		if !r.chance(c.chance) {
			continue
		}
		z := float32((float32(i)+float32(0.6*r.unit()))*c.spacing) + shift - s.camZ
		if z > -6 && z < viewDepth {
			f(s, r, z)
		}
	}
}

// drawMoving draws traffic and people.
func (s *Renderer) drawMoving() {
	st := &s.street
	s.each(&column{streamTraffic, 26, -s.speed * 1.05, st.traffic}, oncoming)
	if st.lanes == 2 {
		s.each(&column{streamTraffic + 100, 30, s.speed * 0.8, st.traffic}, overtaken)
	}
	s.drawLead()
	s.each(&column{streamCyclist, 38, 4.3, st.cyclists}, cyclistAhead)
	s.each(&column{streamCyclist + 100, 55, -4.3, st.cyclists}, cyclistOncoming)
	for side := range 4 {
		v := 1.25 - float32(side&1)*2.5
		s.each(&column{streamWalker + 100*uint64(side), 13, v, st.people}, [...]func(*Renderer, *rng, float32){
			walkLeft, walkLeft, walkRight, walkRight,
		}[side])
	}
	s.drawCrossers()
	s.drawParkedBikes()
}

func (s *Renderer) randomVehicle(r *rng) (*vehicle, material) {
	k := r.below(6)
	if r.chance(0.05) {
		k = 6
	}
	tint := carColours[r.below(len(carColours))]
	if k == 6 {
		tint = []uint32{0xa8201c, 0x1f4f8f, 0xd8d4c0}[r.below(3)]
	}
	return &s.assets.vehicles[k], material{label: ClassCar, tint: tint}
}

func oncoming(s *Renderer, r *rng, z float32) {
	v, m := s.randomVehicle(r)
	x := -s.street.lane() + r.in(-0.2, 0.2)
	if s.street.lanes == 2 && r.chance(0.5) {
		x -= s.street.drive * s.street.laneWidth
	}
	s.car(v, &m, x, z, -1, true)
}

func overtaken(s *Renderer, r *rng, z float32) {
	v, m := s.randomVehicle(r)
	s.car(v, &m, s.street.lane()+float32(s.street.drive*s.street.laneWidth), z, 1, true)
}

// drawLead draws the car ahead; the gap to it grows and shrinks.
func (s *Renderer) drawLead() {
	r := stream(s.seed, streamTraffic, 1<<40)
	phase := r.unit() + s.seconds/r.in(30, 60)
	for n := range 3 {
		v, m := s.randomVehicle(&r)
		gap := 11 + float32(n)*22 + float32(9*(1+sin(phase+float32(n)*0.17))) + v.length/2
		s.car(v, &m, s.street.lane()+r.in(-0.15, 0.15), gap, 1, true)
	}
}

func (s *Renderer) bikeLane() float32 {
	st := &s.street
	x := st.roadHalf - 0.7
	if st.parking > 0 {
		x -= 1.9
	}
	return st.drive * x
}

func cyclistAhead(s *Renderer, r *rng, z float32) {
	if z < 4 {
		return
	}
	c := &s.assets.cyclists[r.below(len(s.assets.cyclists))]
	m := material{tex: c.along[int(s.seconds*2.4+r.unit())&1], label: ClassBicyclist, normal: normalRound}
	x := s.bikeLane() + r.in(-0.2, 0.2)
	s.sprite(&m, x, 0, z, 0.47, 1.85, 0.01, 0.99)
	s.decal(&s.assets.soft, x, z, 0.35, 0.9, decalContact, 150)
	s.glow(x, 0.7, z-0.3, 0.12, glowTail)
}

func cyclistOncoming(s *Renderer, r *rng, z float32) {
	if z < 3 {
		return
	}
	c := &s.assets.cyclists[r.below(len(s.assets.cyclists))]
	m := material{tex: c.along[int(s.seconds*2.4+r.unit())&1], label: ClassBicyclist, normal: normalRound}
	x := -s.bikeLane() + r.in(-0.2, 0.2)
	s.sprite(&m, x, 0, z, 0.47, 1.85, 0.99, 0.01)
	s.decal(&s.assets.soft, x, z, 0.35, 0.9, decalContact, 150)
	s.glow(x, 0.95, z-0.3, 0.2, glowHead)
}

func walkLeft(s *Renderer, r *rng, z float32)  { s.walker(r, -1, z) }
func walkRight(s *Renderer, r *rng, z float32) { s.walker(r, 1, z) }

func (s *Renderer) walker(r *rng, side, z float32) {
	st := &s.street
	if z < 2.5 || st.crossing(z+s.camZ) {
		return
	}
	x := side * (st.roadHalf + 0.8 + float32((st.pavement-1.1)*r.unit()))
	s.person(r, x, z, kerbHeight, r.chance(0.5))
	if r.chance(0.3) { // company
		s.person(r, x+0.65, z+r.in(-0.3, 0.3), kerbHeight, r.chance(0.5))
	}
}

func (s *Renderer) person(r *rng, x, z, y float32, mirror bool) {
	p := &s.assets.people[r.below(len(s.assets.people))]
	m := material{tex: p.pose[int(s.seconds*3.6+r.unit()*4)&3], label: ClassPedestrian, normal: normalRound}
	u0, u1 := float32(0.01), float32(0.99)
	if mirror {
		u0, u1 = u1, u0
	}
	h := r.in(1.6, 1.9)
	s.sprite(&m, x, y, z, h*0.25, h, u0, u1)
	s.decal(&s.assets.soft, x, z, 0.32, 0.35, decalContact, 150)
	if !s.street.overcast {
		s.decal(&s.assets.soft, x-float32(s.street.sunX*0.9), z, 0.8, 0.25, decalSun, 200)
	}
}

// drawCrossers draws people on the zebra crossings.
func (s *Renderer) drawCrossers() {
	st := &s.street
	first := int(floor(s.camZ / slot))
	for i := first; i < first+8; i++ {
		if !st.zebraSlot(i) {
			continue
		}
		for n := range 3 {
			r := stream(s.seed, streamCross, uint64(int64(i*4+n)+1<<30))
			if !r.chance(st.people) {
				continue
			}
			way := s.seconds/r.in(7, 11) + r.unit()
			x := lerp(-st.roadHalf-1, st.roadHalf+1, way-floor(way))
			mirror := r.chance(0.5)
			if mirror {
				x = -x
			}
			z := float32(i*slot) + r.in(3.4, 5.6) - s.camZ
			if z > 5 {
				s.person(&r, x, z, 0, mirror)
			}
		}
	}
}

// drawParkedBikes draws bicycles with their riders waiting at the kerb or
// crossing a side street.
func (s *Renderer) drawParkedBikes() {
	st := &s.street
	first := int(floor(s.camZ / slot))
	for i := first; i < first+10; i++ {
		r := stream(s.seed, streamCross, uint64(int64(i)+1<<50))
		if !st.crossSlot(i) || !r.chance(st.cyclists) {
			continue
		}
		c := &s.assets.cyclists[r.below(len(s.assets.cyclists))]
		m := material{tex: c.across, label: ClassBicyclist, normal: normalRound}
		way := s.seconds/r.in(4, 6) + r.unit()
		x := r.side() * lerp(st.roadHalf+1, st.roadHalf+18, way-floor(way))
		z := float32(i*slot) + r.in(4, 8) - s.camZ
		if z > 4 {
			s.sprite(&m, x, 0, z, 0.9, 1.8, 0.01, 0.99)
			s.decal(&s.assets.soft, x, z, 0.9, 0.3, decalContact, 140)
		}
	}
}
