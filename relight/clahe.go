package relight

import (
	"math"

	"nightseg/edge/frame"
)

// clahe is contrast-limited adaptive histogram equalisation of the luma
// (Zuiderveld 1994, with the clipping and the spreading of the excess that
// OpenCV uses); red, green and blue keep their ratio, clipped at 255.
type clahe struct {
	y      []byte
	tables [][256]byte // one per tile, rows of tiles from the top
	xs     []mix       // per column: the two tiles and the share of the second
	tiles  int
	w, h   int
}

// mix is a position between the centres of two neighbouring tiles; share is
// the weight of b in 1/256.
type mix struct {
	a, b  int32
	share int32
}

func (c *clahe) apply(dst, src *frame.Frame, clip float64, tiles int) {
	tiles = min(tiles, src.W, src.H)
	c.fit(src.W, src.H, tiles)
	for i := range c.y {
		p := src.Pix[3*i : 3*i+3 : 3*i+3]
		c.y[i] = byte((luma(p[0], p[1], p[2]) + 1<<(lumaBits-1)) >> lumaBits)
	}
	for ty := range tiles {
		for tx := range tiles {
			c.equalise(tx, ty, clip)
		}
	}
	dst.Reset(src.W, src.H)
	for y := range src.H {
		c.row(dst.Pix[3*y*src.W:3*(y+1)*src.W], src.Pix[3*y*src.W:3*(y+1)*src.W], y)
	}
}

func (c *clahe) fit(w, h, tiles int) {
	if c.w == w && c.h == h && c.tiles == tiles {
		return
	}
	c.w, c.h, c.tiles = w, h, tiles
	c.y = make([]byte, w*h)
	c.tables = make([][256]byte, tiles*tiles)
	c.xs = make([]mix, w)
	for x := range c.xs {
		c.xs[x] = place(x, w, tiles)
	}
}

// place finds the tiles between whose centres position i of n lies.
func place(i, n, tiles int) mix {
	t := float64(i)*float64(tiles)/float64(n) - 0.5
	a := int(math.Floor(t))
	share := int32(math.Round((t - float64(a)) * 256))
	return mix{a: int32(max(a, 0)), b: int32(min(a+1, tiles-1)), share: share}
}

// equalise makes the table of one tile: a clipped histogram, its excess spread
// evenly, and the running sum scaled to 0..255.
func (c *clahe) equalise(tx, ty int, clip float64) {
	x0, x1 := tx*c.w/c.tiles, (tx+1)*c.w/c.tiles
	y0, y1 := ty*c.h/c.tiles, (ty+1)*c.h/c.tiles
	area := (x1 - x0) * (y1 - y0)
	var hist [256]int
	for y := y0; y < y1; y++ {
		for _, v := range c.y[y*c.w+x0 : y*c.w+x1] {
			hist[v]++
		}
	}
	limit := max(int(clip*float64(area)/256), 1)
	excess := 0
	for v := range hist {
		if hist[v] > limit {
			excess += hist[v] - limit
			hist[v] = limit
		}
	}
	each, rest := excess/256, excess%256
	for v := range hist {
		hist[v] += each
	}
	if rest > 0 {
		step := max(256/rest, 1)
		for v := 0; v < 256 && rest > 0; v += step {
			hist[v]++
			rest--
		}
	}
	scale, sum := 255/float64(area), 0
	table := &c.tables[ty*c.tiles+tx]
	for v, n := range hist {
		sum += n
		table[v] = byte(min(math.RoundToEven(float64(sum)*scale), 255))
	}
}

func (c *clahe) row(dst, src []byte, y int) {
	ys := place(y, c.h, c.tiles)
	top, bottom := c.tables[int(ys.a)*c.tiles:], c.tables[int(ys.b)*c.tiles:]
	for x, m := range c.xs {
		v := c.y[y*c.w+x]
		t := int32(top[m.a][v])*(256-m.share) + int32(top[m.b][v])*m.share
		b := int32(bottom[m.a][v])*(256-m.share) + int32(bottom[m.b][v])*m.share
		next := (t*(256-ys.share) + b*ys.share + 1<<15) >> 16
		gain := next << 8 / max(int32(v), 1)
		in, out := src[3*x:3*x+3:3*x+3], dst[3*x:3*x+3:3*x+3]
		for k := range 3 {
			out[k] = byte(min((int32(in[k])*gain+128)>>8, 255))
		}
	}
}
