package decide

import (
	"math"

	"nightseg/edge/frame"
)

// confidence finds the grid points whose best class passes the threshold.
// A class's log-probability is concave in the logits, so that a cell whose
// four grid points pass with one class passes everywhere.
func (d *Decider) confidence(src *frame.Logits) {
	n := src.H * src.W
	second := d.second[:n]
	for i := range second {
		second[i] = float32(math.Inf(-1))
	}
	for k := range src.C {
		mul, add := d.mul[k], d.add[k]
		plane := src.Data[k*n : (k+1)*n]
		for i, v := range plane[:len(second)] {
			if v = v*mul + add; v > second[i] && d.arg[i] != uint8(k) {
				second[i] = v
			}
		}
	}
	for i, s := range second {
		// A lead this large passes whatever the other classes are; few points
		// need exponentials.
		d.sure[i] = d.best[i]-s >= d.margin || d.passes(src, i)
	}
}

// passes reports whether the best class of a grid point passes the threshold. It
// may say no within about a hundredth of the threshold: then cells are computed
// that could be filled. exp(-x) is at most 1/(1 + x/4 + x*x/32 + x*x*x/384)^4,
// which is near for what matters and costs a third.
func (d *Decider) passes(src *frame.Logits, i int) bool {
	n := src.H * src.W
	var sum float32
	limit := float32(1 / d.s.Threshold)
	for k := range src.C {
		x := (d.best[i] - (src.Data[k*n+i]*d.mul[k] + d.add[k])) / 4
		e := 1 / (1 + x*(1+x*(1./2+x*(1./6))))
		e *= e
		if sum += e * e; sum > limit {
			return false
		}
	}
	return sum <= limit // not so where a value is no number
}

// geometric is exp of one class's bilinear values over a cell: along a row of
// pixels, and from row to row, exp of a linear function is a geometric
// sequence, so a pixel costs a multiplication.
type geometric struct {
	at, right         float64 // exp at the row's first pixel; factor to the next one
	down, downByRight float64 // factors of both from row to row

	value, factor float64 // the sequence of the row at hand
}

// spread is the largest range of values, in nats, that geometric sequences are
// used for: exp(2*spread) is far from the limits of float64.
const spread = 150

// confident decides a cell with the threshold.
func (d *Decider) confident(dst *frame.Mask, src *frame.Logits, c *cell) {
	top := float32(math.Inf(-1))
	low := float32(math.Inf(1))
	for k := range src.C {
		v := d.at(src, c, k)
		d.cand[k] = v
		top = max(top, v.tl, v.tr, v.bl, v.br)
		low = min(low, v.tl, v.tr, v.bl, v.br)
	}
	cand := d.cand[:src.C]
	if !(top-low <= spread) { // or a value is not finite
		d.direct(dst, c, cand)
		return
	}
	if d.hopeless(cand) {
		for y := range c.h {
			fill(dst.Class[(c.y0+y)*dst.W+c.x0:][:c.w], frame.Unknown)
		}
		return
	}
	d.start(c, cand, float64(top))
	geo := d.geo[:src.C]
	for y := range c.h {
		row := dst.Class[(c.y0+y)*dst.W+c.x0:][:c.w]
		d.walk(row, geo)
	}
}

// hopeless reports whether no pixel of the cell can pass the threshold. For
// any distribution q, logsumexp(z) >= q.z + H(q), so that ln p_k is at most
// z_k - q.z - H(q), which is bilinear: largest at a grid point. q is the
// softmax in the middle of the cell, where the bound is tight.
func (d *Decider) hopeless(cand []corner) bool {
	mid := math.Inf(-1)
	for i := range cand {
		k := &cand[i]
		z := float64(k.tl+k.tr+k.bl+k.br) / 4
		d.geo[i].at = z
		mid = max(mid, z)
	}
	sum := 0.0
	for i := range cand {
		e := math.Exp(d.geo[i].at - mid)
		d.geo[i].right = e
		sum += e
	}
	if 1/sum >= d.s.Threshold {
		return false
	}
	var tl, tr, bl, br, dot float64
	for i := range cand {
		k, q := &cand[i], d.geo[i].right/sum
		tl += q * float64(k.tl)
		tr += q * float64(k.tr)
		bl += q * float64(k.bl)
		br += q * float64(k.br)
		dot += q * d.geo[i].at
	}
	limit := d.logTau + mid + math.Log(sum) - dot // ln threshold + H(q)
	for i := range cand {
		k := &cand[i]
		if float64(k.tl)-tl >= limit || float64(k.tr)-tr >= limit ||
			float64(k.bl)-bl >= limit || float64(k.br)-br >= limit {
			return false
		}
	}
	return true
}

// start sets up the sequences of a cell, with values relative to top.
func (d *Decider) start(c *cell, cand []corner, top float64) {
	tx, ty := float64(c.tx), float64(c.ty)
	sx, sy := float64(d.xs.step), float64(d.ys.step)
	for i := range cand {
		k := &cand[i]
		tl, tr, bl, br := float64(k.tl), float64(k.tr), float64(k.bl), float64(k.br)
		left, right := tl+ty*(bl-tl), tr+ty*(br-tr)
		leftDown, rightDown := sy*(bl-tl), sy*(br-tr)
		d.geo[i] = geometric{
			at:          math.Exp(left + tx*(right-left) - top),
			right:       math.Exp(sx * (right - left)),
			down:        math.Exp(leftDown + tx*(rightDown-leftDown)),
			downByRight: math.Exp(sx * (rightDown - leftDown)),
		}
	}
}

// walk decides one row of a cell and moves the sequences to the next.
func (d *Decider) walk(row []uint8, geo []geometric) {
	for i := range geo {
		g := &geo[i]
		g.value, g.factor = g.at, g.right
		g.at *= g.down
		g.right *= g.downByRight
	}
	for x := range row {
		sum, best, class := 0.0, -1.0, 0
		for i := range geo {
			g := &geo[i]
			v := g.value
			sum += v
			if v > best {
				best, class = v, i
			}
			g.value = v * g.factor
		}
		if best < d.s.Threshold*sum {
			class = frame.Unknown
		}
		row[x] = uint8(class)
	}
}

// direct decides a cell pixel by pixel: for values too far apart for the
// sequences, or not finite.
func (d *Decider) direct(dst *frame.Mask, c *cell, cand []corner) {
	for y := range c.h {
		ty := float64(c.ty + float32(y)*d.ys.step)
		row := dst.Class[(c.y0+y)*dst.W+c.x0:][:c.w]
		for x := range row {
			tx := float64(c.tx + float32(x)*d.xs.step)
			best, class := math.Inf(-1), 0
			for i := range cand {
				k := &cand[i]
				l := float64(k.tl) + ty*(float64(k.bl)-float64(k.tl))
				r := float64(k.tr) + ty*(float64(k.br)-float64(k.tr))
				d.geo[i].at = l + tx*(r-l)
				if d.geo[i].at > best {
					best, class = d.geo[i].at, i
				}
			}
			sum := 0.0
			for i := range cand {
				sum += math.Exp(d.geo[i].at - best)
			}
			if 1 < d.s.Threshold*sum {
				class = frame.Unknown
			}
			row[x] = uint8(class)
		}
	}
}
