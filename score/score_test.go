package score_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"nightseg/score"
)

// vector is a set that nightseg_train.metrics has scored.
type vector struct {
	Name     string      `json:"name"`
	Classes  int         `json:"classes"`
	Pairs    [][2][]byte `json:"pairs"`
	Matrix   []uint64    `json:"matrix"`
	PerClass []*float64  `json:"per_class"` // percent
	MIoU     *float64    `json:"miou"`
}

func readVectors(t *testing.T) []vector {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Cases []vector `json:"cases"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Cases) == 0 {
		t.Fatal("no vectors")
	}
	return doc.Cases
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-12*max(1, math.Abs(b)) }

func TestEqualsTheTrainersMetrics(t *testing.T) {
	for _, v := range readVectors(t) {
		c := score.NewConfusion(v.Classes)
		for _, p := range v.Pairs {
			if err := c.Add(p[0], p[1]); err != nil {
				t.Fatalf("%s: %v", v.Name, err)
			}
		}
		for i, want := range v.Matrix {
			if got := c.Count(i/(v.Classes+1), i%(v.Classes+1)); got != want {
				t.Errorf("%s: entry %d is %d, want %d", v.Name, i, got, want)
			}
		}
		for k, want := range v.PerClass {
			got, present := c.IoU(k)
			switch {
			case present != (want != nil):
				t.Errorf("%s: class %d present is %v", v.Name, k, present)
			case want == nil:
				if !math.IsNaN(got) {
					t.Errorf("%s: IoU of absent class %d is %v", v.Name, k, got)
				}
			case !near(100*got, *want):
				t.Errorf("%s: IoU of class %d is %v, want %v", v.Name, k, 100*got, *want)
			}
		}
		want := 0.0
		if v.MIoU != nil {
			want = *v.MIoU
		}
		if got := 100 * c.MIoU(); !near(got, want) {
			t.Errorf("%s: mIoU is %v, want %v", v.Name, got, want)
		}
	}
}

func TestAPredictionOfAnAbsentClassCostsTheTrueOneAlone(t *testing.T) {
	c := score.NewConfusion(3)
	if err := c.Add([]uint8{0, 0, 0, 0, 1, 1}, []uint8{0, 0, 2, score.None, 1, 1}); err != nil {
		t.Fatal(err)
	}
	if got := c.MIoU(); got != (0.5+1)/2 {
		t.Errorf("mIoU is %v, want 0.75", got)
	}
	if got := c.MIoU(0); got != 1 {
		t.Errorf("mIoU without class 0 is %v, want 1", got)
	}
	if got := c.Present(); len(got) != 2 || got[0] != 0 || got[1] != 1 {
		t.Errorf("present are %v, want 0 and 1", got)
	}
}

func TestBadFramesChangeNothing(t *testing.T) {
	c := score.NewConfusion(2)
	if err := c.Add([]uint8{0, 1}, []uint8{0}); !errors.Is(err, score.ErrSize) {
		t.Errorf("sizes that differ: %v", err)
	}
	if err := c.Add([]uint8{0, 2}, []uint8{0, 0}); !errors.Is(err, score.ErrLabel) {
		t.Errorf("a label that is no class: %v", err)
	}
	if len(c.Present()) != 0 {
		t.Error("a refused frame was counted")
	}
}

// The sum of parts is the whole, and a weight counts a frame as often.
func TestMerge(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	whole, parts := score.NewConfusion(4), score.NewConfusion(4)
	for n := range uint64(3) {
		label, mask := make([]uint8, 200), make([]uint8, 200)
		for i := range label {
			label[i], mask[i] = uint8(rng.IntN(4)), uint8(rng.IntN(6))
		}
		one := score.NewConfusion(4)
		if err := one.Add(label, mask); err != nil {
			t.Fatal(err)
		}
		parts.Merge(one, n)
		for range n {
			if err := whole.Add(label, mask); err != nil {
				t.Fatal(err)
			}
		}
	}
	for l := range 4 {
		for p := range 5 {
			if whole.Count(l, p) != parts.Count(l, p) {
				t.Fatalf("entry %d, %d: %d and %d", l, p, whole.Count(l, p), parts.Count(l, p))
			}
		}
	}
}

func TestFlicker(t *testing.T) {
	var f score.Flicker
	if f.Share() != 0 {
		t.Error("no pixels, but a share")
	}
	if err := f.Add([]uint8{0, 1, 255, 255}, []uint8{0, 2, 3, 255}); err != nil {
		t.Fatal(err)
	}
	if got := f.Share(); got != 2.0/3 { // the padding pixel is left out
		t.Errorf("share is %v, want 2/3", got)
	}
	if err := f.Add([]uint8{0}, nil); !errors.Is(err, score.ErrSize) {
		t.Errorf("sizes that differ: %v", err)
	}
}

func FuzzAdd(f *testing.F) {
	f.Add(3, []byte{0, 1, 2, 255}, []byte{0, 1, 255, 2})
	f.Add(0, []byte{7}, []byte{})
	f.Fuzz(func(t *testing.T, classes int, label, mask []byte) {
		c := score.NewConfusion(classes)
		err := c.Add(label, mask)
		var counted, labelled uint64
		for l := range c.Classes() {
			for p := range c.Classes() + 1 {
				counted += c.Count(l, p)
			}
		}
		for _, l := range label {
			if l != score.None {
				labelled++
			}
		}
		if err == nil && counted != labelled || err != nil && counted != 0 {
			t.Fatalf("%d pixels counted of %d, error %v", counted, labelled, err)
		}
		if m := c.MIoU(); !(m >= 0 && m <= 1) {
			t.Fatalf("mIoU is %v", m)
		}
	})
}
