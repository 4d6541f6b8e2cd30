package message

import (
	"encoding/binary"
	"hash/crc32"
	"io"

	"nightseg/edge/frame"
)

// maxInflate is how many times its size deflate can grow to: RFC 1951 gives 258
// bytes for two bits.
const maxInflate = 1032

// pngParts are the chunks of a mask message.
type pngParts struct {
	w, h    int
	header  []byte
	data    []byte // all IDAT
	idats   int
	colours int
}

func (r *Reader) parsePNG(dst *frame.Mask, b []byte) error {
	p, err := r.chunks(b)
	if err != nil {
		return err
	}
	if err := r.header(p.header, PNG, p.w, p.h); err != nil {
		return err
	}
	if (p.w+1)*p.h > maxInflate*len(p.data) {
		return bad("IDAT of %d bytes cannot hold %dx%d pixels", len(p.data), p.w, p.h)
	}
	return r.pixels(dst, p)
}

// chunks finds the parts of a PNG file.
func (r *Reader) chunks(b []byte) (p pngParts, err error) {
	last := ""
	for at := len(magicPNG); last != "IEND"; {
		name, body, err := chunkAt(b, at)
		if err != nil {
			return p, err
		}
		if first := at == len(magicPNG); first != (string(name) == "IHDR") {
			return p, bad("chunk %q at byte %d: IHDR must come once, first", name, at)
		}
		at += 12 + len(body)
		if last, err = r.chunk(&p, name, body, last); err != nil {
			return p, err
		}
		if last == "IEND" && (len(body) > 0 || at < len(b)) {
			return p, bad("%d bytes behind the end", len(b)-at+len(body))
		}
	}
	switch {
	case p.header == nil:
		return p, bad("no tEXt chunk \"nightseg\": a picture, but not a mask of ours")
	case p.colours == 0 || p.idats == 0:
		return p, bad("no PLTE or no IDAT chunk")
	}
	return p, nil
}

// chunk takes a chunk and returns its name, "" where that does not matter.
func (r *Reader) chunk(p *pngParts, name, body []byte, last string) (string, error) {
	switch string(name) {
	case "IHDR":
		return "", p.size(body)
	case "tEXt":
		return "", p.text(body)
	case "PLTE":
		if p.colours > 0 || p.idats > 0 || len(body)%3 != 0 || len(body) == 0 || len(body) > 3*256 {
			return "", bad("chunk PLTE must come once, before IDAT, with 1 to 256 colours")
		}
		p.colours = len(body) / 3
		return "", nil
	case "IDAT":
		if p.idats > 0 && last != "IDAT" {
			return "", bad("IDAT chunks are not in one piece")
		}
		r.join(p, body)
		return "IDAT", nil
	case "IEND":
		return "IEND", nil
	}
	if name[0]&0x20 == 0 { // an upper case letter: a reader must know it
		return "", bad("unknown chunk %q", name)
	}
	return "", nil
}

// join adds an IDAT chunk; only from the second on it has to copy.
func (r *Reader) join(p *pngParts, body []byte) {
	switch p.idats++; p.idats {
	case 1:
		p.data = body
		return
	case 2:
		r.data = append(r.data[:0], p.data...)
	}
	r.data = append(r.data, body...)
	p.data = r.data
}

// chunkAt returns the chunk at a byte of the file.
func chunkAt(b []byte, at int) (name, body []byte, err error) {
	left := b[at:]
	if len(left) < 12 {
		return nil, nil, bad("cut off at byte %d, in a chunk", len(b))
	}
	n := binary.BigEndian.Uint32(left)
	name = left[4:8]
	for _, c := range name {
		if c |= 0x20; c < 'a' || c > 'z' {
			return nil, nil, bad("no chunk at byte %d", at)
		}
	}
	if uint64(n) > uint64(len(left)-12) {
		return nil, nil, bad("cut off at byte %d: chunk %q at byte %d needs %d bytes more",
			len(b), name, at, uint64(n)-uint64(len(left)-12))
	}
	if sum := crc32.ChecksumIEEE(left[4 : 8+n]); sum != binary.BigEndian.Uint32(left[8+n:]) {
		return nil, nil, bad("chunk %q at byte %d: wrong checksum", name, at)
	}
	return name, left[8 : 8+n], nil
}

// size reads IHDR.
func (p *pngParts) size(b []byte) error {
	if len(b) != 13 {
		return bad("chunk IHDR of %d bytes", len(b))
	}
	w, h := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if w > maxSide || h > maxSide || badSize(int(w), int(h)) {
		return bad("%dx%d pixels; at most %d of a side and %d in all", w, h, maxSide, MaxPixels)
	}
	if string(b[8:]) != "\x08\x03\x00\x00\x00" {
		return bad("depth %d, colour type %d, interlace %d: not an 8-bit palette picture", b[8], b[9], b[12])
	}
	p.w, p.h = int(w), int(h)
	return nil
}

// text takes the header from a tEXt chunk; other texts are left out.
func (p *pngParts) text(b []byte) error {
	if !hasPrefix(b, textKey) {
		return nil
	}
	if p.header != nil {
		return bad("two tEXt chunks \"nightseg\"")
	}
	p.header = b[len(textKey):]
	return nil
}

// pixels inflates and unfilters the classes.
func (r *Reader) pixels(dst *frame.Mask, p pngParts) error {
	if err := r.inflate(p.data); err != nil {
		return bad("IDAT: %v", err)
	}
	dst.Reset(p.w, p.h)
	for i := range r.rows {
		if cap(r.rows[i]) < p.w+1 {
			r.rows[i] = make([]byte, p.w+1)
		}
		r.rows[i] = r.rows[i][:p.w+1]
	}
	up := r.rows[1][1:]
	clear(up)
	raw := r.rows[0]
	for y := range p.h {
		if _, err := io.ReadFull(r.zlib, raw); err != nil {
			return bad("IDAT: row %d of %d: %v", y, p.h, err)
		}
		row := dst.Class[y*p.w : (y+1)*p.w]
		copy(row, raw[1:])
		if raw[0] > 4 {
			return bad("row %d has the unknown filter %d", y, raw[0])
		}
		unfilter(row, up, raw[0])
		up = row
	}
	if n, err := r.zlib.Read(raw[:1]); n != 0 || err != io.EOF {
		if err == nil || err == io.EOF {
			return bad("IDAT: more than %dx%d pixels", p.w, p.h)
		}
		return bad("IDAT: %v", err)
	}
	if r.source.Len() > 0 {
		return bad("IDAT: %d bytes behind the end of the data", r.source.Len())
	}
	return nil
}

// unfilter undoes a filter of PNG in place.
func unfilter(row, up []byte, filter byte) {
	up = up[:len(row)]
	var left, upLeft byte
	switch filter {
	case 1: // Sub
		for i := range row {
			row[i] += left
			left = row[i]
		}
	case filterUp:
		for i := range row {
			row[i] += up[i]
		}
	case 3: // Average
		for i := range row {
			row[i] += byte((int(left) + int(up[i])) / 2)
			left = row[i]
		}
	case 4: // Paeth
		for i := range row {
			row[i] += paeth(left, up[i], upLeft)
			left, upLeft = row[i], up[i]
		}
	}
}

// paeth returns which of left, above and above left is nearest to
// left + above - above left.
func paeth(left, up, upLeft byte) byte {
	a, b, c := int(left), int(up), int(upLeft)
	da, db, dc := max(b-c, c-b), max(a-c, c-a), max(a+b-2*c, 2*c-a-b)
	switch {
	case da <= db && da <= dc:
		return left
	case db <= dc:
		return up
	}
	return upLeft
}
