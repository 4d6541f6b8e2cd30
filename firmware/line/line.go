// Package line holds GPIO lines, by the names that the kernel gives them: numbers change
// from one kernel to the next.
package line

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nightseg/firmware/tree"
)

// consumer is what gpioinfo shows beside a line that is ours.
const consumer = "nightseg"

// ErrNone is the error of a name that no chip has.
var ErrNone = errors.New("no line has this name: see the names with gpioinfo")

// Info is a line as the kernel describes it.
type Info struct {
	Chip     string // device file
	Label    string // of the chip
	Offset   uint32
	Name     string
	Consumer string // who uses it
	Used     bool
}

// Lines are those of all chips.
type Lines struct {
	list   []Info
	failed error // of chips that could not be asked
}

// List asks all chips for their lines.
func List(root tree.Root) Lines {
	var l Lines
	for _, path := range root.Glob("/dev/gpiochip*") {
		if s, err := os.Lstat(root.Path(path)); err != nil || s.Mode()&os.ModeSymlink != 0 {
			continue // a Raspberry Pi 5 has its chip under two names
		}
		lines, err := list(root, path)
		l.failed = errors.Join(l.failed, err)
		l.list = append(l.list, lines...)
	}
	return l
}

// Find looks for a line. Where two chips have a line of that name, it is asked for as
// LABEL:NAME, with the label of the chip.
func (l Lines) Find(name string) (Info, error) {
	label, bare, ok := strings.Cut(name, ":")
	if !ok {
		label, bare = "", name
	}
	var found []Info
	for _, i := range l.list {
		if i.Name == bare && (label == "" || label == i.Label) {
			found = append(found, i)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return Info{}, fmt.Errorf("%s: chips %s and %s have a line of this name: write %s:%s",
			name, found[0].Label, found[1].Label, found[0].Label, bare)
	case l.failed != nil:
		return Info{}, l.failed
	}
	return Info{}, fmt.Errorf("%s: %w", name, ErrNone)
}

// list asks a chip for all its lines.
func list(root tree.Root, path string) ([]Info, error) {
	h, err := openChip(root, path)
	if err != nil {
		return nil, err
	}
	lines, err := describe(h, path)
	return lines, errors.Join(err, h.Close())
}

func describe(h handle, path string) ([]Info, error) {
	chip := make([]byte, sizeChipInfo)
	if err := h.Ioctl(reqChipInfo, chip); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	n := native.Uint32(chip[atChipLines:])
	if n > maxLines {
		return nil, fmt.Errorf("%s: %d lines, no more than %d are believed", path, n, maxLines)
	}
	label := text(chip[atChipLabel:atChipLines])
	lines := make([]Info, 0, n)
	for i := range n {
		b := make([]byte, sizeLineInfo)
		native.PutUint32(b[atInfoOffset:], i)
		if err := h.Ioctl(reqLineInfo, b); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, i, err)
		}
		lines = append(lines, Info{
			Chip: path, Label: label, Offset: i, Name: text(b[:atInfoConsumer]),
			Consumer: text(b[atInfoConsumer:atInfoOffset]),
			Used:     native.Uint64(b[atInfoFlags:])&flagUsed != 0,
		})
	}
	return lines, nil
}

// request asks for a line and returns the file by which it is used.
func request(root tree.Root, name string, flags uint64, attr func(request []byte)) (handle, error) {
	info, err := List(root).Find(name)
	if err != nil {
		return nil, err
	}
	h, err := openChip(root, info.Chip)
	if err != nil {
		return nil, err
	}
	b := lineRequest(info.Offset, flags)
	attr(b)
	if err := h.Ioctl(reqLine, b); err != nil {
		err = errors.Join(fmt.Errorf("line %s of %s: %w", name, info.Chip, err), h.Close())
		if errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("%w: %q uses it; end that program, or choose another line", err, info.Consumer)
		}
		return nil, err
	}
	l, err := h.adopt(int32(native.Uint32(b[atRequestFD:])), "line "+name)
	if err := errors.Join(err, h.Close()); err != nil {
		return nil, err
	}
	return l, nil
}

// Output is a line that we set. It keeps its state as long as it is open; then the
// kernel may do with it what it likes.
type Output struct{ h handle }

// OpenOutput asks for a line, which is off then. activeLow: it is on at 0 V.
func OpenOutput(root tree.Root, name string, activeLow bool) (*Output, error) {
	flags := uint64(flagOutput)
	if activeLow {
		flags |= flagActiveLow
	}
	h, err := request(root, name, flags, func(b []byte) { setAttr(b, attrOutputValues, 0) })
	if err != nil {
		return nil, err
	}
	return &Output{h}, nil
}

// Set turns the line on or off.
func (o *Output) Set(on bool) error { return o.h.Ioctl(reqSetValues, values(on)) }

// Close turns the line off and gives it back.
func (o *Output) Close() error { return errors.Join(o.Set(false), o.h.Close()) }

// Pull is the resistor in the chip that an input has.
type Pull string

// The pulls.
const (
	PullNone Pull = ""
	PullUp   Pull = "up"
	PullDown Pull = "down"
)

// InputOptions say how a line is read.
type InputOptions struct {
	ActiveLow bool
	Pull      Pull
	Debounce  time.Duration // 0: edges as they come
}

// Edge is a change of an input.
type Edge struct {
	Active bool
	At     time.Duration // of the monotonic clock, by the kernel
}

// Input is a line whose changes the kernel reports.
type Input struct{ h handle }

// OpenInput asks for a line.
func OpenInput(root tree.Root, name string, o InputOptions) (*Input, error) {
	flags := uint64(flagInput | flagRising | flagFalling)
	if o.ActiveLow {
		flags |= flagActiveLow
	}
	switch o.Pull {
	case PullUp:
		flags |= flagPullUp
	case PullDown:
		flags |= flagPullDown
	}
	h, err := request(root, name, flags, func(b []byte) {
		if o.Debounce > 0 {
			setAttr(b, attrDebounce, uint64(o.Debounce/time.Microsecond))
		}
	})
	if err != nil {
		return nil, err
	}
	return &Input{h}, nil
}

// Active reads the line.
func (i *Input) Active() (bool, error) {
	b := values(false)
	err := i.h.Ioctl(reqGetValues, b)
	return native.Uint64(b)&1 != 0, err
}

// Next waits for a change. When ctx is done, it returns its error.
func (i *Input) Next(ctx context.Context) (Edge, error) {
	stop := context.AfterFunc(ctx, func() {
		_ = i.h.SetReadDeadline(time.Unix(1, 0)) // fails on a closed file only, which reads nothing either
	})
	defer stop()
	b := make([]byte, sizeEvent)
	for {
		n, err := i.h.Read(b)
		if ctx.Err() != nil {
			return Edge{}, ctx.Err()
		}
		if err != nil {
			return Edge{}, err
		}
		if e, ok := parseEvent(b[:n]); ok {
			return e, nil
		}
	}
}

// Close gives the line back.
func (i *Input) Close() error { return i.h.Close() }
