package synth

import "math"

// The directions a surface can face. Camera and street share their axes.
const (
	normalUp = iota
	normalGround
	normalToward // faces the camera
	normalAway
	normalLeft // faces -x
	normalRight
	normalRound // leaves and people: a little of all
	normalSlope // roofs
	normalCount
)

var normals = [normalCount][3]float32{
	{0, 1, 0}, {0, 1, 0}, {0, 0, -1}, {0, 0, 1}, {-1, 0, 0}, {1, 0, 0}, {0, 0.35, -0.45}, {0, 0.75, -0.2},
}

// unity is the stored value of a light of 1.
const unity = 2048

// toLinear turns a display value into light.
var toLinear = func() (t [256]float32) {
	for i := range t {
		v := float64(i) / 255
		if v <= 0.04045 {
			t[i] = float32(v / 12.92)
		} else {
			t[i] = float32(math.Pow((v+0.055)/1.055, 2.4))
		}
	}
	return t
}()

// lighting is a time of day in one drive.
type lighting struct {
	ambient, sun   [normalCount]rgb // light on a surface by the sky; by the sun
	skyTop, skyLow rgb
	cloud          rgb
	haze           rgb     // what far things fade into
	hazeAt         float32 // metres at which half is haze
	lamps          rgb     // colour and strength of street lamps
	heads          float32 // strength of the car's own headlamps
	emit           [kindWindow]float32
	window         rgb
	exposure       float32 // seconds, for motion blur
	read, shot     float32 // sensor noise: standard deviation at 0, and of the root of the light
	gain           rgb     // colour cast
	dark           bool
	glow           float32
}

func newLighting(seed uint64, st *street, time string) lighting {
	r := stream(seed, streamSky, uint64(len(time)))
	switch time {
	case Night:
		return nightLighting(&r)
	case Dusk:
		return duskLighting(&r)
	}
	return dayLighting(&r, st)
}

func dayLighting(r *rng, st *street) lighting {
	l := lighting{
		skyTop: rgb{0.20, 0.38, 0.75}, skyLow: rgb{0.75, 0.85, 0.98}, cloud: rgb{1.05, 1.05, 1.05},
		haze: rgb{0.62, 0.68, 0.76}, hazeAt: r.in(500, 900), exposure: 0, read: 0.0012, shot: 0.006,
		gain: rgb{r.in(0.95, 1.05), 1, r.in(0.93, 1.07)},
	}
	sky, bounce, sun := rgb{0.30, 0.34, 0.42}, rgb{0.16, 0.15, 0.13}, rgb{1.0, 0.94, 0.82}.times(r.in(0.9, 1.15))
	if st.overcast {
		sky, bounce, sun = rgb{0.80, 0.83, 0.88}.times(r.in(0.85, 1.1)), rgb{0.24, 0.24, 0.24}, rgb{}
		l.skyTop, l.skyLow = rgb{0.62, 0.68, 0.75}, rgb{0.95, 0.97, 1.0}
	}
	for n := range normals {
		l.ambient[n], l.sun[n] = skyLight(n, sky, bounce), sunLight(n, sun, st)
	}
	l.emit[kindSignal] = 0.9
	return l
}

func skyLight(n int, sky, bounce rgb) rgb {
	up := 0.5 + float32(0.5*normals[n][1])
	return sky.times(up).blend(bounce.times(1-up).add(sky.times(up)), 1)
}

func sunLight(n int, sun rgb, st *street) rgb {
	v := normals[n]
	d := float32(v[0]*st.sunX) + float32(v[1]*st.sunY) - float32(v[2]*0.35)
	if n == normalRound {
		d = 0.55
	}
	return sun.times(max(d, 0))
}

func (c rgb) add(d rgb) rgb { return rgb{c[0] + d[0], c[1] + d[1], c[2] + d[2]} }

func duskLighting(r *rng) lighting {
	l := lighting{
		skyTop: rgb{0.10, 0.16, 0.30}.times(r.in(0.7, 1.3)), skyLow: rgb{0.55, 0.42, 0.36}.times(r.in(0.6, 1.2)),
		cloud: rgb{0.22, 0.22, 0.28}, haze: rgb{0.12, 0.12, 0.15}, hazeAt: 500,
		lamps: lampColour(r).times(1.5), heads: 0.8, window: rgb{1, 0.72, 0.4}.times(0.35),
		exposure: 0.012, read: 0.0022, shot: 0.010, gain: rgb{r.in(0.9, 1.05), 1, r.in(0.95, 1.15)}, dark: true, glow: 0.5,
	}
	if r.chance(0.5) { // grey evening
		l.skyLow = rgb{0.36, 0.40, 0.47}.times(r.in(0.7, 1.1))
		l.cloud = rgb{0.16, 0.18, 0.22}
	}
	level := r.in(0.07, 0.14)
	for n := range normals {
		l.ambient[n] = skyLight(n, rgb{0.85, 0.95, 1.15}.times(level), rgb{0.3, 0.28, 0.26}.times(level))
	}
	l.emissions(0.6)
	return l
}

