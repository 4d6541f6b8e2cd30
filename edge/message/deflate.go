package message

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// deflater turns the classes of a mask into the zlib stream of a PNG file.
//
// A label map in Up filter is 0 but where a border moved from one row to the
// next. So the only matches are runs (distance 1), found by comparing eight
// pixels with those above at a time, and all of a frame goes into one block
// with a Huffman code made for it. A general compressor would search for
// matches, over all pixels, that are not there.
type deflater struct {
	tokens []uint16 // a byte, or firstMatch + length - minMatch
	above  []byte   // what is above the first row
	most   byte     // highest class of the mask
	freq   [firstMatch + maxMatch - minMatch + 1]uint32

	symFreq [numSymbols]uint32
	symLen  [numSymbols]uint8
	symCode [numSymbols]uint16

	lens    [numSymbols + numDistances]uint8 // of both codes, as the block tells them
	lenOps  []lenOp
	clFreq  [19]uint32
	clLen   [19]uint8
	clCode  [19]uint16
	huffman huffman

	code [firstMatch + maxMatch - minMatch + 1]uint32 // bits of each token; their number is in the upper 8
}

const (
	minMatch     = 3
	maxMatch     = 258
	firstMatch   = 256 // token of the shortest match
	endOfBlock   = 256
	numSymbols   = 286
	numDistances = 2 // one is used; some readers want a complete code
	filterUp     = 2
	adlerPrime   = 65521
)

// lenOp is a part of the code lengths of a block: symbol 0..18, extra bits.
type lenOp struct{ sym, extra, bits uint8 }

// Length symbols (from 257) of RFC 1951: first length and extra bits.
var (
	lengthBase = [29]uint16{
		3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
	}
	lengthExtra = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	// clOrder is the order in which the lengths of the code lengths' code come.
	clOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
)

// scan turns the classes into tokens and returns their Adler-32.
func (d *deflater) scan(class []byte, w, h int) uint32 {
	if worst := (w + 1) * h; cap(d.tokens) < worst {
		d.tokens = make([]uint16, 0, worst)
	}
	if len(d.above) < w {
		d.above = make([]byte, w)
	}
	d.freq = [len(d.freq)]uint32{}
	tokens := d.tokens[:0]
	up := d.above[:w]
	a, b := uint64(1), uint64(0)
	d.most = 0
	for y := range h {
		row := class[y*w : y*w+w]
		tokens = append(tokens, filterUp)
		a += filterUp
		b += a
		for x := 0; x < w; {
			if n := samePrefix(row[x:], up[x:]); n > 0 {
				tokens = d.run(tokens, 0, n)
				b += uint64(n) * a
				x += n
				continue
			}
			v := row[x] - up[x]
			n := 0
			for ; x+n < w && row[x+n]-up[x+n] == v; n++ {
				d.most = max(d.most, row[x+n]) // a class is first seen where it is not as above
			}
			tokens = d.run(tokens, v, n)
			r, s := uint64(n), uint64(v)
			b += r*a + s*(r*(r+1)/2)
			a += r * s
			x += n
		}
		a %= adlerPrime
		b %= adlerPrime
		up = row
	}
	d.freq[filterUp] += uint32(h)
	d.tokens = tokens
	return uint32(b<<16 | a)
}

// run appends n times the byte v.
func (d *deflater) run(tokens []uint16, v byte, n int) []uint16 {
	tokens = append(tokens, uint16(v))
	d.freq[v]++
	for n--; n >= minMatch; {
		m := min(n, maxMatch)
		t := uint16(firstMatch - minMatch + m)
		tokens = append(tokens, t)
		d.freq[t]++
		n -= m
	}
	for ; n > 0; n-- {
		tokens = append(tokens, uint16(v))
		d.freq[v]++
	}
	return tokens
}

// samePrefix returns how many bytes at the start of a and b, which are as long
// as each other, are equal.
func samePrefix(a, b []byte) int {
	n := 0
	for len(a)-n >= 64 && string(a[n:n+64]) == string(b[n:n+64]) { // many bytes at a time
		n += 64
	}
	for len(a)-n >= 8 {
		if v := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); v != 0 {
			return n + bits.TrailingZeros64(v)/8
		}
		n += 8
	}
	for n < len(a) && a[n] == b[n] {
		n++
	}
	return n
}

// append appends the zlib stream of the mask that was scanned, whose Adler-32
// is sum, to dst.
func (d *deflater) append(dst []byte, sum uint32) []byte {
	d.plan()
	dst = append(dst, 0x78, 0x01)
	dst = d.write(dst)
	return binary.BigEndian.AppendUint32(dst, sum)
}

