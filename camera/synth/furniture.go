package synth

// furniture holds what stands along a street, baked once.
type furniture struct {
	post, woodPost, lampHead *texture
	signs                    []*texture
	signals                  []*texture
	rails                    []*texture // fences, 2 m a repeat
	planks                   []*texture
	lowWall                  *texture
	soft, leafShade, pool    *texture // decals
	roof                     *texture
	hedges                   []*texture
	thicket                  []*texture
}

func bakeFurniture(seed uint64, noise, fine *noiseTile) furniture {
	r := stream(seed, streamFurniture, 0)
	f := furniture{
		post: bakePost(hex(0x6d7275)), woodPost: bakePost(hex(0x4e463c)), lampHead: bakePlain(hex(0xb9bcbe), kindLamp),
		lowWall: bakeLowWall(noise), roof: bakeRoof(noise),
		soft: bakeSoft(), leafShade: bakeLeafShade(noise), pool: bakePool(),
	}
	for i := range 9 {
		f.signs = append(f.signs, bakeSign(&r, i))
	}
	for i := range 3 {
		f.signals = append(f.signals, bakeSignal(i))
	}
	f.rails = []*texture{bakeRail(hex(0x24272a)), bakeRail(hex(0x1f3b2c)), bakeRail(hex(0xc9c9c4))}
	f.planks = []*texture{
		bakePlanks(noise, hex(0x7a6248)), bakePlanks(noise, hex(0x5d554b)), bakePlanks(noise, hex(0x8c7a5e)),
	}
	for _, leaf := range []uint32{0x3f5f2a, 0x55702f, 0x4a5a2c} {
		f.hedges = append(f.hedges, bakeHedge(noise, fine, hex(leaf), false))
		f.thicket = append(f.thicket, bakeHedge(noise, fine, hex(leaf).times(0.85), true))
	}
	return f
}

func bakePlain(c rgb, kind uint8) *texture {
	t := newTexture(8, 8)
	t.rect(0, 0, 1, 1, c, kind)
	return t.finish()
}

func bakePost(c rgb) *texture {
	t := newTexture(16, 16)
	for y := range t.h {
		for x := range t.w {
			d := (float32(x)+0.5)/8 - 1
			t.set(x, y, c.times(1.15-float32(0.75*float32(d*d))-float32(0.2*d)), kindPlain)
		}
	}
	return t.finish()
}

// bakeSign paints one of nine plates on a transparent ground.
func bakeSign(r *rng, i int) *texture {
	t := newTexture(64, 64)
	red, white, blue, black := hex(0xc0181c), hex(0xf2f2ee), hex(0x1d4f9e), hex(0x1a1a1a)
	square := [][2]rgb{{blue, white}, {hex(0x1f6b3f), white}, {white, black}}
	for y := range t.h {
		for x := range t.w {
			fx, fy := (float32(x)+0.5)/32-1, (float32(y)+0.5)/32-1
			d := sqrt(float32(fx*fx) + float32(fy*fy))
			var c rgb
			var on bool
			switch {
			case i < 3: // round: a limit, no entry, or an order
				c, on = roundSign(i, d, fx, fy, red, white, blue, black), d < 0.95
			case i < 5: // triangle: a warning, or give way (on its tip)
				v := fy
				if i == 4 {
					v = -fy
				}
				edge := 0.9 - float32(0.53*(1-v)) - abs(fx)
				on = v < 0.8 && v > -0.9 && edge > -0.02
				c = red
				if edge > 0.2 && v < 0.6 {
					c = white
					if abs(fx) < 0.09 && v > -0.2 && i == 3 {
						c = black
					}
				}
			default: // plates
				p := square[i%3]
				tall := i >= 7
				on = abs(fx) < 0.95 && abs(fy) < 0.62 || tall && abs(fx) < 0.7 && abs(fy) < 0.97
				c = plate(fx, fy, p, uint64(i)+uint64(r.below(1)))
			}
			if on {
				t.set(x, y, c, kindPlain)
			}
		}
	}
	return t.finish()
}

func roundSign(i int, d, fx, fy float32, red, white, blue, black rgb) rgb {
	switch i {
	case 0:
		if d > 0.72 {
			return red
		}
		if abs(fy) < 0.4 && (abs(abs(fx)-0.28) < 0.2 && (abs(abs(fx)-0.28) > 0.1 || abs(fy) > 0.3)) {
			return black
		}
		return white
	case 1:
		if abs(fy) < 0.17 && abs(fx) < 0.7 {
			return white
		}
		return red
	}
	if abs(fx) < 0.12 && abs(fy) < 0.6 || fy < -0.2 && abs(abs(fx)-0.5-fy*0.5) < 0.12 {
		return white
	}
	return blue
}

