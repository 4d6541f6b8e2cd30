package observe

import (
	"math"
	"strings"
	"testing"
)

// one is the window of a 1x1 convolution of one channel.
var one = Window{Channels: 1, Groups: 1, Kernel: [2]int{1, 1}, Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}}

func see(t *testing.T, s *Spread, shape []int64, values []float32) {
	t.Helper()
	if err := s.Take(shape, values); err != nil {
		t.Fatal(err)
	}
	s.Add()
}

func TestVarianceByHand(t *testing.T) {
	s := NewSpread(one)
	if s.Enough() {
		t.Error("enough of nothing")
	}
	see(t, s, []int64{1, 1, 1, 2}, []float32{1, 2})
	see(t, s, []int64{1, 1, 2, 1}, []float32{3, 4})
	if got := s.Covariance(0).Data[0]; got != 1.25 || !s.Enough() {
		t.Errorf("variance of 1, 2, 3, 4 is %g", got)
	}
}

// Every output of a small map is read: against loops that follow the definition of
// a convolution.
func TestCovarianceOfWindows(t *testing.T) {
	w := Window{
		Channels: 4, Groups: 2, Kernel: [2]int{2, 3}, Stride: [2]int{2, 1}, Dilation: [2]int{1, 2},
		Pad: [4]int{1, 2, 0, 1},
	}
	const height, width = 6, 7
	s := NewSpread(w)
	var seen [2][][]float64 // by group: what an output reads
	for picture := range 3 {
		x := make([]float32, 4*height*width)
		for i := range x {
			x[i] = float32(math.Sin(float64(i*i + 100*picture)))
		}
		see(t, s, []int64{1, 4, height, width}, x)
		for g := range seen {
			for top := -1; top+2 <= height; top += 2 {
				for left := -2; left+5 <= width+1; left++ {
					var reads []float64
					for k := range 2 * 2 * 3 {
						c, y, z := 2*g+k/6, top+k/3%2, left+2*(k%3)
						v := float32(0)
						if y >= 0 && z >= 0 && z < width {
							v = x[(c*height+y)*width+z]
						}
						reads = append(reads, float64(v))
					}
					seen[g] = append(seen[g], reads)
				}
			}
		}
	}
	for g, all := range seen {
		c, n := s.Covariance(g), float64(len(all))
		for i := range 12 {
			for j := i; j < 12; j++ {
				var product, a, b float64
				for _, v := range all {
					product, a, b = product+v[i]*v[j], a+v[i], b+v[j]
				}
				if want := product/n - a*b/n/n; math.Abs(c.Data[i*12+j]-want) > 1e-9 {
					t.Fatalf("group %d: covariance of %d and %d is %g, not %g", g, i, j, c.Data[i*12+j], want)
				}
			}
		}
	}
}

// Of a large map so many places are read, all over it and other ones each time.
func TestPlacesAreSpread(t *testing.T) {
	s := NewSpread(one)
	x := make([]float32, 200*300)
	for i := range x {
		x[i] = float32(i)
	}
	found := map[float64]bool{}
	quarters := [2][2]int{}
	for range 4 {
		if err := s.Take([]int64{1, 1, 200, 300}, x); err != nil {
			t.Fatal(err)
		}
		for _, v := range s.taken {
			found[v] = true
			quarters[int(v)/300/100][int(v)%300/150]++
		}
		s.Add()
	}
	if len(found) != 4*places {
		t.Errorf("%d places of 4 x %d", len(found), places)
	}
	for _, row := range quarters {
		for _, n := range row {
			if n < places/2 || n > 2*places {
				t.Errorf("places by quarter: %v", quarters)
			}
		}
	}
}

func TestTakeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		shape  []int64
		kernel int
		want   string
	}{
		"three dimensions": {[]int64{1, 2, 2}, 1, "shape [1 2 2]"},
		"two pictures":     {[]int64{2, 1, 2, 2}, 1, "4 values of the shape [2 1 2 2]"},
		"other channels":   {[]int64{1, 4, 1, 1}, 1, "a map of 1 channels"},
		"other values":     {[]int64{1, 1, 2, 3}, 1, "4 values"},
		"too small":        {[]int64{1, 1, 2, 2}, 3, "2 x 2 is smaller"},
	} {
		w := one
		w.Kernel[0] = c.kernel
		if err := NewSpread(w).Take(c.shape, make([]float32, 4)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
