package synth

// The kinds of a decal.
const (
	decalContact = iota // darkness under a thing, by any light
	decalSun            // a shadow of the sun
	decalBeam           // light of headlamps
)

// decal is a patch of shadow or light on the ground, in world metres across
// and camera metres ahead.
type decal struct {
	tex                *texture
	x, z, halfX, halfZ float32
	kind               uint8
	strength           uint32
}

// The kinds of a glow.
const (
	glowLamp = iota
	glowHead
	glowTail
	glowSignal
)

// glow is a light seen in the dark: a halo in the lens.
type glow struct {
	p    point
	size float32 // metres
	kind uint8
}

func (s *Renderer) decal(tex **texture, x, z, halfX, halfZ float32, kind uint8, strength uint32) {
	if z > 70 {
		return
	}
	s.decals = append(s.decals, decal{*tex, x, z, halfX, halfZ, kind, strength})
}

func (s *Renderer) glow(x, y, z, size float32, kind uint8) {
	if z < near {
		return
	}
	s.glows = append(s.glows, glow{s.b.point(x, y, z, 0, 0), size, kind})
}

// shadow is the sun's (and a little of the sky's) shadow of a tree.
func (s *Renderer) shadow(x, z, half, height float32) {
	s.decal(&s.assets.leafShade, x, z, half*0.8, half*0.8, decalContact, 60)
	if !s.street.overcast {
		off := float32(s.street.sunX*height) * 0.9
		s.decal(&s.assets.leafShade, x-off, z, half*1.6, half, decalSun, 235)
	}
}

// shadeBox is the shadow of a building that stands between sun and street.
func (s *Renderer) shadeBox(side, z0, z1, front, height float32) {
	st := &s.street
	if st.overcast || side*st.sunX < 0 || z0 > 90 {
		return
	}
	reach := min(height*abs(st.sunX)/st.sunY*0.9, 2*front)
	x := side * (front - reach/2)
	s.decals = append(s.decals, decal{nil, x, (z0 + z1) / 2, reach / 2, (z1 - z0) / 2, decalSun, 225})
}

// paintDecals lays the patches on the ground, which is already drawn.
func (s *Renderer) paintDecals() {
	for i := range s.decals {
		d := &s.decals[i]
		if d.kind == decalSun && s.params.Time != Day || d.kind == decalBeam && s.params.Time == Day {
			continue
		}
		n := 1
		if d.halfZ > 5 || d.halfZ < -5 {
			n = 3 // follow the bend of the street
		}
		for p := range n {
			v0, v1 := float32(p)/float32(n), float32(p+1)/float32(n)
			za, zb := d.z+d.halfZ-float32(2*d.halfZ*v0), d.z+d.halfZ-float32(2*d.halfZ*v1)
			b := &s.b
			s.g.patch(d, [4]point{
				b.point(d.x-d.halfX, 0, za, 0, v0), b.point(d.x+d.halfX, 0, za, 0.999, v0),
				b.point(d.x+d.halfX, 0, zb, 0.999, v1*0.999), b.point(d.x-d.halfX, 0, zb, 0, v1*0.999),
			})
		}
	}
}

// patch draws one decal.
func (g *gbuffer) patch(d *decal, pts [4]point) {
	var poly [6]corner
	n := g.project(&poly, &pts)
	if n < 3 {
		return
	}
	sp, ok := newSpans(nil, poly[:n])
	if !ok {
		return
	}
	minY, maxY := poly[0].y, poly[0].y
	for _, c := range poly[1:n] {
		minY, maxY = min(minY, c.y), max(maxY, c.y)
	}
	for y := max(int(minY+0.5), 0); y < min(int(maxY+0.5), g.h); y++ {
		xl, xr := cross(poly[:n], float32(y)+0.5)
		x0, x1 := max(int(xl+0.5), 0), min(int(xr+0.5), g.w)
		if x0 < x1 {
			g.patchRow(d, &sp, y, x0, x1)
		}
	}
}

func (g *gbuffer) patchRow(d *decal, sp *spans, y, x0, x1 int) {
	fy := float32(y) + 0.5
	// On flat ground a row has one depth: u and v are linear along it.
	z := 1 / max(sp.inv.at(float32(x0), fy), 1e-4)
	u, v := float32(sp.uz.at(float32(x0)+0.5, fy)*z), float32(sp.vz.at(float32(x0)+0.5, fy)*z)
	du, dv := float32(sp.uz.a*z), float32(sp.vz.a*z)
	out := g.shade
	if d.kind == decalBeam {
		out = g.beam
	}
	for at := y*g.w + x0; at < y*g.w+x1; at++ {
		if g.normal[at] == normalGround {
			a := d.strength
			if d.tex != nil {
				l := &d.tex.levels[0]
				tu, tv := uint32(int32(u*64)), uint32(int32(v*64))
				a = a * (l.pix[(tv&l.hMask)<<l.wShift|tu&l.wMask] & 255) / 255
			}
			if d.kind == decalBeam {
				out[at] = uint8(min(uint32(out[at])+a, 255))
			} else if dark := uint8(255 - a); d.kind == decalContact {
				out[at] = uint8(uint32(out[at]) * (255 - a) / 255)
			} else if out[at] > dark {
				out[at] = dark
			}
		}
		u, v = u+du, v+dv
	}
}
