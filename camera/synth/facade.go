package synth

// facade is the street side of a building and the wall that goes with it.
type facade struct {
	front, wall   *texture
	width, height float32 // metres that one texture covers
	flat          bool    // a flat roof
	roof          rgb
	shop          bool
}

// skin is what a wall is made of.
type skin struct {
	base         rgb
	mortar       rgb
	brickW       int // texels; 0 = no bricks
	brickH       int
	vary         float32 // brick to brick
	stain, grain float32
}

var wallColours = []skin{
	{hex(0x9c5a45), hex(0xa89a8c), 10, 4, 0.22, 0.25, 0.10},  // red brick
	{hex(0x7d4a3c), hex(0x8d7f74), 10, 4, 0.25, 0.30, 0.10},  // dark red brick
	{hex(0xb39c74), hex(0xb0a593), 10, 4, 0.20, 0.30, 0.10},  // yellow brick
	{hex(0x8f8069), hex(0x8a8175), 10, 4, 0.25, 0.35, 0.12},  // sooty stock brick
	{hex(0xcfc6b2), hex(0xcfc6b2), 0, 0, 0, 0.25, 0.05},      // cream render
	{hex(0xd8d7d0), hex(0xd8d7d0), 0, 0, 0, 0.22, 0.04},      // white render
	{hex(0xa09a90), hex(0x8d877d), 40, 20, 0.10, 0.35, 0.08}, // stone blocks
	{hex(0x95979a), hex(0x7d8083), 64, 64, 0.06, 0.35, 0.06}, // concrete panels
	{hex(0xc2a88a), hex(0xc2a88a), 0, 0, 0, 0.30, 0.05},      // ochre render
	{hex(0xb98c78), hex(0xb98c78), 0, 0, 0, 0.30, 0.05},      // faded pink render
}

// builder paints one facade.
type builder struct {
	t     *texture
	r     *rng
	noise *noiseTile
	ox    int // where in the noise
	s     skin
	trim  rgb
	glass rgb
	win   uint8 // next window number
}

const facadeSize = 256

// bakeFacade paints a facade of `floors` floors. Ground floors have doors and
// windows, or a shop.
func bakeFacade(r rng, noise *noiseTile, floors int, shop, office bool) facade {
	b := &builder{t: newTexture(facadeSize, facadeSize), r: &r, noise: noise, ox: r.below(tileSize)}
	b.s = wallColours[r.below(len(wallColours))]
	if office {
		b.s = wallColours[6+r.below(2)]
	}
	b.s.base = b.s.base.times(r.in(0.8, 1.1))
	b.trim = hex(0xe4e2da).times(r.in(0.75, 1))
	if r.chance(0.25) {
		b.trim = hex(0x3b3f44)
	}
	b.glass = hex(0x39434c).times(r.in(0.7, 1.2))
	b.wall(0, 0, 1, 1)
	bays := 2 + r.below(2)
	if office {
		bays = 4
	}
	fh := 1 / float32(floors)
	winW, winH := r.in(0.36, 0.5), r.in(0.5, 0.62)
	if office {
		winW, winH = r.in(0.7, 0.86), r.in(0.5, 0.65)
	}
	for f := range floors {
		y0 := float32(f) * fh
		if f == floors-1 {
			b.ground(y0, bays, shop, office)
			break
		}
		for i := range bays {
			x := (float32(i) + 0.5) / float32(bays)
			w := winW / float32(bays) / 2
			b.window(x-w, y0+float32(fh*0.2), x+w, y0+float32(fh*(0.2+winH)), office)
		}
		if r.chance(0.3) {
			b.band(y0, 0.008)
		}
	}
	b.finishFront(office)
	out := facade{front: b.t.finish(), width: float32(bays) * r.in(2.5, 3.1), height: float32(floors)*3 + 0.4, shop: shop}
	if office {
		out.width = 14
	}
	out.flat = office || r.chance(0.2)
	out.roof = hex([]uint32{0x5a4a44, 0x6b4438, 0x4d4f54, 0x5f5a55, 0x7a5040}[r.below(5)])
	out.wall = b.bare()
	return out
}

// bare is a wall of the same skin without windows, 4 m a side.
func (b *builder) bare() *texture {
	front := b.t
	b.t = newTexture(128, 128)
	b.wall(0, 0, 1, 1)
	t := b.t.finish()
	b.t = front
	return t
}