// plan makes the codes of the block.
func (d *deflater) plan() {
	d.symFreq = [numSymbols]uint32{endOfBlock: 1}
	copy(d.symFreq[:firstMatch], d.freq[:firstMatch])
	for t, s := firstMatch, 0; t < len(d.freq); t++ {
		if s+1 < len(lengthBase) && t-firstMatch+minMatch >= int(lengthBase[s+1]) {
			s++
		}
		d.symFreq[endOfBlock+1+s] += d.freq[t]
	}
	d.huffman.lengths(d.symLen[:], d.symFreq[:], 15)
	assignCodes(d.symCode[:], d.symLen[:])
	for v := range firstMatch {
		d.code[v] = uint32(d.symLen[v])<<24 | uint32(d.symCode[v])
	}
	for t, s := firstMatch, 0; t < len(d.code); t++ {
		length := t - firstMatch + minMatch
		if s+1 < len(lengthBase) && length >= int(lengthBase[s+1]) {
			s++
		}
		n := d.symLen[endOfBlock+1+s]
		c := uint32(d.symCode[endOfBlock+1+s]) | uint32(length-int(lengthBase[s]))<<n
		n += lengthExtra[s] + 1 // the code of distance 1 is the bit 0
		d.code[t] = uint32(n)<<24 | c
	}
	d.planLengths()
}

// planLengths turns the lengths of both codes into the symbols that tell them.
func (d *deflater) planLengths() {
	copy(d.lens[:], d.symLen[:])
	nlit := numSymbols
	for d.lens[nlit-1] == 0 {
		nlit--
	}
	d.lens[nlit], d.lens[nlit+1] = 1, 1 // the two distances
	lens := d.lens[:nlit+numDistances]
	d.lenOps = d.lenOps[:0]
	for i := 0; i < len(lens); {
		v, n := lens[i], 1
		for i+n < len(lens) && lens[i+n] == v {
			n++
		}
		i += n
		d.tellLength(v, n)
	}
	d.clFreq = [19]uint32{}
	for _, op := range d.lenOps {
		d.clFreq[op.sym]++
	}
	d.huffman.lengths(d.clLen[:], d.clFreq[:], 7)
	assignCodes(d.clCode[:], d.clLen[:])
}

// tellLength appends the symbols for n times the code length v.
func (d *deflater) tellLength(v uint8, n int) {
	for v == 0 && n >= 11 {
		m := min(n, 138)
		d.lenOps = append(d.lenOps, lenOp{18, uint8(m - 11), 7})
		n -= m
	}
	if v == 0 && n >= 3 {
		d.lenOps = append(d.lenOps, lenOp{17, uint8(n - 3), 3})
		return
	}
	for ; n > 0; n-- {
		d.lenOps = append(d.lenOps, lenOp{sym: v})
		for v != 0 && n > 3 {
			m := min(n-1, 6)
			d.lenOps = append(d.lenOps, lenOp{16, uint8(m - 3), 2})
			n -= m
		}
	}
}

// write appends the block.
func (d *deflater) write(dst []byte) []byte {
	nlit := numSymbols
	for d.symLen[nlit-1] == 0 {
		nlit--
	}
	ncl := len(clOrder)
	for d.clLen[clOrder[ncl-1]] == 0 {
		ncl--
	}
	size := 14 + 3*ncl + 14*len(d.lenOps) + int(d.symLen[endOfBlock])
	for t, f := range d.freq {
		size += int(f) * int(d.code[t]>>24)
	}
	w := bitWriter{dst: slices.Grow(dst, size/8+16)}
	w.put(1, 1) // the last block
	w.put(2, 2) // with codes of its own
	w.put(uint64(nlit-257), 5)
	w.put(numDistances-1, 5)
	w.put(uint64(ncl-4), 4)
	for _, s := range clOrder[:ncl] {
		w.put(uint64(d.clLen[s]), 3)
	}
	for _, op := range d.lenOps {
		w.put(uint64(d.clCode[op.sym]), d.clLen[op.sym])
		w.put(uint64(op.extra), op.bits)
	}
	w.tokens(d.tokens, &d.code)
	w.put(uint64(d.symCode[endOfBlock]), d.symLen[endOfBlock])
	return w.end()
}

// bitWriter appends bits, the lowest first. Its slice must have room.
type bitWriter struct {
	dst []byte
	acc uint64
	n   uint
}

func (w *bitWriter) put(v uint64, n uint8) {
	w.acc |= v << w.n
	w.n += uint(n)
	if w.n >= 32 {
		w.dst = binary.LittleEndian.AppendUint32(w.dst, uint32(w.acc))
		w.acc >>= 32
		w.n -= 32
	}
}

// tokens appends the codes of all tokens, of at most 21 bits each.
func (w *bitWriter) tokens(tokens []uint16, code *[firstMatch + maxMatch - minMatch + 1]uint32) {
	acc, n := w.acc, w.n
	end := len(w.dst)
	buf := w.dst[:cap(w.dst)]
	for _, t := range tokens {
		c := code[t&(1<<9-1)]
		acc |= uint64(c&(1<<24-1)) << (n & 63)
		n += uint(c >> 24)
		if n >= 32 {
			binary.LittleEndian.PutUint32(buf[end:], uint32(acc))
			end += 4
			acc >>= 32
			n -= 32
		}
	}
	w.dst, w.acc, w.n = w.dst[:end], acc, n
}

func (w *bitWriter) end() []byte {
	for w.n > 0 {
		w.dst = append(w.dst, byte(w.acc))
		w.acc >>= 8
		w.n -= min(w.n, 8)
	}
	return w.dst
}
