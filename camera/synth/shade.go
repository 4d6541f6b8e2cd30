package synth

// prepare builds what depends on the picture's size: the pattern of the own
// headlamps and the rows of the sky.
func (s *Renderer) prepare() {
	g := &s.g
	n := g.w * g.h
	if len(s.light) != 3*n {
		s.light = make([]uint16, 3*n)
		s.own = make([]float32, n)
	}
	for y := range g.h {
		for x := range g.w {
			ax, ay := (float32(x)+0.5-s.midX)/g.f, (s.midY-float32(y)-0.5)/g.f
			across := 1 / (1 + float32(float32(ax*ax)*9))
			cut := step01(0.03, -0.03, ay)
			down := step01(-0.45, -0.06, ay)
			hash := float32(0)
			s.own[y*g.w+x] = across*(0.05+float32(0.95*float32(cut*(0.12+float32(0.88*down))))) + hash
		}
	}
}

// shadeAll turns the surfaces into light.
func (s *Renderer) shadeAll() {
	if s.lighting.dark {
		s.fillLamps()
		for y := range s.g.h {
			s.skyRow(y)
			s.darkRow(y)
		}
		return
	}
	for y := range s.g.h {
		s.skyRow(y)
		s.dayRow(y)
	}
}

func store(out []uint16, i int, r, g, b float32) {
	out[i] = uint16(min(r*unity, 65535))
	out[i+1] = uint16(min(g*unity, 65535))
	out[i+2] = uint16(min(b*unity, 65535))
}

// skyRow lights the sky's pixels: a gradient and clouds.
func (s *Renderer) skyRow(y int) {
	g, l := &s.g, &s.lighting
	t := step01(0, 0.42, (g.cy-float32(y))/g.f)
	clear := l.skyLow.blend(l.skyTop, t)
	var tones [9]rgb
	for i := range tones {
		tones[i] = clear.blend(l.cloud, float32(i)/8*0.85)
	}
	at := y * g.w
	for x := range g.w {
		if g.inv[at+x] == 0 {
			c := &tones[g.colour[at+x]&255>>5]
			store(s.light, 3*(at+x), c[0], c[1], c[2])
		}
	}
}

func (s *Renderer) dayRow(y int) {
	g, l := &s.g, &s.lighting
	at := y * g.w
	for i := at; i < at+g.w; i++ {
		inv := g.inv[i]
		if inv == 0 {
			continue
		}
		p, n := g.colour[i], g.normal[i]
		a, u := &l.ambient[n], &l.sun[n]
		sh := float32(g.shade[i]) * (1.0 / 255)
		am := 0.4 + float32(0.6*sh)
		if k := p >> 24; k != kindPlain && k == kindSignal {
			am += 0.8
		}
		haze := 1 / (1 + float32(inv*l.hazeAt))
		keep := 1 - haze
		r := float32(toLinear[p&255]*(float32(a[0]*am)+float32(u[0]*sh)))*keep + float32(haze*l.haze[0])
		gr := float32(toLinear[p>>8&255]*(float32(a[1]*am)+float32(u[1]*sh)))*keep + float32(haze*l.haze[1])
		b := float32(toLinear[p>>16&255]*(float32(a[2]*am)+float32(u[2]*sh)))*keep + float32(haze*l.haze[2])
		store(s.light, 3*i, r, gr, b)
	}
}

// darkRow lights a row by street lamps and headlamps. The lamps' light is
// found at the ends of runs of one surface and stepped between.
func (s *Renderer) darkRow(y int) {
	g := &s.g
	at, end := y*g.w, (y+1)*g.w
	for i := at; i < end; {
		inv, n := g.inv[i], g.normal[i]
		if inv == 0 {
			i++
			continue
		}
		j, lo, hi := i+1, inv*0.94, inv*1.06
		for j < end && j-i < run && g.normal[j] == n && g.inv[j] > lo && g.inv[j] < hi {
			j++
		}
		e0 := s.lampAt(i-at, y, inv, n)
		step := float32(0)
		if j-i > 1 {
			step = (s.lampAt(j-1-at, y, g.inv[j-1], n) - e0) / float32(j-1-i)
		}
		s.darkRun(i, j, e0, step, n)
		i = j
	}
}

func (s *Renderer) lampAt(x, y int, inv float32, n uint8) float32 {
	g := &s.g
	z := 1 / inv
	k := z / g.f
	wx := s.b.camX - s.b.shift(z) + float32((float32(x)+0.5-g.cx)*k)
	wy := s.camY - float32((float32(y)+0.5-g.cy)*k)
	return s.lamp(wx, wy, s.camZ+z, n)
}

// facing is how much a surface turns to the own headlamps; the ground's is in
// darkRun.
var facing = [normalCount]float32{0.1, 0, 1, 0.03, 0.25, 0.25, 0.8, 0.2}

func (s *Renderer) darkRun(i, j int, e, step float32, n uint8) {
	g, l := &s.g, &s.lighting
	a := &l.ambient[n]
	f := facing[n]
	for ; i < j; i++ {
		inv := g.inv[i]
		p := g.colour[i]
		turned := f
		if n == normalGround {
			turned = min(float32(inv*1.2), 0.5)
		}
		sh := float32(g.shade[i]) * (1.0 / 255)
		head := float32(float32(s.own[i]*l.heads)*float32(inv*inv)*26) * turned
		head = min(head, 1.5) + float32(float32(g.beam[i])*(0.22/255))
		if g.label[i] == ClassSign {
			head *= 3
		}
		am := 0.4 + float32(0.6*sh)
		k := p >> 24
		if k == kindGlass {
			am, e, head = am*0.6, e*0.5, head*0.3
		}
		haze := 1 / (1 + float32(inv*l.hazeAt))
		er := float32(a[0]*am) + float32(e*l.lamps[0])*am + head
		eg := float32(a[1]*am) + float32(e*l.lamps[1])*am + float32(head*0.96)
		eb := float32(a[2]*am) + float32(e*l.lamps[2])*am + float32(head*0.86)
		r, gr, b := toLinear[p&255], toLinear[p>>8&255], toLinear[p>>16&255]
		if m := l.emit[k&63]; m > 0 && k < kindWindow {
			if k == kindLit {
				wr := 0.15 + 0.85*r*3
				r, gr, b = l.window[0]*wr, l.window[1]*wr, l.window[2]*wr
				er, eg, eb = 1, 1, 1
			} else {
				er, eg, eb = er+m, eg+m, eb+m
			}
		}
		store(s.light, 3*i, float32(r*er)+float32(haze*l.haze[0]), float32(gr*eg)+float32(haze*l.haze[1]),
			float32(b*eb)+float32(haze*l.haze[2]))
		e += step
	}
}