func (b *builder) wall(x0, y0, x1, y1 float32) {
	w, h := float32(b.t.w), float32(b.t.h)
	s := b.s
	for y := int(y0 * h); y < int(y1*h); y++ {
		for x := int(x0 * w); x < int(x1*w); x++ {
			c := s.base
			if s.brickW > 0 {
				row := y / s.brickH
				bx := x + row%2*s.brickW/2
				cell := mix(uint64(bx/s.brickW)<<20 ^ uint64(row))
				c = c.times(1 + float32((float32(cell>>40)/(1<<24)-0.5)*s.vary*2))
				if y%s.brickH == 0 || bx%s.brickW == 0 {
					c = c.blend(s.mortar, 0.5)
				}
			}
			g := b.noise.at(x*3+b.ox, y*3) - 0.5
			st := b.noise.at(x/2+b.ox, y/5+77) - 0.5
			c = c.times(1 + float32(g*s.grain*2) + float32(st*s.stain))
			b.t.set(x, y, c, kindPlain)
		}
	}
}

func (b *builder) band(y, h float32) {
	b.t.rect(0, y-h, 1, y+h, b.s.base.blend(b.trim, 0.5), kindPlain)
	b.t.rect(0, y+h, 1, y+float32(h*1.6), b.s.base.times(0.6), kindPlain)
}

// window paints a frame, panes with a reflection and, often, curtains.
func (b *builder) window(x0, y0, x1, y1 float32, office bool) {
	r := b.r
	px := 1 / float32(b.t.w)
	kind := kindWindow + b.win%60
	b.win++
	b.t.rect(x0-2*px, y0-3*px, x1+2*px, y0, b.s.base.blend(b.trim, 0.35), kindPlain) // lintel
	b.t.rect(x0-px, y0, x1+px, y1, b.trim, kindPlain)
	b.t.rect(x0-2*px, y1, x1+2*px, y1+2*px, b.trim.times(0.95), kindPlain)      // sill
	b.t.rect(x0-px, y1+2*px, x1+2*px, y1+5*px, b.s.base.times(0.55), kindPlain) // its shadow
	curtain := r.in(0.0, 0.35)
	if office {
		curtain = r.in(0, 0.12)
	}
	tone := r.in(0.7, 1.3)
	blind := hex(0xb9b2a2).times(r.in(0.5, 0.9))
	b.pane(x0+px, y0+px, x1-px, y1-px, kind, func(fx, fy float32) rgb {
		c := b.glass.times(tone).blend(hex(0xa9b8c4), float32(0.45*(1-fy)))
		if abs(fx-0.5) > 0.5-curtain {
			c = c.blend(blind, 0.6)
		}
		if fy < 0.06 { // the lintel's shadow on the glass
			c = c.times(0.6)
		}
		return c
	})
	mid := (x0 + x1) / 2
	if x1-x0 > 0.09 || office {
		b.t.rect(mid-px/2, y0, mid+px/2, y1, b.trim, kindPlain)
	}
	my := y0 + float32((y1-y0)*0.48)
	b.t.rect(x0, my-px/2, x1, my+px/2, b.trim.times(0.9), kindPlain)
}

func (b *builder) pane(x0, y0, x1, y1 float32, kind uint8, f func(fx, fy float32) rgb) {
	w, h := float32(b.t.w), float32(b.t.h)
	ix0, ix1, iy0, iy1 := int(x0*w+0.5), int(x1*w+0.5), int(y0*h+0.5), int(y1*h+0.5)
	for y := iy0; y < iy1; y++ {
		for x := ix0; x < ix1; x++ {
			b.t.set(x, y, f(float32(x-ix0)/float32(ix1-ix0), float32(y-iy0)/float32(iy1-iy0)), kind)
		}
	}
}

// ground paints the ground floor from y0 down.
func (b *builder) ground(y0 float32, bays int, shop, office bool) {
	h := 1 - y0
	if shop {
		b.shopFront(y0, h)
		return
	}
	door := b.r.below(bays)
	for i := range bays {
		x := (float32(i) + 0.5) / float32(bays)
		w := 0.5 / float32(bays) / 2
		if i == door && !office {
			b.door(x-float32(w*0.7), y0+float32(h*0.24), x+float32(w*0.7))
			continue
		}
		if office {
			w *= 1.6
		}
		b.window(x-w, y0+float32(h*0.22), x+w, y0+float32(h*0.72), office)
	}
}

