package decide

import (
	"encoding/binary"

	"nightseg/edge/frame"
)

// corner holds the values of one class at the four grid points of a cell.
type corner struct {
	tl, tr, bl, br float32
	class          uint8
}

// cell is a rectangle of pixels between four grid points.
type cell struct {
	left, right    int // columns of the grid points
	tl, tr, bl, br int // grid points
	x0, y0         int // first pixel
	w, h           int // pixels
	tx, ty         float32
}

// band decides the pixels between two rows of grid points: cells with one
// winner are filled in the first row of pixels, which is copied to the others;
// then the other cells are computed over it.
func (d *Decider) band(dst *frame.Mask, src *frame.Logits, cy int) {
	y0, y1, top, bottom := d.ys.span(cy)
	if y0 == y1 {
		return
	}
	row := dst.Class[y0*dst.W : (y0+1)*dst.W]
	d.border = d.border[:0]
	d.fillRow(row, src.W, top, bottom)
	for y := y0 + 1; y < y1; y++ {
		copy(dst.Class[y*dst.W:(y+1)*dst.W], row)
	}
	d.rival = d.rival[:len(d.border)]
	for i, cx := range d.border {
		x0, x1, left, right := d.xs.span(int(cx))
		d.rival[i].cell = cell{
			left: left, right: right,
			tl: top*src.W + left, tr: top*src.W + right, bl: bottom*src.W + left, br: bottom*src.W + right,
			x0: x0, y0: y0, w: x1 - x0, h: y1 - y0, tx: d.xs.t0[cx], ty: d.ys.t0[cy],
		}
	}
	if d.threshold() {
		for i := range d.rival {
			d.confident(dst, src, &d.rival[i].cell)
		}
		return
	}
	d.rivals(src, top, bottom)
	for i := range d.rival {
		c := &d.rival[i]
		d.compute(dst, c, d.candidates(src, c, d.able[i*src.C:][:c.above]))
	}
}

func (d *Decider) threshold() bool { return d.logTau > -1e300 }

// fillRow fills the cells that one class wins, runs of them at once, and lists
// the others in d.border.
func (d *Decider) fillRow(row []uint8, w, top, bottom int) {
	a, b := d.arg[top*w:(top+1)*w], d.arg[bottom*w:(bottom+1)*w]
	sa, sb := d.sure[top*w:(top+1)*w], d.sure[bottom*w:(bottom+1)*w]
	b, sa, sb = b[:len(a)], sa[:len(a)], sb[:len(a)]
	check := d.threshold()
	from, class := 0, a[0]
	left := 0
	for cx := 0; cx <= len(a); cx++ {
		if cx > 0 && !check && a[left] == class {
			cx += uniform(a[left:], b[left:])
			left = cx - 1
		}
		x0, right := d.xs.first[cx], min(cx, len(a)-1)
		k := a[left]
		same := k == a[right] && k == b[left] && k == b[right]
		if check {
			same = same && sa[left] && sa[right] && sb[left] && sb[right]
		}
		if !same {
			if x0 != d.xs.first[cx+1] {
				d.border = append(d.border, int32(cx))
			}
		} else if k != class {
			fill(row[from:x0], class)
			from, class = int(x0), k
		}
		left = right
	}
	fill(row[from:], class)
}

// uniform returns how many cells at the begin of a row surely have one class at all
// their grid points, which are in a and b; the last cell is never among them.
func uniform(a, b []uint8) int {
	n := 0
	for ; n+9 < len(a); n += 8 {
		first := binary.LittleEndian.Uint64(a[n:])
		if (first^binary.LittleEndian.Uint64(a[n+1:]))|(first^binary.LittleEndian.Uint64(b[n:]))|
			(first^binary.LittleEndian.Uint64(b[n+1:])) != 0 {
			break
		}
	}
	return n
}

// compute decides the pixels of a cell between the classes that can win there.
func (d *Decider) compute(dst *frame.Mask, c *rival, cand []corner) {
	if len(cand) == 2 {
		d.pair(dst, &c.cell, &cand[0], &cand[1])
		return
	}
	d.several(dst, &c.cell, cand)
}

