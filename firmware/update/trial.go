package update

import (
	"fmt"
	"slices"

	"nightseg/edge/disk"
)

// MostStarts is how often a program may be started without proving itself.
const MostStarts = 3

const (
	trialsFile = "trials.json"
	mostTrials = 8
)

// Trial is how an installed program has done.
type Trial struct {
	ID       string `json:"id"` // of the update
	Starts   int    `json:"starts"`
	Good     bool   `json:"good"`
	Returned string `json:"returned,omitempty"` // why it was taken back
}

// Trials are the last ones, the newest at the end.
type Trials []Trial

// ReadTrials reads how programs have done; read gives files of the service's folder.
func ReadTrials(read func(name string) ([]byte, error)) (Trials, error) {
	return readSealed[Trials](read, trialsFile)
}

// Of returns how a program has done.
func (t Trials) Of(id string) Trial {
	if i := slices.IndexFunc(t, func(x Trial) bool { return x.ID == id }); i >= 0 {
		return t[i]
	}
	return Trial{ID: id}
}

// put replaces what is known of a program.
func (t Trials) put(x Trial) Trials {
	t = slices.DeleteFunc(slices.Clone(t), func(y Trial) bool { return y.ID == x.ID })
	t = append(t, x)
	return t[max(0, len(t)-mostTrials):]
}

func changeTrial(d disk.FS, id string, change func(*Trial)) error {
	t, _ := ReadTrials(from(d)) // a damaged record is begun anew
	x := t.Of(id)
	before := x
	change(&x)
	if x == before {
		return nil
	}
	return writeSealed(d, trialsFile, t.put(x))
}

// MarkGood notes that a program has proven itself.
func MarkGood(d disk.FS, id string) error {
	return changeTrial(d, id, func(t *Trial) { t.Good, t.Returned = true, "" })
}

// Return notes that a program is not to be started any more.
func Return(d disk.FS, id, why string) error {
	return changeTrial(d, id, func(t *Trial) { t.Returned = why })
}

// GiveBack takes a start back that was ended on purpose before it could prove itself.
func GiveBack(d disk.FS, id string) error {
	return changeTrial(d, id, func(t *Trial) {
		if !t.Good && t.Starts > 0 {
			t.Starts--
		}
	})
}

// inForce chooses the slot of programs to start: the newest, unless it was taken back
// or has used up its starts, then the other if that was proven. "" is the program of
// the system's own package, which is also started where it is of another version than
// the one over which a slot was filled: it was installed since.
func inForce(s Slots, t Trials, base string) string {
	may := func(slot string) (Trial, bool) {
		held, ok := s.Slots[slot]
		x := t.Of(held.ID)
		return x, ok && held.Kind == Package && held.Base == base && x.Returned == ""
	}
	if x, ok := may(s.Current); ok && (x.Good || x.Starts < MostStarts) {
		return s.Current
	}
	if x, ok := may(Other(s.Current)); ok && x.Good {
		return Other(s.Current)
	}
	return ""
}

// Choice is the program to start.
type Choice struct {
	Name string // of the slot, "" for the system's own program
	Slot
	Notes []string // what is to be told
}

// Choose says which program is in force, and counts nothing.
func Choose(s Slots, t Trials, base string) Choice {
	name := inForce(s, t, base)
	return Choice{Name: name, Slot: s.Slots[name]}
}

// Launch chooses the program to start, and counts the start, on disk, where that is
// not proven. slots and base are those of programs; state opens the service's folder.
// It always has an answer: where nothing else can be had, the system's own program.
func Launch(slots func(name string) ([]byte, error), state func() (disk.FS, error), base string) (c Choice) {
	note := func(err error) {
		if err != nil {
			c.Notes = append(c.Notes, err.Error())
		}
	}
	s, err := ReadSlots(slots)
	note(err)
	if len(s.Slots) == 0 {
		return c
	}
	d, err := state()
	note(err)
	var t Trials
	if err == nil {
		defer func() { note(d.Close()) }()
		t, err = ReadTrials(from(d))
		note(err)
	}
	keep := func(x Trial) error {
		t = t.put(x)
		if d == nil {
			return fmt.Errorf("%s: not open", trialsFile)
		}
		return writeSealed(d, trialsFile, t)
	}
	if x := t.Of(s.Slots[s.Current].ID); s.Current != "" && !x.Good && x.Returned == "" && x.Starts >= MostStarts {
		x.Returned = fmt.Sprintf("%d starts ended before it had proven itself", x.Starts)
		c.Notes = append(c.Notes, fmt.Sprintf("%s is taken back: %s", s.Slots[s.Current].Title(), x.Returned))
		note(keep(x))
	}
	c.Name = inForce(s, t, base)
	if c.Name == "" {
		return c
	}
	if x := t.Of(s.Slots[c.Name].ID); !x.Good {
		x.Starts++
		if err := keep(x); err != nil {
			// What cannot be counted could end this machine for ever.
			note(fmt.Errorf("%s is not started, for its starts cannot be counted: %w", s.Slots[c.Name].Title(), err))
			x.Returned = "not counted"
			t = t.put(x)
			c.Name = inForce(s, t, base)
		}
	}
	c.Slot = s.Slots[c.Name]
	return c
}
