package synth

import "math"

// mix is the finaliser of splitmix64: every bit of x changes half of the result.
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
	x = (x ^ (x >> 27)) * 0x94D049BB133111EB
	return x ^ (x >> 31)
}

// rng is a splitmix64 stream. It is a plain number, so that every thing in the
// world can have its own stream, found from its place alone: nothing that is
// drawn depends on what was drawn before.
type rng uint64

// stream returns the stream of item number i of a kind, in the world of seed.
func stream(seed, kind, i uint64) rng {
	return rng(mix(mix(seed^(kind*0xD6E8FEB86659FD93)) + i*0xA0761D6478BD642F))
}

func (r *rng) next() uint64 {
	*r += 0x9E3779B97F4A7C15
	return mix(uint64(*r))
}

// unit returns a number in [0, 1) with 24 bits, exact in float32.
func (r *rng) unit() float32 { return float32(r.next()>>40) / (1 << 24) }

// in returns a number in [a, b).
func (r *rng) in(a, b float32) float32 { return a + float32((b-a)*r.unit()) }

// below returns an integer in [0, n).
func (r *rng) below(n int) int { return int((r.next() >> 33) % uint64(n)) }

// chance is true with probability p.
func (r *rng) chance(p float32) bool { return r.unit() < p }

// side returns -1 or 1.
func (r *rng) side() float32 {
	if r.next()>>63 == 0 {
		return -1
	}
	return 1
}

// tileSize is the side of the noise tiles, a power of two.
const tileSize = 256

// noiseTile is tileable noise: 0..255, mean about 128.
type noiseTile [tileSize * tileSize]uint8

// at returns the value at any position (it repeats).
func (t *noiseTile) at(x, y int) float32 {
	return float32(t[(y&(tileSize-1))*tileSize+x&(tileSize-1)]) / 255
}

// bakeNoise sums octaves of value noise; the coarsest has `cells` cells a side
// (a power of two), and each next octave has `gain` times its weight.
func bakeNoise(seed uint64, cells, octaves int, gain float32) *noiseTile {
	sum := make([]float32, tileSize*tileSize)
	weight, total := float32(1), float32(0)
	for o := range octaves {
		n := cells << o
		if n > tileSize {
			break
		}
		addOctave(sum, mix(seed+uint64(o)), n, weight)
		total += weight
		weight *= gain
	}
	t := new(noiseTile)
	// The sum of octaves crowds around its mean: stretch it.
	for i, v := range sum {
		x := float32(v/total) - 0.5
		t[i] = toByte(0.5 + float32(x*1.6))
	}
	return t
}

func addOctave(sum []float32, seed uint64, n int, weight float32) {
	step := tileSize / n
	inv := 1 / float32(step)
	corner := func(cx, cy int) float32 {
		h := mix(seed ^ uint64((cy%n)*n+cx%n)*0x9E3779B97F4A7C15)
		return float32(h>>40) / (1 << 24)
	}
	for y := range tileSize {
		cy, fy := y/step, smooth(float32(y%step)*inv)
		for x := range tileSize {
			cx, fx := x/step, smooth(float32(x%step)*inv)
			top := lerp(corner(cx, cy), corner(cx+1, cy), fx)
			bottom := lerp(corner(cx, cy+1), corner(cx+1, cy+1), fx)
			sum[y*tileSize+x] += float32(weight * lerp(top, bottom, fy))
		}
	}
}

func lerp(a, b, t float32) float32 { return a + float32((b-a)*t) }

func smooth(t float32) float32 { return float32(t*t) * (3 - float32(2*t)) }

// step01 rises from 0 at a to 1 at b, smoothly.
func step01(a, b, x float32) float32 { return smooth(clamp01((x - a) / (b - a))) }

func clamp01(x float32) float32 { return min(max(x, 0), 1) }

// toByte rounds x in 0..1 to 0..255.
func toByte(x float32) uint8 { return uint8(float32(clamp01(x)*255) + 0.5) }

func sqrt(x float32) float32 { return float32(math.Sqrt(float64(x))) }

func floor(x float32) float32 { return float32(math.Floor(float64(x))) }

func abs(x float32) float32 { return float32(math.Abs(float64(x))) }

// sin is the sine of x turns (not radians), to 1e-3. Its few operations are
// the same on every machine, which the library's are not promised to be.
func sin(x float32) float32 {
	x -= floor(x)
	x = float32(2*x) - 1 // -1..1, sine of half turns, negated
	y := float32(4*x) * (1 - abs(x))
	return -(y + float32(0.225*(float32(y*abs(y))-y)))
}
