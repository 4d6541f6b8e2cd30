package message

import (
	"encoding/binary"
	"hash/crc32"

	"nightseg/edge/frame"
)

// textKey is the keyword of the tEXt chunk that holds the header.
const textKey = "nightseg\x00"

// appendPNG appends the mask with the header at hand as a PNG file.
func (e *Encoder) appendPNG(dst []byte, m *frame.Mask) []byte {
	sum := e.deflate.scan(m.Class, m.W, m.H)
	dst = append(dst, magicPNG...)

	dst, at := openChunk(dst, "IHDR")
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.W))
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.H))
	dst = append(dst, 8, 3, 0, 0, 0) // 8 bits, palette
	dst = closeChunk(dst, at)

	dst, at = openChunk(dst, "tEXt")
	dst = append(dst, textKey...)
	dst = append(dst, e.json...)
	dst = closeChunk(dst, at)

	dst, at = openChunk(dst, "PLTE")
	// All 256 colours only where a pixel is unknown: most messages save 700 bytes.
	for _, c := range e.origin.Palette[:max(e.origin.Classes, int(e.deflate.most)+1)] {
		dst = append(dst, c[0], c[1], c[2])
	}
	dst = closeChunk(dst, at)

	dst, at = openChunk(dst, "IDAT")
	dst = e.deflate.append(dst, sum)
	dst = closeChunk(dst, at)

	dst, at = openChunk(dst, "IEND")
	return closeChunk(dst, at)
}

func openChunk(dst []byte, name string) ([]byte, int) {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	return append(dst, name...), at
}

// closeChunk writes the length and the checksum of the chunk that starts at at.
func closeChunk(dst []byte, at int) []byte {
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-8))
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[at+4:]))
}
