package synth

// rgb is a colour in 0..1, display (sRGB) scale.
type rgb [3]float32

func hex(v uint32) rgb {
	return rgb{float32(v>>16) / 255, float32(v>>8&255) / 255, float32(v&255) / 255}
}

func (c rgb) times(k float32) rgb {
	return rgb{float32(c[0] * k), float32(c[1] * k), float32(c[2] * k)}
}

func (c rgb) blend(d rgb, t float32) rgb {
	return rgb{lerp(c[0], d[0], t), lerp(c[1], d[1], t), lerp(c[2], d[2], t)}
}

func (c rgb) packed() uint32 {
	return uint32(toByte(c[0])) | uint32(toByte(c[1]))<<8 | uint32(toByte(c[2]))<<16
}

// The kinds of a texel, its top byte. A window has its own number, so that a
// building can have some of its windows lit.
const (
	kindNone   = iota // transparent
	kindPlain         // diffuse
	kindPaint         // diffuse, times the tint of the thing
	kindGlass         // dark and shiny
	kindHead          // shines white when it is dark
	kindTail          // shines red
	kindLamp          // shines in the lamps' colour
	kindSignal        // shines in its own colour
	kindLit           // a lit window (made from a window texel while drawing)
	kindSky           // not lit at all
	kindWindow = 64   // 64 + number, up to 63
)

// texture is a picture with mip levels, each side a power of two. A texel is
// red, green, blue and kind, from the low byte up.
type texture struct {
	w, h   int
	levels []level
	sprite bool // has transparent texels
}

type level struct {
	wShift       uint
	wMask, hMask uint32
	pix          []uint32
}

func newTexture(w, h int) *texture {
	return &texture{w: w, h: h, levels: []level{newLevel(w, h)}}
}

func newLevel(w, h int) level {
	var s uint
	for 1<<s < w {
		s++
	}
	return level{wShift: s, wMask: uint32(w - 1), hMask: uint32(h - 1), pix: make([]uint32, w*h)}
}

func (t *texture) set(x, y int, c rgb, kind uint8) {
	if x < 0 || y < 0 || x >= t.w || y >= t.h {
		return
	}
	t.levels[0].pix[y*t.w+x] = c.packed() | uint32(kind)<<24
}

func (t *texture) get(x, y int) (c rgb, kind uint8) {
	v := t.levels[0].pix[(y&(t.h-1))*t.w+x&(t.w-1)]
	return rgb{float32(v&255) / 255, float32(v>>8&255) / 255, float32(v>>16&255) / 255}, uint8(v >> 24)
}

// rect fills a rectangle given in parts of the texture (0..1, y down).
func (t *texture) rect(x0, y0, x1, y1 float32, c rgb, kind uint8) {
	for y := int(y0*float32(t.h) + 0.5); y < int(y1*float32(t.h)+0.5); y++ {
		for x := int(x0*float32(t.w) + 0.5); x < int(x1*float32(t.w)+0.5); x++ {
			t.set(x, y, c, kind)
		}
	}
}

// each replaces every texel that is not transparent by what f returns.
func (t *texture) each(f func(x, y int, c rgb, kind uint8) (rgb, uint8)) {
	for y := range t.h {
		for x := range t.w {
			if c, k := t.get(x, y); k != kindNone {
				c, k = f(x, y, c, k)
				t.set(x, y, c, k)
			}
		}
	}
}

// finish builds the mip levels and returns t.
func (t *texture) finish() *texture {
	w, h := t.w, t.h
	for _, p := range t.levels[0].pix {
		if p>>24 == kindNone {
			t.sprite = true
			break
		}
	}
	for w > 1 && h > 1 {
		src := t.levels[len(t.levels)-1].pix
		w, h = w/2, h/2
		dst := newLevel(w, h)
		for y := range h {
			for x := range w {
				i := 4*y*w + 2*x
				dst.pix[y*w+x] = halve(src[i], src[i+1], src[i+2*w], src[i+2*w+1], x+y)
			}
		}
		t.levels = append(t.levels, dst)
	}
	return t
}

// halve averages the opaque ones of four texels. Two of four is a tie, broken
// as on a chess board, so that thin things neither vanish nor grow.
func halve(a, b, c, d uint32, odd int) uint32 {
	var n, r, g, bl, kind uint32
	for _, p := range [4]uint32{a, b, c, d} {
		k := p >> 24
		if k == kindNone {
			continue
		}
		n, r, g, bl = n+1, r+p&255, g+p>>8&255, bl+p>>16&255
		if kind == kindNone || k > kind {
			kind = k
		}
	}
	if n == 0 || (n == 1 && odd&1 == 0) {
		return 0
	}
	return r/n | g/n<<8 | bl/n<<16 | kind<<24
}
