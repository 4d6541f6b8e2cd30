package message

import (
	"math/bits"
	"slices"
)

// huffman finds the lengths of Huffman codes. It keeps its buffers.
type huffman struct {
	order []uint32 // symbols in use, rare ones first
	work  []uint32
}

// lengths sets the length of each symbol's code, 0 for those that do not occur.
// No code is longer than most. At least one symbol must occur.
func (h *huffman) lengths(lens []uint8, freq []uint32, most int) {
	clear(lens)
	h.order, h.work = h.order[:0], h.work[:0]
	for s, f := range freq {
		if f > 0 {
			h.work = append(h.work, uint32(s))
		}
	}
	if len(h.work) == 1 {
		lens[h.work[0]] = 1
		return
	}
	slices.SortFunc(h.work, func(a, b uint32) int {
		if freq[a] != freq[b] {
			return int(freq[a]) - int(freq[b])
		}
		return int(a) - int(b)
	})
	h.order = append(h.order, h.work...)
	for i, s := range h.order {
		h.work[i] = freq[s]
	}
	minimumRedundancy(h.work)
	var count [33]int
	for _, n := range h.work {
		count[min(int(n), most)]++
	}
	shorten(count[:most+1])
	i := 0
	for n := most; n > 0; n-- {
		for range count[n] {
			lens[h.order[i]] = uint8(n)
			i++
		}
	}
}

// shorten changes how many codes there are of each length, after the longer
// ones were counted among the longest, until a prefix code has room for them.
func shorten(count []int) {
	most := len(count) - 1
	total := 0
	for n := 1; n <= most; n++ {
		total += count[n] << (most - n)
	}
	for ; total > 1<<most; total-- {
		count[most]--
		for n := most - 1; n > 0; n-- {
			if count[n] > 0 {
				count[n]--
				count[n+1] += 2
				break
			}
		}
	}
}

// minimumRedundancy turns ascending frequencies into code lengths, in place
// (Moffat and Katajainen, 1995). There are at least two.
func minimumRedundancy(a []uint32) {
	n := len(a)
	a[0] += a[1]
	root, leaf := 0, 2
	for next := 1; next < n-1; next++ {
		if leaf >= n || a[root] < a[leaf] {
			a[next] = a[root]
			a[root] = uint32(next)
			root++
		} else {
			a[next] = a[leaf]
			leaf++
		}
		if leaf >= n || (root < next && a[root] < a[leaf]) {
			a[next] += a[root]
			a[root] = uint32(next)
			root++
		} else {
			a[next] += a[leaf]
			leaf++
		}
	}
	a[n-2] = 0
	for next := n - 3; next >= 0; next-- {
		a[next] = a[a[next]] + 1
	}
	free, used, depth := 1, 0, uint32(0)
	root = n - 2
	for next := n - 1; free > 0; {
		for root >= 0 && a[root] == depth {
			used++
			root--
		}
		for ; free > used; free-- {
			a[next] = depth
			next--
		}
		free = 2 * used
		depth++
		used = 0
	}
}

// assignCodes gives each symbol its canonical code, first bit lowest as deflate
// wants it.
func assignCodes(codes []uint16, lens []uint8) {
	var count, next [16]uint16
	for _, n := range lens {
		count[n]++
	}
	count[0] = 0
	for n := 1; n < 16; n++ {
		next[n] = (next[n-1] + count[n-1]) << 1
	}
	for s, n := range lens {
		if n > 0 {
			codes[s] = bits.Reverse16(next[n]) >> (16 - n)
			next[n]++
		}
	}
}
