package board

import (
	"fmt"

	"nightseg/firmware/lamp"
	"nightseg/firmware/output"
	"nightseg/firmware/tree"
)

// Output is something that is turned on and off. Close turns it off.
type Output = output.Output

// OpenOutput opens an output of a description, which is off then.
func OpenOutput(root tree.Root, d *Description, name string) (Output, error) {
	c, err := d.output(name)
	if err != nil {
		return nil, err
	}
	o, err := output.Open(root, c)
	if err != nil {
		return nil, fmt.Errorf("output %s: %w", name, err)
	}
	return o, nil
}

// LampConfig is what the lamp's program is told of a description's lamp; ok is false where
// it has none.
func (d *Description) LampConfig() (c lamp.Config, ok bool) {
	if d.Lamp == nil {
		return c, false
	}
	o, err := d.output(d.Lamp.Output)
	if err != nil { // cannot be: it was checked
		return c, false
	}
	c = lamp.Config{Output: o, Limits: d.Lamp.Limits}
	c.Zone = d.Zones[d.Lamp.Zone]
	return c, true
}

// output is what the names of an output stand for.
func (d *Description) output(name string) (output.Config, error) {
	c, ok := d.Outputs[name]
	if !ok {
		return output.Config{}, fmt.Errorf("no output is called %q in the description of %s", name, d.Name)
	}
	pwm := d.PWM[c.PWM]
	return output.Config{
		Line: d.Lines[c.Line], ActiveLow: c.ActiveLow, LED: c.LED,
		PWM: pwm.Node, Channel: pwm.Channel, Hertz: c.Hertz, Most: c.Most,
	}, nil
}
