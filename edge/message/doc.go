// Package message holds the wire form of a mask: two codecs, the JSON header
// that both carry, and the parser that reads either. It is pure: bytes in,
// bytes out.
//
// All numbers of more than one byte are unsigned. A message of either codec
// says everything that is needed to read it; nothing is kept from one mask to
// the next.
//
// # png
//
// A PNG file (big endian), 8 bits per pixel, colour type 3 (palette), not
// interlaced. The index of a pixel is its class, 255 is unknown.
//
//	89 50 4E 47 0D 0A 1A 0A
//	IHDR  width, height, 8, 3, 0, 0, 0
//	tEXt  "nightseg" 00 JSON header
//	PLTE  red, green, blue of index 0, 1, ...; at least the classes, and all
//	      256 where a pixel is unknown
//	IDAT  zlib; every row has filter 2 (Up)
//	IEND
//
// Parse also takes what other programs make of it: other filters, several
// IDAT, other ancillary chunks.
//
// # rle-zstd
//
// Little endian.
//
//	offset  size
//	0       4     "NSRZ"
//	4       1     version, 1
//	5       1     0
//	6       2     width
//	8       2     height
//	10      2     J, bytes of the JSON header
//	12      4     R, bytes of the runs
//	16      4     Z, bytes of the runs compressed
//	20      J     JSON header
//	20+J    Z     one zstd frame that holds the runs
//	20+J+Z  4     CRC-32 (that of zlib) of all bytes before
//
// The runs describe the pixels in rows from the top left, p = 0 .. width*height-1.
// "Above p" is pixel p-width, and 0 in the first row; "left of p" is pixel p-1,
// and 0 for p = 0. Until all pixels are there:
//
//	varint c   c pixels are as above (c may be 0); the end may be here
//	byte t     kind = t & 3, n = t >> 2
//	varint m   only where n = 63
//	byte k     only where kind = 2
//
// A run of r = n+1 pixels follows, r = 64+m where n = 63. All have the class
//
//	kind 0   of the pixel left of the run
//	kind 1   of the pixel above the one behind the run; r is below width
//	kind 2   k
//
// A varint has 7 bits per byte, the low ones first; bit 7 says that more follow.
//
// # JSON header
//
// One object in ASCII, at most 65535 bytes, described with Header. A reader
// leaves out members that it does not know, and refuses another schema.
package message
