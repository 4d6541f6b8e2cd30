package synth

// glowLook is how a kind of light looks in the lens.
var glowLook = [...]struct {
	colour rgb
	power  float32
	spread float32
}{
	glowLamp:   {rgb{1, 1, 1}, 2.2, 3.0},
	glowHead:   {rgb{1, 0.97, 0.9}, 2.5, 3.0},
	glowTail:   {rgb{1, 0.06, 0.03}, 0.5, 2.0},
	glowSignal: {rgb{0.5, 0.5, 0.4}, 0.2, 2.0},
}

// addGlows adds the halos of lights that are seen.
func (s *Renderer) addGlows() {
	g := &s.g
	for i := range s.glows {
		w := &s.glows[i]
		inv := 1 / w.p.z
		x, y := g.cx+float32(float32(g.f*w.p.x)*inv), g.cy-float32(float32(g.f*w.p.y)*inv)
		seen := s.seen(int(x), int(y), inv)
		if seen == 0 {
			continue
		}
		look := &glowLook[w.kind]
		c := look.colour
		if w.kind == glowLamp {
			c = s.lighting.lamps.times(0.22)
		}
		rad := min(max(float32(w.size*g.f)*inv*look.spread, g.f*0.006), g.f*0.11)
		s.halo(x, y, rad, c.times(look.power*s.lighting.glow*seen))
	}
}

// seen returns the part of a light that nothing hides.
func (s *Renderer) seen(x, y int, inv float32) float32 {
	g := &s.g
	n := 0
	for _, d := range [5][2]int{{0, 0}, {-1, 0}, {1, 0}, {0, -1}, {0, 1}} {
		px, py := x+d[0], y+d[1]
		if px >= 0 && py >= 0 && px < g.w && py < g.h && g.inv[py*g.w+px] <= inv*1.01 {
			n++
		}
	}
	return float32(n) / 5
}

func (s *Renderer) halo(cx, cy, rad float32, c rgb) {
	g := &s.g
	y0, y1 := max(int(cy-rad), 0), min(int(cy+rad)+1, g.h)
	x0, x1 := max(int(cx-rad), 0), min(int(cx+rad)+1, g.w)
	inv := 1 / rad
	for y := y0; y < y1; y++ {
		dy := (float32(y) + 0.5 - cy) * inv
		for x := x0; x < x1; x++ {
			dx := (float32(x) + 0.5 - cx) * inv
			d := float32(dx*dx) + float32(dy*dy)
			if d >= 1 {
				continue
			}
			v := float32(float32((1-d)*(1-d))/(1+float32(d*60))) * unity
			o := s.light[3*(y*g.w+x):]
			o[0] = uint16(min(float32(o[0])+float32(v*c[0]), 65535))
			o[1] = uint16(min(float32(o[1])+float32(v*c[1]), 65535))
			o[2] = uint16(min(float32(o[2])+float32(v*c[2]), 65535))
		}
	}
}

// toneSize is the length of the tone curve; the last value is a light of 2.
const toneSize = 4096

// film is the sensor: tone curve and noise.
type film struct {
	tone  [toneSize]uint8
	amp   [256]int32 // noise at 1/256 of the range of the tone curve
	grain [1 << 15]int8
	gain  [3]uint32
}

func (f *film) set(l *lighting) {
	for i := range f.tone {
		v := float32(i) / (toneSize / 2)
		// Linear in the shade, a shoulder above 0.7.
		if v > 0.7 {
			v = 0.7 + 0.3*(1-1/(1+(v-0.7)/0.3*1.1))*1.12
		}
		f.tone[i] = encode(min(v, 1))
	}
	for i := range f.amp {
		light := (float32(i) + 0.5) / 128
		f.amp[i] = int32((l.read + float32(l.shot*sqrt(light))) * (toneSize / 2) * 256 / 40)
	}
	for c := range 3 {
		f.gain[c] = uint32(l.gain[c] * 256)
	}
	r := stream(7, streamNoise, 0)
	for i := range f.grain {
		sum := float32(0)
		for range 6 {
			sum += r.unit() - 0.5
		}
		f.grain[i] = int8(sum * 1.41 * 40)
	}
}

// encode finds the display value of a light by bisection of toLinear: no
// power function, the same everywhere.
func encode(v float32) uint8 {
	lo, hi := 0, 255
	for lo < hi {
		mid := (lo + hi) / 2
		if (toLinear[mid]+toLinear[min(mid+1, 255)])/2 < v {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return uint8(lo)
}

// expose turns light into the bytes of the picture: motion blur, noise, tone.
func (s *Renderer) expose(pix []byte, frame uint64) {
	g := &s.g
	travel := float32(s.speed * s.lighting.exposure)
	for y := range g.h {
		seed := mix(frame<<20 ^ uint64(y))
		s.exposeRow(pix[3*y*g.w:3*(y+1)*g.w], y, travel, uint32(seed))
	}
}

func (s *Renderer) exposeRow(out []byte, y int, travel float32, salt uint32) {
	g, f := &s.g, &s.film
	w := g.w
	down := w
	if y == g.h-1 {
		down = 0
	}
	fy := float32(y) - g.cy
	for x := range w {
		i := y*w + x
		right := 1
		if x == w-1 {
			right = 0
		}
		a, b := 3*(i+right), 3*(i+down)
		if k := float32(travel * g.inv[i]); k > 0 {
			fx := float32(x) - g.cx
			if mx, my := float32(fx*k), float32(fy*k); abs(mx)+abs(my) > 1.5 {
				t := float32(dither[y&3*4+x&3])*(0.5/65536) + 0.25
				a = 3 * s.tap(float32(x)+float32(mx*t), float32(y)+float32(my*t))
				b = 3 * s.tap(float32(x)-float32(mx*t), float32(y)-float32(my*t))
			}
		}
		c := 3 * i
		for ch := range 3 {
			v := (2*uint32(s.light[c+ch]) + uint32(s.light[a+ch]) + uint32(s.light[b+ch])) >> 2
			v = min(v*f.gain[ch]>>8, toneSize-1)
			salt = salt*1664525 + 1013904223
			n := int32(v) + int32(f.grain[salt>>17])*f.amp[v>>4]>>8
			out[3*x+ch] = f.tone[min(max(n, 0), toneSize-1)]
		}
	}
}

func (s *Renderer) tap(x, y float32) int {
	g := &s.g
	return min(max(int(y+0.5), 0), g.h-1)*g.w + min(max(int(x+0.5), 0), g.w-1)
}
