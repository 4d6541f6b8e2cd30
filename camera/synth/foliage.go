package synth

// blob is a clump of leaves in a tree's crown, in parts of the sprite.
type blob struct{ x, y, z, r float32 }

// treeKind says how a tree is grown.
type treeKind struct {
	leaf           rgb
	crownX, crownY float32 // half width and half height of the crown, parts of the sprite
	trunk          float32 // half width of the trunk
	foot           float32 // where the crown's middle is (v)
	holes          float32 // 0 dense .. 1 sparse
}

var treeKinds = []treeKind{
	{hex(0x4f6a2c), 0.44, 0.36, 0.022, 0.40, 0.25},
	{hex(0x3f5f2a), 0.42, 0.40, 0.026, 0.42, 0.15},
	{hex(0x66752f), 0.40, 0.33, 0.018, 0.36, 0.45},
	{hex(0x38542c), 0.24, 0.46, 0.020, 0.48, 0.10}, // poplar
	{hex(0x55672e), 0.46, 0.34, 0.030, 0.37, 0.30},
	{hex(0x6a6a3a), 0.42, 0.36, 0.020, 0.39, 0.75}, // thin, autumn
}

const treeSize = 256

// bakeTree grows a tree: trunk, a few boughs, and clumps of leaves that are
// lit from above and torn by noise.
func bakeTree(r rng, noise *noiseTile, k treeKind) *texture {
	t := newTexture(treeSize, treeSize)
	bark := hex(0x4b4238).times(r.in(0.8, 1.2))
	drawLimb(t, noise, bark, 0.5, 1, 0.5+r.in(-0.03, 0.03), k.foot, k.trunk, k.trunk*0.6)
	for range 9 {
		y := k.foot + r.in(-0.1, 0.22)
		drawLimb(t, noise, bark, 0.5, min(y+0.12, 0.8), 0.5+float32(r.in(-0.8, 0.8)*k.crownX),
			k.foot+float32(r.in(-0.8, 0.3)*k.crownY), k.trunk*0.45, 0.004)
	}
	blobs := make([]blob, 0, 70)
	for len(blobs) < 70 {
		x, y, z := r.in(-1, 1), r.in(-1, 1), r.in(-1, 1)
		d := float32(x*x) + float32(y*y) + float32(z*z)
		if d > 1 || d < 0.25 {
			continue
		}
		rad := r.in(0.10, 0.19) * (0.6 + k.crownX)
		blobs = append(blobs, blob{
			0.5 + float32(x*(k.crownX-rad*0.7)), k.foot + float32(y*(k.crownY-rad*0.7)), z * k.crownX, rad,
		})
	}
	paintLeaves(t, noise, k, blobs, r.below(tileSize))
	return t.finish()
}

// drawLimb draws a tapering, round-shaded limb.
func drawLimb(t *texture, noise *noiseTile, c rgb, x0, y0, x1, y1, w0, w1 float32) {
	size := float32(t.h)
	top, bottom := y1, y0
	for y := int(top * size); y < int(bottom*size); y++ {
		f := (bottom - float32(y)/size) / max(bottom-top, 0.001)
		mid, half := lerp(x0, x1, f), max(lerp(w0, w1, f), 0.004)
		for x := int((mid - half) * size); x <= int((mid+half)*size); x++ {
			d := (float32(x)/size - mid) / half
			v := 1 - float32(0.55*float32(d*d)) + float32(0.25*d)
			v *= 0.7 + 0.6*noise.at(x*5, y)
			t.set(x, y, c.times(v), kindPlain)
		}
	}
}

// paintLeaves draws what is in front: for each texel the clump nearest to the
// eye that is not torn there.
func paintLeaves(t *texture, noise *noiseTile, k treeKind, blobs []blob, ox int) {
	size := float32(t.w)
	for y := range t.h {
		for x := range t.w {
			fx, fy := float32(x)/size, float32(y)/size
			n := noise.at(x*4+ox, y*4)
			fine := noise.at(x*9+ox, y*9+40)
			bestZ, bestL := float32(-9), float32(0)
			for _, b := range blobs {
				dx, dy := (fx-b.x)/b.r, (fy-b.y)/b.r
				d := float32(dx*dx) + float32(dy*dy)
				edge := 0.35 + 1.1*n
				if d > float32(edge*edge) || fine < float32(k.holes*0.55)+float32(0.25*d)-0.2 {
					continue
				}
				z := b.z + float32(b.r*sqrt(max(0, 1-d)))
				if z > bestZ {
					up := -dy*0.6 + (k.foot-fy)*0.9
					bestZ, bestL = z, 0.62+float32(0.35*up)+float32(0.25*(z/k.crownX))
				}
			}
			if bestZ < -8 {
				continue
			}
			v := max(bestL*(0.45+1.1*fine)*(0.7+0.6*n), 0.08)
			c := k.leaf.times(v)
			c = c.blend(hex(0xb5b36a).times(v), float32(0.25*fine))
			t.set(x, y, c, kindPlain)
		}
	}
}

// bakeHedge is tileable foliage; its top edge is torn when ragged is set.
func bakeHedge(noise, fineNoise *noiseTile, leaf rgb, ragged bool) *texture {
	t := newTexture(128, 128)
	for y := range t.h {
		for x := range t.w {
			n, f := noise.at(x*2, y*2), fineNoise.at(x*8, y*8)
			top := 0.02 + 0.16*noise.at(x*4, 9)
			fy := float32(y) / float32(t.h)
			if ragged && (fy < top || fy < top+0.08 && f < 0.5) {
				continue
			}
			v := (0.3 + 0.8*f) * (0.5 + n) * (1.15 - float32(0.6*fy))
			t.set(x, y, leaf.times(v), kindPlain)
		}
	}
	return t.finish()
}
