// Package score holds the one accuracy rule of the project: a confusion matrix
// per set, IoU per class, mIoU over the classes that the labels of the set
// hold, its interval by block bootstrap over frames, and flicker. The rule is
// that of nightseg_train.metrics; testdata holds vectors made by it.
package score

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// None is the label of a pixel that is left out, and the prediction of a pixel
// that has no class.
const None = 255

// MaxClasses bounds the number of classes: ids are bytes, and None is none.
const MaxClasses = 255

// Errors of Confusion.Add.
var (
	ErrSize  = errors.New("label and mask differ in size")
	ErrLabel = errors.New("label is not a class")
)

// Confusion counts pixels by label (row) and prediction (column). A column
// more than there are classes holds predictions of no known class.
type Confusion struct {
	classes int
	n       []uint64 // classes rows of classes+1 columns
}

// NewConfusion returns an empty matrix for 1 to MaxClasses classes; other
// numbers are brought into that range.
func NewConfusion(classes int) *Confusion {
	classes = min(max(classes, 1), MaxClasses)
	return &Confusion{classes: classes, n: make([]uint64, classes*(classes+1))}
}

// Classes returns the number of classes.
func (c *Confusion) Classes() int { return c.classes }

// Count returns the number of pixels with a label and a prediction;
// predicted = Classes() asks for predictions of no known class.
func (c *Confusion) Count(label, predicted int) uint64 {
	return c.n[label*(c.classes+1)+predicted]
}

// Add counts a frame: class ids of label and prediction, pixel by pixel.
// Pixels labelled None are left out. After an error the matrix is as before.
func (c *Confusion) Add(label, mask []uint8) error {
	if len(label) != len(mask) {
		return fmt.Errorf("score: %w: %d and %d pixels", ErrSize, len(label), len(mask))
	}
	for i, l := range label {
		if int(l) >= c.classes && l != None {
			return fmt.Errorf("score: %w: %d at pixel %d, of %d classes", ErrLabel, l, i, c.classes)
		}
	}
	for i, l := range label {
		if l != None {
			c.n[int(l)*(c.classes+1)+min(int(mask[i]), c.classes)]++
		}
	}
	return nil
}

// Merge adds the counts of another matrix of as many classes, times times.
func (c *Confusion) Merge(o *Confusion, times uint64) {
	for i, v := range o.n[:min(len(o.n), len(c.n))] {
		c.n[i] += v * times
	}
}

// Reset empties the matrix.
func (c *Confusion) Reset() { clear(c.n) }

// IoU returns TP / (TP + FP + FN) of a class, 0..1, and whether the labels
// hold the class; where they do not it is NaN. A prediction of no known class
// costs the true class.
func (c *Confusion) IoU(class int) (iou float64, present bool) {
	w := c.classes + 1
	var row, col uint64
	for _, v := range c.n[class*w : (class+1)*w] {
		row += v
	}
	if row == 0 {
		return math.NaN(), false
	}
	for l := range c.classes {
		col += c.n[l*w+class]
	}
	hit := c.n[class*w+class]
	return float64(hit) / float64(row+col-hit), true
}

// MIoU returns the mean IoU, 0..1, of the classes that the labels hold, those
// in without left out; 0 where there is none.
func (c *Confusion) MIoU(without ...int) float64 {
	var sum float64
	var n int
	for k := range c.classes {
		if slices.Contains(without, k) {
			continue
		}
		if iou, ok := c.IoU(k); ok {
			sum += iou
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return sum / float64(n)
}

// Present lists the classes that the labels hold.
func (c *Confusion) Present() []int {
	var p []int
	for k := range c.classes {
		if _, ok := c.IoU(k); ok {
			p = append(p, k)
		}
	}
	return p
}

// Flicker counts pixels that change class between neighbouring frames.
type Flicker struct {
	changed, pixels uint64
}

// Add counts a pair of neighbouring masks. Pixels that have no class in both
// (padding) are left out.
func (f *Flicker) Add(before, after []uint8) error {
	if len(before) != len(after) {
		return fmt.Errorf("score: %w: %d and %d pixels", ErrSize, len(before), len(after))
	}
	for i, b := range before {
		switch a := after[i]; {
		case a != b:
			f.changed++
			f.pixels++
		case a != None:
			f.pixels++
		}
	}
	return nil
}

// Share returns the share of the pixels that changed, 0..1; 0 without pixels.
func (f *Flicker) Share() float64 {
	if f.pixels == 0 {
		return 0
	}
	return float64(f.changed) / float64(f.pixels)
}
