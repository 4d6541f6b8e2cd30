package synth

// near is the distance of the front clipping plane in metres.
const near = 0.4

// point is a corner of a face: camera coordinates in metres (x right, y up,
// z ahead) and the place in the texture (1 = the whole texture, v down).
type point struct{ x, y, z, u, v float32 }

// material says how a face looks and what it is.
type material struct {
	tex    *texture
	label  uint8
	normal uint8  // index into normals
	tint   uint32 // colour of paint texels, packed as in a texel
	lit    uint64 // bit n: window n is lit at night
}

// gbuffer holds what is seen through each pixel, before any light.
type gbuffer struct {
	w, h   int
	inv    []float32 // 1/depth in 1/m, 0 where nothing was drawn
	colour []uint32  // albedo and kind, as a texel
	label  []uint8
	normal []uint8
	shade  []uint8 // how much of the sky and sun reaches the ground here, 255 = all
	beam   []uint8 // light of the others' headlamps on the ground

	cx, cy, f float32 // principal point in pixels, focal length in pixels
}

func (g *gbuffer) reset(w, h int) {
	if g.w != w || g.h != h {
		n := w * h
		*g = gbuffer{
			w: w, h: h, inv: make([]float32, n), colour: make([]uint32, n), label: make([]uint8, n),
			normal: make([]uint8, n), shade: make([]uint8, n), beam: make([]uint8, n),
		}
	}
	clear(g.inv)
	clear(g.beam)
	for i := range g.shade {
		g.shade[i] = 255
	}
}

// plane is a value that is linear over the screen: a*x + b*y + c.
type plane struct{ a, b, c float32 }

func (p plane) at(x, y float32) float32 { return float32(p.a*x) + float32(p.b*y) + p.c }

// corner is a projected point: pixel position and the values over depth.
type corner struct{ x, y, inv, uz, vz float32 }

// quad draws a flat face of three or four corners. Either side is seen.
func (g *gbuffer) quad(m *material, pts [4]point) {
	var poly [6]corner
	n := g.project(&poly, &pts)
	if n < 3 {
		return
	}
	minX, maxX, minY, maxY := poly[0].x, poly[0].x, poly[0].y, poly[0].y
	for _, c := range poly[1:n] {
		minX, maxX = min(minX, c.x), max(maxX, c.x)
		minY, maxY = min(minY, c.y), max(maxY, c.y)
	}
	if maxX <= 0 || minX >= float32(g.w) || maxY <= 0 || minY >= float32(g.h) {
		return
	}
	s, ok := newSpans(m, poly[:n])
	if !ok {
		return
	}
	y0, y1 := max(int(minY+0.5), 0), min(int(maxY+0.5), g.h)
	for y := y0; y < y1; y++ {
		xl, xr := cross(poly[:n], float32(y)+0.5)
		x0, x1 := max(int(xl+0.5), 0), min(int(xr+0.5), g.w)
		if x0 < x1 {
			g.span(&s, y, x0, x1)
		}
	}
}

// project clips the face at the near plane and projects what is left.
func (g *gbuffer) project(poly *[6]corner, pts *[4]point) int {
	n := 0
	put := func(p point) {
		inv := 1 / p.z
		poly[n] = corner{
			g.cx + float32(float32(g.f*p.x)*inv), g.cy - float32(float32(g.f*p.y)*inv),
			inv, float32(p.u * inv), float32(p.v * inv),
		}
		n++
	}
	for i := range pts {
		p, q := pts[i], pts[(i+1)&3]
		if p.z >= near {
			put(p)
		}
		if (p.z >= near) != (q.z >= near) {
			t := (near - p.z) / (q.z - p.z)
			put(point{lerp(p.x, q.x, t), lerp(p.y, q.y, t), near, lerp(p.u, q.u, t), lerp(p.v, q.v, t)})
		}
	}
	return n
}

// cross returns where the row at y enters and leaves the convex polygon.
func cross(poly []corner, y float32) (left, right float32) {
	left, right = 1e9, -1e9
	p := poly[len(poly)-1]
	for _, q := range poly {
		if (p.y <= y) != (q.y <= y) {
			x := p.x + float32((q.x-p.x)*((y-p.y)/(q.y-p.y)))
			left, right = min(left, x), max(right, x)
		}
		p = q
	}
	return left, right
}

// spans is what all rows of one face share.
type spans struct {
	m           *material
	inv, uz, vz plane
}

// newSpans finds the planes through the largest triangle of the polygon; ok is
// false when it is seen from the edge.
func newSpans(m *material, poly []corner) (s spans, ok bool) {
	a := poly[0]
	best, bi := float32(0), 1
	for i := 1; i+1 < len(poly); i++ {
		b, c := poly[i], poly[i+1]
		d := abs(float32((b.x-a.x)*(c.y-a.y)) - float32((c.x-a.x)*(b.y-a.y)))
		if d > best {
			best, bi = d, i
		}
	}
	if best < 0.05 {
		return s, false
	}
	b, c := poly[bi], poly[bi+1]
	det := float32((b.x-a.x)*(c.y-a.y)) - float32((c.x-a.x)*(b.y-a.y))
	fit := func(va, vb, vc float32) plane {
		px := (float32((vb-va)*(c.y-a.y)) - float32((vc-va)*(b.y-a.y))) / det
		py := (float32((vc-va)*(b.x-a.x)) - float32((vb-va)*(c.x-a.x))) / det
		return plane{px, py, va - float32(px*a.x) - float32(py*a.y)}
	}
	s = spans{m: m, inv: fit(a.inv, b.inv, c.inv), uz: fit(a.uz, b.uz, c.uz), vz: fit(a.vz, b.vz, c.vz)}
	return s, true
}

