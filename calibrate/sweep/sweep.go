// Package sweep holds the choice of how far class weights spread: it compares
// the scores of many spreads in both modes on the same frames, and chooses by
// a rule that prefers a small spread to a gain that may be chance.
package sweep

import (
	"errors"
	"fmt"

	"nightseg/edge/decide"
	"nightseg/score"
)

// Scored is one spread in one mode, with what it scored on each frame.
type Scored struct {
	Mode   decide.Mode
	Std    float64
	Frames []*score.Confusion
}

// Point is a spread with its figures, 0..1.
type Point struct {
	Mode     decide.Mode
	Std      float64
	MIoU     float64
	Interval score.Interval // of MIoU
	Gain     float64        // over std 0
	Spread   score.Interval // of Gain, frame by frame
	Behind   score.Interval // of the best one's MIoU less this one's, frame by frame
}

// Curve holds the points in the order that they were given in.
type Curve struct {
	Points []Point
	Best   int // highest mean; of equal ones that of the smaller std, then the first
	Chosen int // see Choose
}

// Rule is the rule of Choose in words.
const Rule = "the smallest std that the best one is not ahead of beyond chance " +
	"(the 95 % interval of the difference, frame by frame, reaches 0)"

// Choose compares all. Among those that lie behind the best one by no more
// than chance explains (the interval of the difference reaches 0), the
// smallest std is chosen; of both modes with that std the higher mean, and of
// equal means the first. One of the points must have std 0.
func Choose(all []Scored, boot score.Bootstrap) (*Curve, error) {
	c := &Curve{}
	off := -1
	for i, s := range all {
		if len(s.Frames) == 0 || len(s.Frames) != len(all[0].Frames) {
			return nil, fmt.Errorf("sweep: std %g was scored on %d frames, the first on %d", s.Std, len(s.Frames),
				len(all[0].Frames))
		}
		if s.Std == 0 && off < 0 {
			off = i
		}
	}
	if off < 0 {
		return nil, errors.New("sweep: no std 0 to compare with")
	}
	for _, s := range all {
		c.Points = append(c.Points, Point{
			Mode: s.Mode, Std: s.Std, MIoU: miou(total(s.Frames)), Interval: boot.Interval(s.Frames, miou),
			Spread: boot.Difference(s.Frames, all[off].Frames, miou),
		})
	}
	for i := range c.Points {
		p, best := &c.Points[i], &c.Points[c.Best]
		p.Gain = p.MIoU - c.Points[off].MIoU
		if p.MIoU > best.MIoU || p.MIoU == best.MIoU && p.Std < best.Std {
			c.Best = i
		}
	}
	c.Chosen = c.Best
	for i := range c.Points {
		p := &c.Points[i]
		p.Behind = boot.Difference(all[c.Best].Frames, all[i].Frames, miou)
		if p.Behind.Low > 0 {
			continue
		}
		chosen := &c.Points[c.Chosen]
		if p.Std < chosen.Std || p.Std == chosen.Std && p.MIoU > chosen.MIoU {
			c.Chosen = i
		}
	}
	return c, nil
}

func miou(c *score.Confusion) float64 { return c.MIoU() }

func total(frames []*score.Confusion) *score.Confusion {
	sum := score.NewConfusion(frames[0].Classes())
	for _, f := range frames {
		sum.Merge(f, 1)
	}
	return sum
}
