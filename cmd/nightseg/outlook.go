package main

import (
	"context"
	"math"
	"sync/atomic"

	"nightseg/edge"
	"nightseg/edge/frame"
	"nightseg/edge/settings"
)

// surroundings is what the board tells the cameras' lanes. The zero value says nothing.
type surroundings struct {
	lux   atomic.Uint32 // bits of a float32; 0: not known
	spare atomic.Uint64 // bits of the share of the frames that is left out
	gamma atomic.Bool   // gamma does the relight network's work
	dark  atomic.Pointer[settings.Relight]
}

func (s *surroundings) setLux(lux float64)       { s.lux.Store(math.Float32bits(float32(lux))) }
func (s *surroundings) setRate(share float64)    { s.spare.Store(math.Float64bits(1 - share)) }
func (s *surroundings) light() float32           { return math.Float32frombits(s.lux.Load()) }
func (s *surroundings) leftOut() (share float64) { return math.Float64frombits(s.spare.Load()) }

// outlook is the camera of a lane, with what is known of the light around it. It leaves
// frames out where it is too hot for all of them.
type outlook struct {
	edge.Source
	inner  counted
	around *surroundings
	night  *nightControl
	owed   float64 // share of a frame that is left out next
	left   uint32  // out since the last frame
	shed   atomic.Uint64
	luma   atomic.Uint64 // bits of that of the newest frame, and 1; 0: there was none
}

// Next implements edge.Source.
func (o *outlook) Next(ctx context.Context, dst *frame.Frame) error {
	for {
		if err := o.Source.Next(ctx, dst); err != nil {
			return err
		}
		luma := float64(dst.Luma)
		o.night.see(luma)
		o.luma.Store(math.Float64bits(luma) | 1)
		out := o.around.leftOut()
		if o.owed += out; out == 0 || o.owed < 1 {
			break
		}
		o.owed--
		o.left += dst.DroppedBefore + 1
		o.shed.Add(1)
	}
	dst.DroppedBefore += o.left
	o.left = 0
	dst.Lux = o.around.light()
	dst.Exposure, dst.CameraGain = o.night.values()
	return nil
}

// Counters returns the frames that were lost, by reason.
func (o *outlook) Counters() map[string]uint64 {
	c := o.inner.Counters()
	if n := o.shed.Load(); n > 0 {
		c["heat"] = n
	}
	return c
}
