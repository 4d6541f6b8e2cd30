package disktest

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Killed returns the folder as a killed process leaves it: the first n
// operations are done, and part of the next one.
func (m *FS) Killed(n int, part float64) *FS {
	c := New()
	for _, op := range m.ops[:n] {
		c.redo(op)
	}
	if n < len(m.ops) && m.ops[n].Kind == "write" {
		op := m.ops[n]
		op.data = op.data[:int(part*float64(len(op.data)))]
		c.redo(op)
	}
	return c
}

// Cut returns the folder as a power cut after n operations may leave it: of
// what was not synced, each part may be there, torn, or not, in any order.
func (m *FS) Cut(n int, r *rand.Rand) *FS {
	synced := map[int]int{}  // file: index of its last sync
	dirs := map[string]int{} // folder: index of its last sync
	for i, op := range m.ops[:n] {
		switch op.Kind {
		case "sync":
			synced[op.file] = i
		case "syncdir":
			dirs[op.Name] = i
		}
	}
	c := New()
	for range m.data {
		c.data = append(c.data, nil)
	}
	for i, op := range m.ops[:n] {
		last, ok := dirs[parent(op.Name)]
		if !ok {
			last = -1
		}
		if op.Kind == "write" || op.Kind == "truncate" {
			last = -1
			if s, ok := synced[op.file]; ok {
				last = s
			}
		}
		switch {
		case i <= last:
		case r.IntN(3) == 0:
			continue
		case op.Kind == "write" && r.IntN(3) == 0:
			op.data = slices.Clone(op.data)
			if r.IntN(2) == 0 {
				op.data = op.data[:r.IntN(len(op.data)+1)]
			} else { // sectors that never came
				from := r.IntN(len(op.data) + 1)
				clear(op.data[from:min(len(op.data), from+512)])
			}
		}
		c.redo(op)
	}
	return c
}

// Sealed makes the state of a folder the beginning of a new journal.
func (m *FS) Sealed() *FS {
	c := New()
	for _, name := range slices.Sorted(maps.Keys(m.dirs)) {
		c.apply(Op{Kind: "mkdir", Name: name})
		c.apply(Op{Kind: "syncdir", Name: parent(name)})
	}
	for i, name := range m.Names() {
		c.apply(Op{Kind: "create", Name: name, file: i})
		c.apply(Op{Kind: "write", Name: name, file: i, data: *m.Bytes(name)})
		c.apply(Op{Kind: "sync", Name: name, file: i})
		c.apply(Op{Kind: "syncdir", Name: parent(name)})
	}
	c.apply(Op{Kind: "syncdir"})
	return c
}
