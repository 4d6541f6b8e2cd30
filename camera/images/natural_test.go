package images

import (
	"slices"
	"testing"
)

func TestNatural(t *testing.T) {
	want := []string{
		"", "1", "01", "2", "10", "a", "a1", "a1b", "a2", "a10", "frame_000009_x", "frame_10_x", "frame_000010_x",
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, natural)
	if !slices.Equal(got, want) {
		t.Errorf("order %q, want %q", got, want)
	}
}

// The order must be one: without contradictions for any three names.
func FuzzNatural(f *testing.F) {
	f.Add("a1", "a01", "a10")
	f.Add("1", "01", "001")
	f.Add("x99999999999999999999", "x1", "")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if natural(a, b) > 0 != (natural(b, a) < 0) {
			t.Errorf("%q and %q: %d and %d", a, b, natural(a, b), natural(b, a))
		}
		if (natural(a, b) == 0) != (a == b) {
			t.Errorf("%q and %q compare as %d", a, b, natural(a, b))
		}
		if natural(a, b) < 0 && natural(b, c) < 0 && natural(a, c) >= 0 {
			t.Errorf("%q < %q < %q, but not the first and the last", a, b, c)
		}
	})
}