func nightLighting(r *rng) lighting {
	l := lighting{
		skyTop: rgb{0.0012, 0.0016, 0.0028}.times(r.in(0.5, 2)), skyLow: rgb{0.010, 0.008, 0.007}.times(r.in(0.5, 2)),
		cloud: rgb{0.008, 0.007, 0.006}, haze: rgb{0.004, 0.0035, 0.003}, hazeAt: 400,
		lamps: lampColour(r).times(r.in(3, 7)), heads: r.in(1, 1.8), window: rgb{1, 0.7, 0.38}.times(0.5),
		exposure: r.in(0.015, 0.033), read: r.in(0.0015, 0.004), shot: r.in(0.012, 0.022), dark: true, glow: 1,
	}
	l.gain = []rgb{{1.05, 1, 0.9}, {0.85, 1.05, 0.95}, {0.95, 1, 1.1}}[r.below(3)]
	level := r.in(0.002, 0.009)
	for n := range normals {
		l.ambient[n] = skyLight(n, rgb{0.9, 0.95, 1.1}.times(level), rgb{0.6, 0.5, 0.4}.times(level))
	}
	l.emissions(1)
	return l
}

func lampColour(r *rng) rgb {
	return []rgb{{1.15, 0.72, 0.30}, {1.0, 0.86, 0.62}, {0.9, 0.98, 1.0}, {1.2, 0.62, 0.2}}[r.below(4)]
}

func (l *lighting) emissions(k float32) {
	l.emit[kindHead], l.emit[kindTail], l.emit[kindLamp] = 3*k, 0.5*k, 4*k
	l.emit[kindSignal], l.emit[kindLit] = 1.4, 1
}

// lamp grid: the light of the street lamps in cells of the air over the
// street, for each facing. Cells are 1 m across and along, 1.25 m high; the
// cells along the street are a ring that is filled as the camera goes on.
const (
	gridX, gridY, gridZ = 40, 8, 256
	gridStepY           = 1.25
)

type lampGrid struct {
	cell     []float32 // [z][x][y][normal]
	from, to int       // filled: from <= z < to (world metres)
}

func (s *Renderer) fillLamps() {
	g := &s.grid
	if g.cell == nil {
		g.cell = make([]float32, gridZ*gridX*gridY*normalCount)
	}
	first, last := int(floor(s.camZ))-2, int(floor(s.camZ))+viewDepth+14
	if first < g.from || first >= g.to || last-first > gridZ {
		g.from, g.to = first, first
	}
	for ; g.to < last; g.to++ {
		s.fillSlice(g.to)
	}
	g.from = max(g.from, g.to-gridZ)
}

// fillSlice lights the cells at z metres along the street.
func (s *Renderer) fillSlice(z int) {
	var lamps [24][3]float32
	n := 0
	mid := int(floor(float32(z) / slot))
	st := &s.street
	for i := mid - 3; i <= mid+3; i++ {
		for _, side := range [2]float32{-1, 1} {
			r := stream(s.seed, streamLamp, slotKey(i, side))
			if s.hasLamp(i, side) && !st.crossSlot(i) && !r.chance(0.1) {
				lamps[n] = [3]float32{side * (st.roadHalf + 0.45 - 1.5), st.lampHeight + 0.3, float32(i*slot) + 1}
				n++
			}
		}
	}
	base := mod(z, gridZ) * gridX * gridY * normalCount
	for x := range gridX {
		for y := range gridY {
			p := [3]float32{float32(x - gridX/2), float32(y) * gridStepY, float32(z)}
			at := base + (x*gridY+y)*normalCount
			lightCell(s.grid.cell[at:at+normalCount], p, lamps[:n])
		}
	}
}

func lightCell(out []float32, p [3]float32, lamps [][3]float32) {
	clear(out)
	for _, l := range lamps {
		dx, dy, dz := l[0]-p[0], l[1]-p[1], l[2]-p[2]
		r2 := float32(dx*dx) + float32(dy*dy) + float32(dz*dz) + 0.5
		inv := 1 / sqrt(r2)
		down := dy * inv // how far below the lamp
		power := (0.06 + float32(0.94*step01(0, 0.6, down))) * 3.2 / r2
		for n, v := range normals {
			cos := (float32(v[0]*dx) + float32(v[1]*dy) + float32(v[2]*dz)) * inv
			if n == normalRound {
				cos = 0.45 + float32(0.3*down)
			}
			out[n] += float32(power * max(cos, 0.02))
		}
	}
}

// lamp returns the light of the street lamps at a world place, between cells.
func (s *Renderer) lamp(x, y, z float32, n uint8) float32 {
	x, y = min(max(x+gridX/2, 0), gridX-1.01), min(max(y/gridStepY, 0), gridY-1.01)
	ix, iy, iz := int(x), int(y), int(floor(z))
	fx, fy, fz := x-float32(ix), y-float32(iy), z-float32(iz)
	if iz < s.grid.from || iz+1 >= s.grid.to {
		return 0
	}
	const sx, sy = gridY * normalCount, normalCount
	a := mod(iz, gridZ)*gridX*sx + ix*sx + iy*sy + int(n)
	b := mod(iz+1, gridZ)*gridX*sx + ix*sx + iy*sy + int(n)
	c := s.grid.cell
	near := lerp(lerp(c[a], c[a+sy], fy), lerp(c[a+sx], c[a+sx+sy], fy), fx)
	far := lerp(lerp(c[b], c[b+sy], fy), lerp(c[b+sx], c[b+sx+sy], fy), fx)
	return lerp(near, far, fz)
}
