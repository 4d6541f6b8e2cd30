// Package jpeg decodes JPEG files into packed RGB frames.
//
// With cgo the work is done by libjpeg-turbo, about five times faster than the
// standard library's decoder and without allocating once the frame's buffer has
// grown. Without cgo, or with the build tag purejpeg, the standard library
// decodes; it interpolates the colour of sub-sampled files less smoothly, so that
// pixels may differ by a few levels between the two.
//
// Orientation tags (EXIF) are not looked at: a frame is what the sensor wrote.
package jpeg

import (
	"errors"
	"fmt"
)

// MaxPixels bounds the size of a picture, so that a small broken or hostile file
// cannot ask for all memory.
const MaxPixels = 64 << 20

// ErrTooLarge is returned for a picture of more than MaxPixels.
var ErrTooLarge = errors.New("picture is too large")

func checkSize(w, h int) error {
	if w <= 0 || h <= 0 {
		return fmt.Errorf("a picture of %dx%d pixels", w, h)
	}
	if w > MaxPixels/h {
		return fmt.Errorf("%w: %dx%d is above %d megapixels", ErrTooLarge, w, h, MaxPixels>>20)
	}
	return nil
}
