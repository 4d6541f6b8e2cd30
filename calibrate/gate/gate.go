// Package gate holds the judgement whether a bundle's integer networks are as
// good as its float networks: against labels, by scores and the bounds of
// their differences; without labels, by how far the masks of both agree over a
// drive. It takes what was counted; which engine ran is not its business.
package gate

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"nightseg/model"
	"nightseg/score"
)

// Limits of what passes, in percent and points.
type Limits struct {
	// With labels: the upper ends of the 95 % intervals of float minus int8.
	MIoUDrop   float64
	ClassDrop  float64 // of each class that has LabelShare of the labelled pixels
	LabelShare float64
	IoU        float64 // without labels: of int8 against float, for each class that has PixelShare of the pixels
	PixelShare float64
	Agreement  float64 // of the pixels whose float margin is not among the lowest Uncertain of all
	Uncertain  float64
}

// Default returns the limits that a bundle must keep.
func Default() Limits {
	return Limits{
		MIoUDrop: 0.5, ClassDrop: 2, LabelShare: 0.5,
		IoU: 90, PixelShare: 0.1, Agreement: 99, Uncertain: 10,
	}
}

// The names of the figures.
const (
	MIoUDrop  = "miou_drop"
	ClassDrop = "iou_drop"
	IoU       = "iou"
	Agreement = "agreement"
)

func percent(v float64) float64 { return math.Round(v*1e5) / 1e3 }

// Labelled judges the scores of the same frames by both networks, a matrix per
// frame in the order of the drive. A class that the labels hardly hold is not
// judged alone; it counts in the mean.
func Labelled(
	float, int8 []*score.Confusion, names []string, l Limits, boot score.Bootstrap,
) ([]model.GateFigure, error) {
	if len(float) == 0 || len(float) != len(int8) {
		return nil, fmt.Errorf("gate: %d frames in float, %d in int8", len(float), len(int8))
	}
	a, b := total(float), total(int8)
	pixels := uint64(0)
	for k := range names {
		pixels += labelled(a, k)
	}
	if pixels == 0 {
		return nil, fmt.Errorf("gate: none of the %d frames has a labelled pixel: give other labels", len(float))
	}
	drop := func(name, class string, limit float64, figure func(*score.Confusion) float64) model.GateFigure {
		bound := percent(boot.Difference(float, int8, figure).High)
		return model.GateFigure{
			Name: name, Class: class, Value: percent(figure(a) - figure(b)), Bound: &bound, Limit: limit,
			Holds: bound <= limit,
		}
	}
	figures := []model.GateFigure{drop(MIoUDrop, "", l.MIoUDrop, func(c *score.Confusion) float64 { return c.MIoU() })}
	for k, name := range names {
		if 100*float64(labelled(a, k)) < l.LabelShare*float64(pixels) || labelled(a, k) == 0 {
			continue
		}
		figures = append(figures, drop(ClassDrop, name, l.ClassDrop, func(c *score.Confusion) float64 {
			iou, _ := c.IoU(k)
			return iou
		}))
	}
	return figures, nil
}

// Holds reports whether all figures hold.
func Holds(figures []model.GateFigure) bool {
	for _, f := range figures {
		if !f.Holds {
			return false
		}
	}
	return len(figures) > 0
}

// Text is a figure with its limit in words.
func Text(f model.GateFigure) string {
	switch {
	case f.Bound != nil && f.Name == MIoUDrop:
		return fmt.Sprintf("mIoU down by %.2f points, bound %.2f (limit %g)", f.Value, *f.Bound, f.Limit)
	case f.Bound != nil:
		return fmt.Sprintf("IoU of %s down by %.2f points, bound %.2f (limit %g)", f.Class, f.Value, *f.Bound, f.Limit)
	case f.Name == IoU:
		return fmt.Sprintf("IoU of %s against float %.2f %% (at least %g)", f.Class, f.Value, f.Limit)
	}
	return fmt.Sprintf("masks agree on %.3f %% of what float is sure of (at least %g)", f.Value, f.Limit)
}

func total(frames []*score.Confusion) *score.Confusion {
	sum := score.NewConfusion(frames[0].Classes())
	for _, f := range frames {
		sum.Merge(f, 1)
	}
	return sum
}

// labelled is the number of pixels with that label.
func labelled(c *score.Confusion, k int) (n uint64) {
	for p := range c.Classes() + 1 {
		n += c.Count(k, p)
	}
	return n
}

// predicted is the number of pixels with that prediction.
func predicted(c *score.Confusion, k int) (n uint64) {
	for l := range c.Classes() {
		n += c.Count(l, k)
	}
	return n
}

// Worst returns the figure that is furthest beyond its limit, or nearest to it
// where all hold, in points.
func Worst(figures []model.GateFigure) model.GateFigure {
	return slices.MinFunc(figures, func(a, b model.GateFigure) int { return cmp.Compare(room(a), room(b)) })
}

// room is how far a figure may go before it fails.
func room(f model.GateFigure) float64 {
	if f.Bound != nil {
		return f.Limit - *f.Bound
	}
	return f.Value - f.Limit
}
