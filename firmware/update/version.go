package update

import (
	"cmp"
	"strings"
)

// Compare orders versions as Debian's packages do, which is also the order of
// versions like 3.10.0: numbers count as numbers, "~" is before everything, also the
// end, and what follows the last "-" counts only where all before it is equal. It
// returns -1, 0 or 1.
func Compare(a, b string) int {
	cut := func(s string) (version, revision string) {
		if i := strings.LastIndexByte(s, '-'); i >= 0 {
			return s[:i], s[i+1:]
		}
		return s, ""
	}
	x, i := cut(a)
	y, j := cut(b)
	return cmp.Or(compare(x, y), compare(i, j))
}

func compare(a, b string) int {
	for a != "" || b != "" {
		var x, y string
		x, a = split(a, false)
		y, b = split(b, false)
		if c := compareText(x, y); c != 0 {
			return c
		}
		x, a = split(a, true)
		y, b = split(b, true)
		x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		if c := cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y)); c != 0 {
			return c
		}
	}
	return 0
}

// split cuts off the leading digits, or all before the first one.
func split(s string, digits bool) (head, rest string) {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9') == digits {
		i++
	}
	return s[:i], s[i:]
}

func compareText(a, b string) int {
	for i := range max(len(a), len(b)) {
		if c := cmp.Compare(rank(a, i), rank(b, i)); c != 0 {
			return c
		}
	}
	return 0
}

// rank orders characters: "~", the end, letters, all others.
func rank(s string, i int) int {
	switch {
	case i >= len(s):
		return 0
	case s[i] == '~':
		return -1
	case s[i] >= 'A' && s[i] <= 'Z' || s[i] >= 'a' && s[i] <= 'z':
		return int(s[i])
	}
	return int(s[i]) + 256
}
