package update

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"nightseg/edge/disk"
)

// slotsFile says what the slots hold. A slot that it does not name is empty, whatever
// is in its folder.
const slotsFile = "slots.json"

// reserve is what must be left free on the disk beside an update.
const reserve = 64 << 20

// Slot is what one of the two slots holds.
type Slot struct {
	ID        string    `json:"id"` // of the update
	Kind      Kind      `json:"kind"`
	Name      string    `json:"name"`
	Version   string    `json:"version"`
	Base      string    `json:"base,omitempty"` // version of the program it was put over
	Installed time.Time `json:"installed"`
}

// Title is the folder in the slot that a bundle is in.
func (s Slot) Title() string { return s.Name + "@" + s.Version }

// Slots says what the two slots hold.
type Slots struct {
	Slots   map[string]Slot `json:"slots"`             // by "a" and "b"
	Current string          `json:"current,omitempty"` // the slot that was filled last
}

// Other is the slot beside one; beside none it is "a".
func Other(slot string) string {
	if slot == "a" {
		return "b"
	}
	return "a"
}

// ReadSlots reads what the slots of a folder hold; read gives its files. Where there
// is nothing to read the slots are empty.
func ReadSlots(read func(name string) ([]byte, error)) (Slots, error) {
	s, err := readSealed[Slots](read, slotsFile)
	if s.Slots == nil {
		s.Slots = map[string]Slot{}
	}
	for name := range s.Slots {
		if name != "a" && name != "b" {
			return Slots{Slots: map[string]Slot{}}, fmt.Errorf("%s: no slot is called %q", slotsFile, name)
		}
	}
	if _, ok := s.Slots[s.Current]; !ok {
		s.Current = ""
	}
	return s, err
}

// install unpacks an update into the slot beside keep, which is in use. A crash at
// any time leaves what is in keep as it is, and in the other slot all or nothing.
func install(ctx context.Context, to disk.Tree, u *Update, keep string, s Slot) (Slots, error) {
	slots, _ := ReadSlots(from(to)) // where it is damaged both slots are empty, for all who look
	slot := Other(keep)
	if _, held := slots.Slots[slot]; held || slots.Current == slot {
		// First of all nobody may look into it any more.
		delete(slots.Slots, slot)
		slots.Current = keep
		if err := writeSealed(to, slotsFile, slots); err != nil {
			return slots, err
		}
	}
	part := slot + ".new"
	for _, dir := range []string{slot, part} {
		if err := to.RemoveAll(dir); err != nil {
			return slots, err
		}
	}
	if err := hasRoom(to, u.Payload.Unpacked); err != nil {
		return slots, err
	}
	dir := part
	err := to.Mkdir(part)
	if err == nil && u.Kind == Bundle {
		dir = part + "/" + u.Title()
		err = to.Mkdir(dir)
	}
	if err == nil {
		err = u.unpack(ctx, to, dir)
	}
	if err == nil && dir != part {
		err = to.SyncDir(part)
	}
	if err == nil {
		err = to.Rename(part, slot)
	}
	if err == nil {
		err = to.Sync()
	}
	if err != nil {
		return slots, errors.Join(err, to.RemoveAll(part))
	}
	s.ID, s.Kind, s.Name, s.Version = u.ID, u.Kind, u.Name, u.Version
	slots.Slots[slot], slots.Current = s, slot
	return slots, writeSealed(to, slotsFile, slots)
}

// hasRoom says where an update does not fit on the disk.
func hasRoom(to disk.Tree, bytes int64) error {
	free, err := to.Free()
	if err != nil {
		return fmt.Errorf("free space: %w", err)
	}
	if free < bytes+reserve {
		return refuse(NoSpace, "%d MB are needed, and %d MB to spare, but %d MB are free on the disk",
			bytes>>20, int64(reserve)>>20, free>>20)
	}
	return nil
}

const maxRecord = 1 << 20

func writeSealed(to disk.FS, name string, v any) error {
	b, err := disk.Seal(v)
	if err == nil {
		err = disk.WriteAtomic(to, name, b)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// readSealed reads a record; one that is not there is empty.
func readSealed[T any](read func(name string) ([]byte, error), name string) (v T, err error) {
	b, err := read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err == nil {
		b, err = disk.Unseal(b)
	}
	if err == nil {
		err = json.Unmarshal(b, &v) // a newer program, on trial, may have written more
	}
	if err != nil {
		var none T
		return none, fmt.Errorf("%s: %w", name, err)
	}
	return v, nil
}

// from reads the records of a folder.
func from(d disk.FS) func(name string) ([]byte, error) {
	return func(name string) ([]byte, error) { return disk.ReadFile(d, name, maxRecord) }
}
