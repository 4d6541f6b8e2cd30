package message

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestHuffman: codes are complete, not longer than allowed, rare symbols have
// the long ones, and where nothing had to be shortened none is better.
func TestHuffman(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	var h huffman
	for i := range 1500 {
		most := []int{7, 15}[i%2]
		freq := make([]uint32, 2+rng.IntN([]int{17, 284}[i%2]))
		for s := range freq {
			freq[s] = uint32(1+rng.IntN(3)) << rng.IntN(1+rng.IntN(20)) // sums are below 2^32, as those of 64 Mpx are
			if rng.IntN(3) == 0 {
				freq[s] = 0
			}
		}
		freq[0], freq[1] = 1, 1+freq[1]
		if i%5 == 0 { // as long as codes can get
			for s := 2; s < len(freq); s++ {
				freq[s] = 0
				if s < 30 {
					freq[s] = freq[s-1] + freq[s-2]
				}
			}
		}
		lens := make([]uint8, len(freq))
		h.lengths(lens, freq, most)
		checkLengths(t, lens, freq, most)
	}
	lens := make([]uint8, 3)
	if h.lengths(lens, []uint32{0, 9, 0}, 15); !slices.Equal(lens, []uint8{0, 1, 0}) {
		t.Errorf("one symbol: %v", lens)
	}
}

func checkLengths(t *testing.T, lens []uint8, freq []uint32, most int) {
	t.Helper()
	sum, cost, longest := 0, 0, 0
	for s, n := range lens {
		if (n > 0) != (freq[s] > 0) || int(n) > most {
			t.Fatalf("frequency %d, length %d of at most %d", freq[s], n, most)
		}
		if n > 0 {
			sum += 1 << (most - int(n))
			cost += int(freq[s]) * int(n)
			longest = max(longest, int(n))
		}
		for s2, n2 := range lens[:s] {
			if freq[s] > freq[s2] && n > n2 && n2 > 0 {
				t.Fatalf("frequencies %d and %d have lengths %d and %d", freq[s], freq[s2], n, n2)
			}
		}
	}
	if sum != 1<<most {
		t.Fatalf("the code fills %d of %d", sum, 1<<most)
	}
	if best := bestCost(freq); cost < best || cost > best && longest < most {
		t.Fatalf("%d bits, the best code has %d", cost, best)
	}
}

// bestCost is the cost of a Huffman code, found the plain way.
func bestCost(freq []uint32) (cost int) {
	var heap []int
	for _, f := range freq {
		if f > 0 {
			heap = append(heap, int(f))
		}
	}
	for len(heap) > 1 {
		slices.Sort(heap)
		heap[1] += heap[0]
		cost += heap[1]
		heap = heap[1:]
	}
	return cost
}

// TestLongCodes: a mask whose codes must be shortened to 15 bits.
func TestLongCodes(t *testing.T) {
	var class []uint8
	a, b := 1, 1
	for k := range 22 {
		for range a {
			class = append(class, uint8(9*k))
		}
		a, b = b, a+b
	}
	rng := rand.New(rand.NewPCG(15, 16))
	rng.Shuffle(len(class), func(i, j int) { class[i], class[j] = class[j], class[i] })
	m := street(len(class), 1, 1)
	m.Class = class
	e := testEncoder(t)
	checkTrip(t, e, new(Reader), m, "Fibonacci")
	e.deflate.scan(m.Class, m.W, m.H)
	e.deflate.plan()
	if n := slices.Max(e.deflate.symLen[:]); n != 15 {
		t.Errorf("the longest code has %d bits: this does not test what it should", n)
	}
}