func (b *builder) door(x0, y0, x1 float32) {
	c := hex([]uint32{0x2c3b52, 0x5b2222, 0x27402f, 0x3a3a3a, 0x6d4a2b, 0xd0ccc0}[b.r.below(6)])
	b.t.rect(x0-0.012, y0-0.012, x1+0.012, 1, b.trim, kindPlain)
	b.t.rect(x0, y0, x1, 0.995, c, kindPlain)
	w := x1 - x0
	b.t.rect(x0+float32(w*0.15), y0+0.02, x1-float32(w*0.15), y0+0.07, b.glass, kindWindow+61)
	b.t.rect(x0+float32(w*0.15), y0+0.12, x1-float32(w*0.15), 0.95, c.times(0.8), kindPlain)
}

var fasciaColours = []uint32{0x7c1f24, 0x1f3f6d, 0x20503a, 0x2b2b2e, 0xc8b23c, 0xd8d4c8, 0x8a3a1c, 0x3f6f8a, 0xb5362c}

func (b *builder) shopFront(y0, h float32) {
	r := b.r
	fascia := hex(fasciaColours[r.below(len(fasciaColours))])
	ink := hex(0xf0ece0)
	if fascia[0]+fascia[1]+fascia[2] > 1.7 {
		ink = hex(0x2a2a30)
	}
	b.t.rect(0.01, y0+float32(h*0.06), 0.99, y0+float32(h*0.22), fascia, kindPlain)
	// Letters: strokes of different widths in the middle of the fascia.
	for x := r.in(0.15, 0.3); x < 0.75; {
		w := r.in(0.008, 0.03)
		b.t.rect(x, y0+float32(h*r.in(0.09, 0.12)), x+w, y0+float32(h*0.19), ink, kindPlain)
		x += w + 0.01
	}
	b.t.rect(0.01, y0+float32(h*0.22), 0.99, 1, fascia.times(0.55), kindPlain)
	n := 2 + r.below(2)
	door := r.below(n)
	for i := range n {
		x0, x1 := 0.03+0.94*float32(i)/float32(n), 0.01+0.94*float32(i+1)/float32(n)
		bottom := float32(0.86)
		if i == door {
			x0 += float32((x1 - x0) * 0.3)
			bottom = 0.97
		}
		b.display(x0, y0+float32(h*0.26), x1, y0+float32(h*bottom))
	}
}

// display is a shop window: dark glass, goods, the street mirrored in it.
func (b *builder) display(x0, y0, x1, y1 float32) {
	ox := b.r.below(tileSize)
	kind := uint8(kindWindow + 50 + b.r.below(10))
	b.pane(x0, y0, x1, y1, kind, func(fx, fy float32) rgb {
		c := hex(0x2e3438).blend(hex(0x8a949c), float32(0.5*step01(0.5, 0.1, fy)))
		n := b.noise.at(int(fx*60)+ox, int(fy*60)+ox)
		goods := step01(0.55, 0.75, n) * step01(0.25, 0.5, fy)
		hue := rgb{b.noise.at(int(fx*9)+ox, 3), b.noise.at(int(fx*9)+ox, 90), b.noise.at(int(fx*9)+ox, 170)}
		return c.blend(hue, float32(goods*0.6))
	})
}

// finishFront darkens the foot and the eaves, and adds a drain pipe.
func (b *builder) finishFront(office bool) {
	if !office {
		x := b.r.in(0.0, 0.02)
		b.t.rect(x, 0.02, x+0.012, 1, hex(0x35373a), kindPlain)
		b.t.rect(0, 0, 1, 0.018, b.trim.times(0.8), kindPlain)
	}
	b.t.rect(0, 0.018, 1, 0.035, b.s.base.times(0.5), kindPlain)
	b.t.each(func(_, y int, c rgb, kind uint8) (rgb, uint8) {
		foot := step01(0.9, 1, float32(y)/float32(b.t.h))
		return c.times(1 - float32(0.25*foot)), kind
	})
}

// bakeRoof paints tiles or slates, grey so that the tint gives the colour.
func bakeRoof(noise *noiseTile) *texture {
	t := newTexture(128, 128)
	for y := range t.h {
		for x := range t.w {
			row := y / 6
			bx := x + row%2*4
			v := 0.8 + 0.25*(float32(mix(uint64(bx/8*131+row))>>40)/(1<<24)-0.5)
			if y%6 == 5 {
				v *= 0.75
			}
			v *= 0.85 + 0.3*noise.at(x*2, y*2)
			t.set(x, y, rgb{v, v, v}, kindPaint)
		}
	}
	return t.finish()
}