// at returns the values of class k at the grid points of the cell.
func (d *Decider) at(src *frame.Logits, c *cell, k int) corner {
	n := src.H * src.W
	plane := src.Data[k*n : (k+1)*n]
	mul, add := d.mul[k], d.add[k]
	return corner{
		plane[c.tl]*mul + add, plane[c.tr]*mul + add,
		plane[c.bl]*mul + add, plane[c.br]*mul + add, uint8(k),
	}
}

// below reports whether class k is at no grid point better than b: the
// difference is bilinear, so it is then not better anywhere in the cell.
func (k *corner) below(b *corner) bool {
	return k.tl <= b.tl && k.tr <= b.tr && k.bl <= b.bl && k.br <= b.br
}

// rival is a cell on the border of classes: the classes that win at its grid
// points, their mean, and how many classes are above that somewhere.
type rival struct {
	cell

	bound [4]corner
	n     int
	mean  corner
	above int
}

// rivals prepares the cells of the band's border: which classes can be above the
// mean of the winners. Class by class, as that is how the values lie in memory.
func (d *Decider) rivals(src *frame.Logits, top, bottom int) {
	for i := range d.rival {
		d.bound(src, &d.rival[i])
	}
	n, w := src.H*src.W, src.W
	for k := range src.C {
		plane := src.Data[k*n : (k+1)*n]
		upper, lower := plane[top*w:(top+1)*w], plane[bottom*w:(bottom+1)*w]
		mul, add := d.mul[k], d.add[k]
		for i := range d.rival {
			c := &d.rival[i]
			if upper[c.left]*mul+add <= c.mean.tl && upper[c.right]*mul+add <= c.mean.tr &&
				lower[c.left]*mul+add <= c.mean.bl && lower[c.right]*mul+add <= c.mean.br {
				continue
			}
			d.able[i*src.C+c.above] = uint8(k)
			c.above++
		}
	}
}

// bound finds the winners at the grid points of a cell, and their mean.
func (d *Decider) bound(src *frame.Logits, c *rival) {
	c.n, c.above = 0, 0
	add := func(k uint8) {
		for i := range c.n {
			if c.bound[i].class == k {
				return
			}
		}
		c.bound[c.n] = d.at(src, &c.cell, int(k))
		c.n++
	}
	add(d.arg[c.tl])
	add(d.arg[c.tr])
	add(d.arg[c.bl])
	add(d.arg[c.br])
	c.mean = corner{}
	f := 1 / float32(c.n)
	for _, b := range c.bound[:c.n] {
		c.mean.tl += b.tl * f
		c.mean.tr += b.tr * f
		c.mean.bl += b.bl * f
		c.mean.br += b.br * f
	}
}

// candidates returns the classes that can win in the cell, in rising order, from
// those above the mean of the winners. A class that wins at no grid point can
// still win between them; it cannot where one other class, or a fixed mean of
// others, is at least as good at all four.
func (d *Decider) candidates(src *frame.Logits, c *rival, above []uint8) []corner {
	out := d.cand[:0]
next:
	for _, k := range above {
		v := d.at(src, &c.cell, int(k))
		for i := range c.n {
			if c.bound[i].class == v.class {
				break
			}
			if v.below(&c.bound[i]) {
				continue next
			}
		}
		out = append(out, v)
	}
	if len(out) == 0 {
		// Each class tied with the others at every grid point, but for the rounding
		// of the mean, or the mean overflowed: any winner will do.
		out = append(out, c.bound[0])
	}
	return out
}