// plate is a board with lines of writing.
func plate(fx, fy float32, p [2]rgb, salt uint64) rgb {
	if abs(fx) > 0.88 || abs(fy) > 0.56 && abs(fx) > 0.63 {
		return p[1]
	}
	line := int((fy + 1) * 5)
	word := int((fx + 1) * 9)
	if line%2 == 1 && mix(salt<<16^uint64(line*37+word))&3 != 0 && abs(fx) < 0.75 && abs(fy) < 0.5 {
		return p[1]
	}
	return p[0]
}

// bakeSignal paints a traffic light that shows red, amber or green.
func bakeSignal(on int) *texture {
	t := newTexture(32, 64)
	colours := [3]rgb{hex(0xff2a18), hex(0xffa010), hex(0x20e080)}
	for y := range t.h {
		for x := range t.w {
			fx, fy := (float32(x)+0.5)/16-1, (float32(y)+0.5)/64
			if abs(fx) > 0.92 || fy < 0.02 || fy > 0.98 {
				continue
			}
			c, kind := hex(0x121314), uint8(kindPlain)
			lamp := int(fy * 3)
			dy := (float32(fy*3) - float32(lamp) - 0.5) * 1.35
			dx := fx * 0.9
			if d := sqrt(float32(dx*dx) + float32(dy*dy)); d < 0.52 {
				c = colours[lamp].times(0.16)
				if lamp == on {
					c, kind = colours[lamp].blend(rgb{1, 1, 1}, 0.35*(1-d)), kindSignal
				}
			}
			t.set(x, y, c, kind)
		}
	}
	return t.finish()
}

// bakeRail is an iron railing, 16 bars on 2 m.
func bakeRail(c rgb) *texture {
	t := newTexture(256, 128)
	for y := range t.h {
		for x := range t.w {
			bar := x % 16
			post := x < 10
			rail := y > 10 && y < 18 || y > 104 && y < 112
			if post || rail || bar >= 5 && bar < 11 && y > 3 {
				t.set(x, y, c.times(0.8+0.08*float32(x%5)), kindPlain)
			}
		}
	}
	return t.finish()
}

// bakePlanks is a wooden fence, upright boards on 2 m.
func bakePlanks(noise *noiseTile, c rgb) *texture {
	t := newTexture(256, 128)
	for y := range t.h {
		for x := range t.w {
			board := x / 16
			tone := 0.8 + 0.4*float32(mix(uint64(board)*77)>>40)/(1<<24)
			n := 0.75 + 0.5*noise.at(x*3, y/3+board*31)
			if x%16 < 1 {
				tone *= 0.3
			}
			if y < 4+int(mix(uint64(board))%5) {
				continue
			}
			t.set(x, y, c.times(tone*n), kindPlain)
		}
	}
	return t.finish()
}

func bakeLowWall(noise *noiseTile) *texture {
	b := &builder{t: newTexture(128, 64), noise: noise, s: wallColours[2]}
	b.wall(0, 0, 1, 1)
	b.t.rect(0, 0, 1, 0.14, hex(0x9c968a), kindPlain)
	b.t.rect(0, 0.14, 1, 0.18, hex(0x4b463e), kindPlain)
	return b.t.finish()
}

// Decals: the red byte is the strength.

func bakeSoft() *texture {
	return bakeDecal(func(x, y float32) float32 {
		return step01(1, 0.7, abs(x)) * step01(1, 0.75, abs(y))
	})
}

func bakeLeafShade(noise *noiseTile) *texture {
	return bakeDecal(func(x, y float32) float32 {
		d := sqrt(float32(x*x) + float32(y*y))
		n := noise.at(int(x*90)+300, int(y*90)+300)
		return step01(0.95, 0.6, d+float32((n-0.5)*0.8))
	})
}

// bakePool is the light of dipped headlamps on the road, seen from above: the
// car at the lower edge.
func bakePool() *texture {
	return bakeDecal(func(x, y float32) float32 {
		d := (1 - y) / 2
		w := 0.25 + float32(0.7*d)
		return step01(w, float32(w*0.3), abs(x)) * step01(0, 0.12, d) * step01(1, 0.2, d)
	})
}

func bakeDecal(f func(x, y float32) float32) *texture {
	t := newTexture(64, 64)
	for y := range t.h {
		for x := range t.w {
			v := f((float32(x)+0.5)/32-1, (float32(y)+0.5)/32-1)
			t.set(x, y, rgb{v, v, v}, kindPlain)
		}
	}
	return t.finish()
}
