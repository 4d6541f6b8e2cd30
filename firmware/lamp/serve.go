package lamp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"nightseg/firmware/output"
	"nightseg/firmware/poll"
	"nightseg/firmware/thermal"
	"nightseg/firmware/tree"
)

// Beat is how often a feeder is to write a level, and Silence how long it may be quiet
// before the lamp goes out.
const (
	Beat    = 250 * time.Millisecond
	Silence = 500 * time.Millisecond
)

const (
	every  = 50 * time.Millisecond  // it is looked at the time
	tell   = 200 * time.Millisecond // and the state is told
	reopen = time.Second            // after a fault of the output
)

// celsius is a temperature with its time; NaN where there was none.
type celsius struct {
	v  float64
	at time.Time
}

const readZone = time.Second

// dimmer is an output that knows more than on and off.
type dimmer interface {
	Dim(percent float64) error
}

// Lamp drives an output. It is used by one goroutine.
type Lamp struct {
	root  tree.Root
	c     Config
	zone  *poll.Value[celsius] // by a goroutine of its own: a sensor may hang
	out   output.Output
	limit *limiter
	start time.Time
	next  time.Time // when the output is opened again
	state State
	set   float64 // level of the output
}

// New makes a lamp, and turns it off. A lamp whose output cannot be opened is tried again:
// it is no error, and told in its state.
func New(root tree.Root, c Config) *Lamp {
	l := &Lamp{root: root, c: c, start: time.Now()}
	reader := thermal.New(root, thermal.Config{})
	l.zone = poll.New(readZone, func(context.Context) celsius {
		v, err := reader.Zone(c.Zone)
		if err != nil {
			v = math.NaN()
		}
		return celsius{v, time.Now()}
	})
	l.limit = newLimiter(c.Limits, c.Output.PWM != "")
	l.update(l.start, 0)
	return l
}

// update gives the lamp what it may have of a level.
func (l *Lamp) update(now time.Time, wanted float64) {
	c := math.NaN()
	l.state.Celsius = nil
	if z, ok := l.zone.Newest(); ok && now.Sub(z.at) < 3*readZone && !math.IsNaN(z.v) {
		c, l.state.Celsius = z.v, &z.v
	}
	level, why := l.limit.allow(now.Sub(l.start), wanted, c)
	err := l.turn(now, level)
	if err != nil {
		err = errors.Join(err, l.close())
		l.next, level = now.Add(reopen), 0
	}
	if err != nil || l.out != nil {
		l.state.Error = ""
	}
	if err != nil {
		l.state.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	l.state.Level, l.state.Wanted, l.state.Heat, l.state.Why = level, wanted, l.limit.heat, why
}

// turn sets the output, which it opens where that is due.
func (l *Lamp) turn(now time.Time, level float64) error {
	if l.out == nil {
		if now.Before(l.next) {
			return nil
		}
		out, err := output.Open(l.root, l.c.Output)
		if err != nil {
			return err
		}
		l.out, l.set = out, 0
	}
	if level == l.set {
		return nil
	}
	l.set = level
	if d, ok := l.out.(dimmer); ok {
		return d.Dim(level * l.c.Output.Most)
	}
	return l.out.Set(level > 0)
}

func (l *Lamp) close() error {
	if l.out == nil {
		return nil
	}
	err := l.out.Close()
	l.out = nil
	return err
}

// Off turns the lamp off and lets go of it; where that fails, it is opened once more for it.
func (l *Lamp) Off() error {
	if l.out != nil && l.close() == nil {
		return nil
	}
	out, err := output.Open(l.root, l.c.Output)
	if err != nil {
		return fmt.Errorf("the lamp may still be on: %w", err)
	}
	return out.Close()
}

// Serve follows the levels in lines of in, numbers from 0 to 1, until ctx is done or in
// ends, and writes states as lines of JSON to out. The lamp is off when it returns. It does
// not wait for in, out or the zone's sensor, each of which may hang: what it has begun with
// them ends with the program.
func (l *Lamp) Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	states := make(chan State, 1)
	defer close(states)
	go write(out, states)
	beats, ended := make(chan float64), make(chan error, 1)
	go func() { ended <- read(ctx, in, beats) }()
	if l.c.Zone != "" {
		go l.zone.Run(ctx)
	}
	err := l.follow(ctx, beats, ended, states)
	return errors.Join(err, l.Off())
}

func write(out io.Writer, states <-chan State) {
	e := json.NewEncoder(out)
	for s := range states {
		if e.Encode(s) != nil {
			return
		}
	}
}

func (l *Lamp) follow(ctx context.Context, beats <-chan float64, ended <-chan error, states chan State) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var told, heard time.Time
	wanted := 0.0
	for {
		now := time.Now()
		if now.Sub(heard) >= Silence {
			wanted = 0
		}
		before := l.state
		l.update(now, wanted)
		if l.state.Level != before.Level && (l.state.Level == 0 || before.Level == 0) || l.state.Error != before.Error ||
			now.Sub(told) >= tell {
			told = now
			select {
			case <-states: // the one before was not taken
			default:
			}
			states <- l.state
		}
		select {
		case wanted = <-beats:
			heard = time.Now()
		case err := <-ended:
			return err
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// read hands levels over until in ends.
func read(ctx context.Context, in io.Reader, beats chan<- float64) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64), 64)
	for lines.Scan() {
		level, ok := parseLevel(lines.Text())
		if !ok {
			continue // no sign of life
		}
		select {
		case beats <- level:
		case <-ctx.Done():
			return nil
		}
	}
	return lines.Err()
}

// parseLevel reads a number from 0 to 1.
func parseLevel(s string) (float64, bool) {
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	return v, err == nil && v >= 0 && v <= 1
}
