// Package abitest compares what is repeated here of the kernel's headers with what a C
// compiler makes of them.
package abitest

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Compare holds numbers against testdata/abi.txt, which has one in each line behind its
// name: "sizeof", "offset" or "number", and what C calls it. Both have the same names.
func Compare(t testing.TB, got map[string]uint64) {
	t.Helper()
	b, err := os.ReadFile("testdata/abi.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for l := range strings.Lines(string(b)) {
		i := strings.LastIndexByte(l, ' ')
		name, want := l[:i], uint64(0)
		if _, err := fmt.Sscan(l[i+1:], &want); err != nil {
			t.Fatal(l, err)
		}
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %d, here %d", name, want, v)
		}
		seen++
	}
	if seen != len(got) {
		t.Errorf("%d numbers in abi.txt, %d here", seen, len(got))
	}
}
