package board

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"periph.io/x/conn/v3/i2c"

	"nightseg/firmware/bus"
	"nightseg/firmware/button"
	"nightseg/firmware/governor"
	"nightseg/firmware/indicate"
	"nightseg/firmware/light"
	"nightseg/firmware/line"
	"nightseg/firmware/poll"
	"nightseg/firmware/power"
	"nightseg/firmware/thermal"
	"nightseg/firmware/tree"
)

// Options are what is told of a board. The functions are called by goroutines of the
// board's, OnButton by one for each button, and must not wait; nil tells nobody.
type Options struct {
	OnStep    func(governor.Change) // work is to be shed, or comes back
	OnBattery func(reason string)   // the program is to stop, for the battery's sake
	OnButton  func(button.Event)
	Record    func(name string) (io.Writer, error) // where traffic of an I2C bus is written down, nil nowhere
}

const (
	every  = time.Second
	stale  = 5 * every // a reading as old as that is none
	reopen = 10 * time.Second
)

// railReadings are those of one time.
type railReadings struct {
	at       time.Time
	readings map[string]power.Reading
	problems map[string]string
}

// heatReading is one with its time.
type heatReading struct {
	at time.Time
	thermal.Snapshot
}

// Board is what a description names, at work. Nothing of it stops a program: what is
// missing is a problem in Health, and is looked for again.
type Board struct {
	d     Description
	root  tree.Root
	o     Options
	start time.Time

	heat   *poll.Value[heatReading]
	rails  *poll.Value[railReadings]
	lights map[string]*light.Meter
	led    *indicate.Indicator
	status *statusLED

	governor *governor.Governor // of the goroutine that watches, in Run
	guard    *power.Guard
	step     atomic.Pointer[governor.State]
	battery  atomic.Pointer[string]

	mu       sync.Mutex // guards what is below
	buses    map[string]*bus.Bus
	problems map[string]string
}

// New makes a board of a description that Validate has let pass. It opens nothing.
func New(root tree.Root, d Description, o Options) *Board {
	b := &Board{
		d: d, root: root, o: o, start: time.Now(),
		lights: map[string]*light.Meter{}, buses: map[string]*bus.Bus{}, problems: map[string]string{},
	}
	reader := thermal.New(root, thermal.Config{Zones: d.Zones, Clocks: d.Clocks, Counters: d.Counters})
	b.heat = poll.New(every, func(context.Context) heatReading { return heatReading{time.Now(), reader.Read()} })
	sensors := map[string]rail{}
	b.rails = poll.New(every, func(context.Context) railReadings { return b.readRails(sensors) })
	for name, c := range d.Light {
		b.lights[name] = light.NewMeter(c.Interval, func(ctx context.Context) (light.Sensor, error) {
			i2c, err := b.bus(c.I2C)
			if err != nil {
				return nil, err
			}
			return light.Open(ctx, i2c, c.Chip, c.Address)
		})
	}
	if d.Status != "" {
		b.status = &statusLED{open: func() (Output, error) { return OpenOutput(root, &b.d, d.Status) }}
		b.led = indicate.New(b.status)
	}
	if d.Governor != nil {
		b.governor = governor.New(*d.Governor)
	}
	if d.Battery != nil {
		b.guard = power.NewGuard(*d.Battery)
	}
	return b
}

// MayStart says why the work may not begin yet, "" where it may. It is called before Run.
func (b *Board) MayStart() string {
	if b.governor == nil {
		return ""
	}
	reader := thermal.New(b.root, thermal.Config{Zones: b.d.Zones})
	return b.governor.MayStart(reader.Read().Celsius)
}

// Show changes the state that the LED shows.
func (b *Board) Show(s indicate.State) {
	if b.led != nil {
		b.led.Set(s)
	}
}

// Light is the newest that a sensor tells. It does not wait.
func (b *Board) Light(name string) (light.Reading, bool) {
	m, ok := b.lights[name]
	if !ok {
		return light.Reading{}, false
	}
	return m.Newest()
}

// Run reads and watches until ctx is done, and returns when all of it has ended.
func (b *Board) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { b.heat.Run(ctx) })
	if len(b.d.Rails) > 0 {
		wg.Go(func() { b.rails.Run(ctx) })
	}
	for _, m := range b.lights {
		wg.Go(func() { m.Run(ctx) })
	}
	for name, c := range b.d.Buttons {
		wg.Go(func() { b.watchButton(ctx, name, c) })
	}
	if b.led != nil {
		wg.Go(func() { b.led.Run(ctx) })
	}
	wg.Go(func() { b.watch(ctx) })
	wg.Wait()
	return b.close()
}

func (b *Board) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, bus := range b.buses {
		errs = append(errs, bus.Close())
	}
	clear(b.buses)
	if b.status != nil {
		errs = append(errs, b.status.close())
	}
	return errors.Join(errs...)
}