// pair decides a cell between two classes: along a row of pixels their
// difference is linear, so there is at most one change of class.
func (d *Decider) pair(dst *frame.Mask, c *cell, a, b *corner) {
	tl, tr, bl, br := a.tl-b.tl, a.tr-b.tr, a.bl-b.bl, a.br-b.br
	wordA, wordB := uint64(a.class)*ones, uint64(b.class)*ones
	n := float32(c.w)
	for y := range c.h {
		t := c.ty + float32(y)*d.ys.step
		l, r := tl+t*(bl-tl), tr+t*(br-tr)
		v, dv := l+c.tx*(r-l), (r-l)*d.xs.step
		row := dst.Class[(c.y0+y)*dst.W+c.x0:][:c.w]
		// cut is the number of pixels before the change, if there is one.
		first, second, cut := wordA, wordB, n
		if v >= 0 {
			if dv < 0 {
				cut = v/-dv + 1
			}
		} else {
			first, second = wordB, wordA
			if dv > 0 {
				// smallest i with v + i*dv >= 0, by ceil(q) = -floor(-q)
				cut = ceil(min(-v/dv, n))
			}
		}
		if !(cut >= 0 && cut < n) { // or no number, where values are not finite
			cut = n
		}
		split(row, first, second, int(cut))
	}
}

// ceil rounds a value of at most some millions up.
func ceil(v float32) float32 {
	i := float32(int(v))
	if i < v {
		i++
	}
	return i
}

// split writes cut bytes of first, then second.
func split(row []uint8, first, second uint64, cut int) {
	if len(row) == 8 {
		mask := uint64(1)<<(8*uint(cut)) - 1
		binary.LittleEndian.PutUint64(row, first&mask|second&^mask)
		return
	}
	fill(row[:cut], uint8(first))
	fill(row[cut:], uint8(second))
}

// several decides a cell between any number of classes. In a row each class is
// a straight line; it walks along the upper envelope of the lines, from change
// to change, until it meets the class that leads at the row's end: the envelope
// is convex, so that no class leads twice.
func (d *Decider) several(dst *frame.Mask, c *cell, cand []corner) {
	val, slope := d.val[:len(cand)], d.slope[:len(cand)]
	n := float32(c.w - 1)
	first, last := 0, 0 // leaders at the ends; those of the row above are a good guess
	for y := range c.h {
		t := c.ty + float32(y)*d.ys.step
		for i := range val {
			k := &cand[i]
			l, r := k.tl+t*(k.bl-k.tl), k.tr+t*(k.br-k.tr)
			val[i], slope[i] = l+c.tx*(r-l), (r-l)*d.xs.step
		}
		most, mostLast := val[first], val[last]+n*slope[last]
		for i, v := range val {
			if v > most {
				most, first = v, i
			}
			if v += n * slope[i]; v > mostLast {
				mostLast, last = v, i
			}
		}
		cur := first
		row := dst.Class[(c.y0+y)*dst.W+c.x0:][:c.w]
		x := 0
		for cur != last {
			next, at := d.change(len(cand), cur, last, x, len(row))
			if at == len(row) {
				break
			}
			fill(row[x:at], cand[cur].class)
			cur, x = next, at
		}
		fill(row[x:], cand[cur].class)
	}
}

// change returns the class that overtakes class cur first after pixel x, and
// the pixel from which on it leads; (cur, end) if none does before end, where
// class last leads.
func (d *Decider) change(n, cur, last, x, end int) (next, at int) {
	val, slope := d.val[:n], d.slope[:n]
	v, s := val[cur], slope[cur]
	next = cur
	first := float32(end)
	if rise := slope[last] - s; rise > 0 { // it leads in the end: few overtake before
		next, first = last, (v-val[last])/rise
	}
	for i, other := range slope {
		if rise := other - s; rise > 0 && v-val[i] < first*rise {
			next, first = i, (v-val[i])/rise
		}
	}
	if next == cur {
		return cur, end
	}
	at = max(int(first)+1, x+1)
	if at >= end {
		return cur, end
	}
	// Another class may overtake both before the same pixel.
	p := float32(at)
	most := val[next] + p*slope[next]
	for i, s := range slope {
		if v := val[i] + p*s; v > most {
			most, next = v, i
		}
	}
	return next, at
}
