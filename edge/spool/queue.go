package spool

// entry is a record in memory: on its way to the disk, or to the broker.
type entry struct {
	buf    []byte // the whole record
	number uint64
	state  state
}

// state of an entry on its way to the broker.
type state uint8

const (
	ready state = iota // may be handed out
	taken              // handed out
	done               // confirmed or dropped; waits for those before it
)

// fifo is a queue of entries. It keeps its memory.
type fifo struct {
	list []*entry
	head int
}

func (f *fifo) len() int        { return len(f.list) - f.head }
func (f *fifo) at(i int) *entry { return f.list[f.head+i] }
func (f *fifo) push(e *entry)   { f.list = append(f.list, e) }

func (f *fifo) pop() *entry {
	e := f.list[f.head]
	f.list[f.head] = nil
	f.head++
	if f.head == len(f.list) {
		f.list, f.head = f.list[:0], 0
	} else if f.head >= 64 && 2*f.head >= len(f.list) {
		n := copy(f.list, f.list[f.head:])
		clear(f.list[n:])
		f.list, f.head = f.list[:n], 0
	}
	return e
}

// pool keeps entries for use again, up to a number of bytes.
type pool struct {
	free  []*entry
	bytes int
	most  int
}

func (p *pool) get() *entry {
	if n := len(p.free); n > 0 {
		e := p.free[n-1]
		p.free = p.free[:n-1]
		p.bytes -= cap(e.buf)
		e.buf, e.number, e.state = e.buf[:0], 0, ready
		return e
	}
	return &entry{}
}

func (p *pool) put(e *entry) {
	if p.bytes+cap(e.buf) > p.most {
		e.buf = nil
	}
	p.bytes += cap(e.buf)
	p.free = append(p.free, e)
}

// queue holds what waits for the disk: a list per class, one bound for all. The
// spool's mutex guards it.
type queue struct {
	lists   [Classes]fifo
	records int // those that are being written included
	bytes   int
	pool    pool
}

// room drops the oldest of the lowest class until a record of n bytes and class
// c fits, and reports false where only higher ones could be dropped.
func (q *queue) room(c Class, n, maxRecords, maxBytes int, lost func(Class)) bool {
	for q.records+1 > maxRecords || q.bytes+n > maxBytes {
		victim := q.lowest()
		if victim > c {
			return false
		}
		q.drop(q.lists[victim].pop())
		lost(victim)
	}
	return true
}

// lowest returns the lowest class that has entries, Classes where there is none.
func (q *queue) lowest() Class {
	for c := range Classes {
		if q.lists[c].len() > 0 {
			return c
		}
	}
	return Classes
}

// drop takes an entry out of the count, and back into the pool.
func (q *queue) drop(e *entry) {
	q.records--
	q.bytes -= len(e.buf)
	q.pool.put(e)
}
