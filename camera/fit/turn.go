package fit

// turn writes the source, turned clockwise and then mirrored, to dst. It walks
// over dst; the source position moves by a fixed step along a row.
func turn(dst, src []byte, w, h int, s Settings) {
	ow, oh := w, h
	start, right, down := 0, 1, w // pixels in the source: of dst's first, per column, per row
	switch s.Rotate {
	case 90:
		ow, oh = h, w
		start, right, down = (h-1)*w, -w, 1
	case 180:
		start, right, down = w*h-1, -1, -w
	case 270:
		ow, oh = h, w
		start, right, down = w-1, w, -1
	}
	if s.FlipH {
		start, right = start+(ow-1)*right, -right
	}
	if s.FlipV {
		start, down = start+(oh-1)*down, -down
	}
	for y := range oh {
		row := dst[3*y*ow:][:3*ow]
		at, step := 3*(start+y*down), 3*right
		for len(row) >= 3 {
			p := src[at : at+3 : at+3]
			row[0], row[1], row[2] = p[0], p[1], p[2]
			row = row[3:]
			at += step
		}
	}
}