// bus opens a bus when it is needed for the first time, and again after that failed.
func (b *Board) bus(name string) (i2c.Bus, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if open, ok := b.buses[name]; ok {
		return open, nil
	}
	opened, err := bus.Open(b.root, b.d.I2C[name])
	if err != nil {
		return nil, err
	}
	if b.o.Record != nil {
		w, err := b.o.Record(bus.Name(b.d.I2C[name]))
		if err != nil {
			return nil, errors.Join(err, opened.Close())
		}
		opened = bus.New(bus.NewRecorder(opened, w), 2*bus.Deadline) // the inner one ends first
	}
	b.buses[name] = opened
	return opened, nil
}

// rail is what reads a rail.
type rail interface {
	Sense() (power.Reading, error)
}

func (b *Board) openRail(c power.Config) (rail, error) {
	if c.Hwmon != "" {
		return power.NewHwmon(b.root, c.Hwmon, c.Label)
	}
	i2c, err := b.bus(c.I2C)
	if err != nil {
		return nil, err
	}
	if c.Chip == "ina219" {
		return power.NewINA219(i2c, c.Address, c.Shunt, c.MaxAmps)
	}
	return power.NewINA3221(i2c, c.Address, c.Channel, c.Shunt)
}

// readRails reads all rails; one that fails is opened again the next time.
func (b *Board) readRails(sensors map[string]rail) railReadings {
	r := railReadings{readings: map[string]power.Reading{}, problems: map[string]string{}}
	for name, c := range b.d.Rails {
		var err error
		if sensors[name] == nil {
			sensors[name], err = b.openRail(c)
		}
		var got power.Reading
		if err == nil {
			got, err = sensors[name].Sense()
		}
		if err != nil {
			delete(sensors, name)
			r.problems["rail "+name] = err.Error()
			continue
		}
		r.readings[name] = got
	}
	r.at = time.Now()
	return r
}

// watch gives the governor and the guard what is newest, each second.
func (b *Board) watch(ctx context.Context) {
	if b.governor == nil && b.guard == nil {
		return
	}
	for poll.Wait(ctx, every) {
		now := time.Now()
		if b.governor != nil {
			b.observe(now)
		}
		if r, ok := b.rails.Newest(); b.guard != nil && ok && now.Sub(r.at) < stale {
			if v, ok := r.readings[b.d.Battery.Rail]; ok {
				b.observeBattery(now, v.Volts)
			}
		}
	}
}

func (b *Board) observe(now time.Time) {
	in := governor.Input{Now: now.Sub(b.start)}
	if h, ok := b.heat.Newest(); ok && now.Sub(h.at) < stale {
		in.Celsius = h.Celsius
		for name, n := range h.Counters {
			if b.d.Counters[name].Sheds {
				in.OverCurrent += n
			}
		}
	}
	c, changed := b.governor.Observe(in)
	s := b.governor.State()
	b.step.Store(&s)
	if changed && b.o.OnStep != nil {
		b.o.OnStep(c)
	}
}

// observeBattery tells once that the program is to stop.
func (b *Board) observeBattery(now time.Time, volts float64) {
	why := b.guard.Observe(now.Sub(b.start), volts)
	told := b.battery.Swap(&why)
	if why != "" && (told == nil || *told == "") && b.o.OnBattery != nil {
		b.o.OnBattery(why)
	}
}

// watchButton opens a button's line, and again after faults.
func (b *Board) watchButton(ctx context.Context, name string, c button.Config) {
	key := "button " + name
	for {
		in, err := line.OpenInput(b.root, b.d.Lines[c.Line],
			line.InputOptions{ActiveLow: c.ActiveLow, Pull: c.Pull, Debounce: c.Debounce})
		if err == nil {
			b.problem(key, nil)
			err = errors.Join(button.Watch(ctx, name, in, c, b.pressed), in.Close())
		}
		if ctx.Err() != nil {
			return
		}
		b.problem(key, err)
		if !poll.Wait(ctx, reopen) {
			return
		}
	}
}

func (b *Board) pressed(e button.Event) {
	if b.o.OnButton != nil {
		b.o.OnButton(e)
	}
}

func (b *Board) problem(key string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		delete(b.problems, key)
		return
	}
	b.problems[key] = err.Error()
}

func (b *Board) known() (problems map[string]string, counters map[string]bus.Counters) {
	b.mu.Lock()
	defer b.mu.Unlock()
	counters = map[string]bus.Counters{}
	for name, bus := range b.buses {
		counters[name] = bus.Counters()
	}
	return maps.Clone(b.problems), counters
}

// statusLED opens an output when it is set for the first time, and again some time after
// that failed.
type statusLED struct {
	open func() (Output, error)
	mu   sync.Mutex
	now  Output
	err  error
	next time.Time
}

// Set implements indicate.Output.
func (o *statusLED) Set(on bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.now == nil {
		if time.Now().Before(o.next) {
			return o.err
		}
		o.next = time.Now().Add(reopen)
		if o.now, o.err = o.open(); o.err != nil {
			o.now = nil
			return o.err
		}
	}
	if err := o.now.Set(on); err != nil {
		o.err = errors.Join(err, o.now.Close())
		o.now = nil
		return o.err
	}
	return nil
}

func (o *statusLED) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.now == nil {
		return nil
	}
	err := o.now.Close()
	o.now = nil
	if err != nil {
		return fmt.Errorf("the status LED: %w", err)
	}
	return nil
}
