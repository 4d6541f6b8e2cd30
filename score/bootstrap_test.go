package score_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"nightseg/score"
)

// frames makes a matrix per frame whose pixels are right with the frame's own
// chance; a chance is kept for run frames.
func frames(rng *rand.Rand, n, run int) []*score.Confusion {
	out := make([]*score.Confusion, n)
	label, mask := make([]uint8, 100), make([]uint8, 100)
	chance := 0.0
	for i := range out {
		if i%run == 0 {
			chance = 0.4 + 0.4*rng.Float64()
		}
		for j := range label {
			label[j] = uint8(rng.IntN(2))
			mask[j] = label[j]
			if rng.Float64() > chance {
				mask[j] = 1 - label[j]
			}
		}
		out[i] = score.NewConfusion(2)
		if err := out[i].Add(label, mask); err != nil {
			panic(err) // cannot be: labels are 0 and 1
		}
	}
	return out
}

func miou(c *score.Confusion) float64 { return c.MIoU() }

func accuracy(c *score.Confusion) float64 {
	hit := c.Count(0, 0) + c.Count(1, 1)
	return float64(hit) / float64(hit+c.Count(0, 1)+c.Count(1, 0))
}

// Over many sets drawn from one world, the interval holds the world's figure
// about as often as it claims.
func TestIntervalCovers(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const sets, world = 300, 0.6 // the mean of the frames' chances
	for _, run := range []int{1, 4} {
		held := 0
		for range sets {
			iv := score.Bootstrap{Block: 2 * run, Times: 400, Seed: rng.Uint64()}.Interval(frames(rng, 64, run), accuracy)
			if iv.Low <= world && world <= iv.High {
				held++
			}
		}
		if share := float64(held) / sets; share < 0.86 || share > 0.99 {
			t.Errorf("runs of %d alike frames: the 95 %% interval holds the figure in %.2f of the sets", run, share)
		}
	}
}

// Where neighbours are alike, frames drawn one by one pretend to more than there is.
func TestBlocksWiden(t *testing.T) {
	f := frames(rand.New(rand.NewPCG(5, 6)), 64, 8)
	width := func(block int) float64 {
		iv := score.Bootstrap{Block: block}.Interval(f, miou)
		return iv.High - iv.Low
	}
	if one, eight := width(1), width(8); eight < 1.5*one {
		t.Errorf("width %.4f in single frames, %.4f in blocks of 8", one, eight)
	}
}

func TestIntervalOfEqualFrames(t *testing.T) {
	f := frames(rand.New(rand.NewPCG(7, 8)), 1, 1)
	same := []*score.Confusion{f[0], f[0], f[0], f[0]}
	want := f[0].MIoU()
	if iv := (score.Bootstrap{}).Interval(same, miou); iv.Low != want || iv.High != want {
		t.Errorf("interval of equal frames is %v, want %v", iv, want)
	}
	if iv := (score.Bootstrap{}).Interval(nil, miou); iv != (score.Interval{}) {
		t.Errorf("interval without frames is %v", iv)
	}
}

func TestDifferenceIsPaired(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	a, b := frames(rng, 32, 1), frames(rng, 32, 1)
	if iv := (score.Bootstrap{}).Difference(a, a, miou); iv != (score.Interval{}) {
		t.Errorf("a set differs from itself by %v", iv)
	}
	up, down := score.Bootstrap{}.Difference(a, b, miou), score.Bootstrap{}.Difference(b, a, miou)
	if up.Low > up.High || !close(up.Low, -down.High) || !close(up.High, -down.Low) {
		t.Errorf("differences %v and %v are not each other's mirror", up, down)
	}
	if iv := (score.Bootstrap{}).Difference(a, b[:3], miou); iv != (score.Interval{}) {
		t.Errorf("sets of different length give %v", iv)
	}
}

func close(a, b float64) bool { return a-b < 1e-12 && b-a < 1e-12 }

func TestSameSeedSameInterval(t *testing.T) {
	f := frames(rand.New(rand.NewPCG(11, 12)), 20, 1)
	a, b := score.Bootstrap{Seed: 1}.Interval(f, miou), score.Bootstrap{Seed: 1}.Interval(f, miou)
	if a != b {
		t.Errorf("%v and %v", a, b)
	}
	if c := (score.Bootstrap{Seed: 2}).Interval(f, miou); a == c {
		t.Error("another seed gives the same resamples")
	}
}

func TestAutoBlock(t *testing.T) {
	for n, want := range map[int]int{0: 1, 1: 1, 8: 2, 9: 3, 16: 3, 27: 3, 32: 4, 84: 5, 101: 5} {
		if got := score.AutoBlock(n); got != want {
			t.Errorf("AutoBlock(%d) is %d, want %d", n, got, want)
		}
	}
}

// A class that half of the frames hold: resamples without it say nothing of it.
func TestFigureThatDoesNotExist(t *testing.T) {
	frames := []*score.Confusion{score.NewConfusion(2), score.NewConfusion(2)}
	for i, label := range [][]uint8{{0, 0}, {1, 1}} {
		if err := frames[i].Add(label, []uint8{0, 1}); err != nil {
			t.Fatal(err)
		}
	}
	second := func(c *score.Confusion) float64 {
		iou, _ := c.IoU(1)
		return iou
	}
	// With frame 2 alone the IoU of class 1 is 1/2, with both it is 1/3.
	got := score.Bootstrap{Block: 1, Times: 200}.Interval(frames, second)
	if math.Abs(got.Low-1.0/3) > 1e-12 || math.Abs(got.High-0.5) > 1e-12 {
		t.Errorf("interval %+v", got)
	}
	none := func(*score.Confusion) float64 { return math.NaN() }
	if got := (score.Bootstrap{}).Interval(frames, none); got != (score.Interval{}) {
		t.Errorf("of nothing: %+v", got)
	}
}