// run is the number of pixels over which the texture is stepped evenly.
const run = 16

// span draws row y from x0 to x1, exact in perspective at the ends of runs.
func (g *gbuffer) span(s *spans, y, x0, x1 int) {
	t := s.m.tex
	fy := float32(y) + 0.5
	tw, th := float32(t.w), float32(t.h)
	place := func(x int) (inv, u, v float32) {
		fx := float32(x) + 0.5
		inv = max(s.inv.at(fx, fy), 1e-4)
		z := 1 / inv
		return inv, float32(float32(s.uz.at(fx, fy)*z) * tw), float32(float32(s.vz.at(fx, fy)*z) * th)
	}
	inv0, u0, v0 := place(x0)
	for x0 < x1 {
		end := min(x0+run, x1)
		inv1, u1, v1 := place(end)
		n := float32(end - x0)
		// The level whose texels are about as large as the pixels; rows step like columns here.
		du, dv := (u1-u0)/n, (v1-v0)/n
		z := 1 / max(inv0, inv1)
		size := max(abs(du)+abs(dv), float32(g.texels(s, fy, x0, tw, th)*0.8))
		lv := 0
		for size > 1.4 && lv < len(t.levels)-1 {
			size *= 0.5
			lv++
		}
		_ = z
		g.draw(s.m, &t.levels[lv], lv, y*g.w+x0, int(n), run4{inv0, (inv1 - inv0) / n, u0, du, v0, dv})
		x0, inv0, u0, v0 = end, inv1, u1, v1
	}
}

// texels returns how far the texture moves from this row to the next.
func (g *gbuffer) texels(s *spans, fy float32, x int, tw, th float32) float32 {
	fx := float32(x) + 0.5
	inv := max(s.inv.at(fx, fy), 1e-4)
	u, v := s.uz.at(fx, fy)/inv, s.vz.at(fx, fy)/inv
	du := (s.uz.b - float32(u*s.inv.b)) / inv
	dv := (s.vz.b - float32(v*s.inv.b)) / inv
	return abs(float32(du*tw)) + abs(float32(dv*th))
}

// run4 holds the start and step of 1/depth, u and v (texels of level 0).
type run4 struct{ inv, dInv, u, du, v, dv float32 }

// dither moves the sample by up to half a texel, a cheap stand-in for
// interpolation between texels: 4x4 ordered, in 1/65536 texel.
var dither = [16]int32{
	0, 32768, 8192, 40960, 49152, 16384, 57344, 24576,
	12288, 45056, 4096, 36864, 61440, 28672, 53248, 20480,
}

func (g *gbuffer) draw(m *material, l *level, lv, at, n int, r run4) {
	scale := float32(65536) / float32(int(1)<<lv)
	u, du := int32(int64(float32(r.u*scale))), int32(int64(float32(r.du*scale)))
	v, dv := int32(int64(float32(r.v*scale))), int32(int64(float32(r.dv*scale)))
	row := (at / g.w & 3) * 4
	col := at % g.w
	inv := r.inv
	depth, colour := g.inv[at:at+n], g.colour[at:at+n]
	label, normal := g.label[at:at+n], g.normal[at:at+n]
	for i := range depth {
		if inv > depth[i] {
			d := dither[row+(col+i)&3]
			tu, tv := uint32(u+d-32768)>>16, uint32(v+(d^0x5555)-32768)>>16
			p := l.pix[(tv&l.hMask)<<l.wShift|tu&l.wMask]
			if k := p >> 24; k != kindNone {
				if k >= kindPaint {
					p = special(p, m)
				}
				depth[i], colour[i] = inv, p
				label[i], normal[i] = m.label, m.normal
			}
		}
		u, v, inv = u+du, v+dv, inv+r.dInv
	}
}

// special turns paint into the tint's colour and a window into glass or light.
func special(p uint32, m *material) uint32 {
	k := p >> 24
	if k == kindPaint {
		r := (p & 255) * (m.tint & 255) / 255
		g := (p >> 8 & 255) * (m.tint >> 8 & 255) / 255
		b := (p >> 16 & 255) * (m.tint >> 16 & 255) / 255
		return r | g<<8 | b<<16 | kindPlain<<24
	}
	if k >= kindWindow {
		if m.lit>>(k-kindWindow)&1 != 0 {
			return p&0xFFFFFF | kindLit<<24
		}
		return p&0xFFFFFF | kindGlass<<24
	}
	return p
}
