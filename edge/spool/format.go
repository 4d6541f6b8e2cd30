package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"
)

// The format of the files; docs/spool.md says the same in words. Numbers are
// little endian.
const (
	formatVersion = 1
	segmentHeader = 40
	recordHeader  = 64
	segmentSuffix = ".seg"
	asideSuffix   = ".bad"
	maxName       = 255      // bytes of Run and of Camera
	maxBody       = 64 << 20 // no record is longer, whatever its header says
	flagSynced    = 1
)

var (
	segmentMagic = []byte("NSSP")
	recordMagic  = []byte("\xa5NSR")
	castagnoli   = crc32.MakeTable(crc32.Castagnoli)
	le           = binary.LittleEndian

	errVersion = errors.New("segment of another version")
	errHeader  = errors.New("no segment header")
)

// segmentName is the name of a segment's file.
func segmentName(c Class, id uint64) string {
	return fmt.Sprintf("%s-%016x%s", c, id, segmentSuffix)
}

// parseSegmentName is the inverse of segmentName.
func parseSegmentName(name string) (c Class, id uint64, ok bool) {
	word, hex, ok := strings.Cut(strings.TrimSuffix(name, segmentSuffix), "-")
	if !ok {
		return 0, 0, false
	}
	for c = range Classes {
		if classNames[c] == word {
			id, err := strconv.ParseUint(hex, 16, 64)
			return c, id, err == nil && segmentName(c, id) == name
		}
	}
	return 0, 0, false
}

// putSegmentHeader fills the first bytes of a segment. first is the number of
// its first record.
func putSegmentHeader(b []byte, c Class, id, first uint64) {
	clear(b[:segmentHeader])
	copy(b, segmentMagic)
	b[4], b[5] = formatVersion, byte(c)
	le.PutUint64(b[8:], id)
	le.PutUint64(b[16:], first)
	le.PutUint32(b[segmentHeader-4:], crc32.Checksum(b[:segmentHeader-4], castagnoli))
}

// parseSegmentHeader returns errVersion where the header is whole, but of
// another version, and errHeader where there is none.
func parseSegmentHeader(b []byte) (c Class, id, first uint64, err error) {
	if len(b) < segmentHeader || !bytes.Equal(b[:4], segmentMagic) ||
		le.Uint32(b[segmentHeader-4:]) != crc32.Checksum(b[:segmentHeader-4], castagnoli) {
		if len(b) >= 5 && bytes.Equal(b[:4], segmentMagic) && b[4] != formatVersion {
			return 0, 0, 0, errVersion
		}
		return 0, 0, 0, errHeader
	}
	if b[4] != formatVersion || Class(b[5]) >= Classes {
		return 0, 0, 0, errVersion
	}
	c, id, first = Class(b[5]), le.Uint64(b[8:]), le.Uint64(b[16:])
	if first == 0 {
		return 0, 0, 0, errHeader
	}
	return c, id, first, nil
}

// record is a parsed record; its slices point into the bytes it was parsed from.
type record struct {
	number, seq          uint64
	stamp                stamp
	run, camera, payload []byte
}

// appendRecord appends a record that lacks what finishRecord adds.
func appendRecord(dst []byte, m *Message, boot uint64) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, recordHeader)...)
	h := dst[at:]
	copy(h, recordMagic)
	le.PutUint32(h[8:], uint32(len(m.Payload)))
	h[12], h[13] = byte(len(m.Run)), byte(len(m.Camera))
	if m.Synced {
		h[14] = flagSynced
	}
	le.PutUint64(h[24:], m.Seq)
	le.PutUint64(h[32:], uint64(m.Mono))
	le.PutUint64(h[40:], uint64(m.WallOffset))
	le.PutUint64(h[48:], boot)
	dst = append(dst, m.Run...)
	dst = append(dst, m.Camera...)
	return append(dst, m.Payload...)
}

// checksums computes the checksums of records. The one of a header covers the
// segment's id and the record's place too, so that bytes of another segment, or
// a payload that holds a record, never pass for a record here.
type checksums struct{ place [16]byte }

func (k *checksums) header(h []byte, id uint64, off int64) uint32 {
	le.PutUint64(k.place[:], id)
	le.PutUint64(k.place[8:], uint64(off))
	return crc32.Update(crc32.Checksum(k.place[:], castagnoli), castagnoli, h[8:recordHeader])
}

// finishRecord writes the number and the checksums into a record at its place.
func (k *checksums) finishRecord(b []byte, id uint64, off int64, number uint64) {
	le.PutUint64(b[16:], number)
	le.PutUint32(b[56:], crc32.Checksum(b[recordHeader:], castagnoli))
	le.PutUint32(b[4:], k.header(b, id, off))
}

// bodyLen checks a record's header and returns the length of what follows it.
func (k *checksums) bodyLen(h []byte, id uint64, off int64) (n int64, ok bool) {
	if !bytes.Equal(h[:4], recordMagic) || le.Uint32(h[4:]) != k.header(h, id, off) {
		return 0, false
	}
	n = int64(h[12]) + int64(h[13]) + int64(le.Uint32(h[8:]))
	return n, n <= maxBody
}

// parseRecord splits a record whose header bodyLen has accepted. It reports
// false where the body is damaged.
func parseRecord(b []byte, r *record) bool {
	h, body := b[:recordHeader], b[recordHeader:]
	if le.Uint32(h[56:]) != crc32.Checksum(body, castagnoli) {
		return false
	}
	splitRecord(b, r)
	return true
}

// stampOf returns the stamp in a record's header.
func stampOf(h []byte) stamp {
	return stamp{
		mono: time.Duration(le.Uint64(h[32:])), offset: time.Duration(le.Uint64(h[40:])),
		boot: le.Uint64(h[48:]), synced: h[14]&flagSynced != 0,
	}
}

// splitRecord is parseRecord for a record that is known to be whole.
func splitRecord(b []byte, r *record) {
	h, body := b[:recordHeader], b[recordHeader:]
	run, camera := int(h[12]), int(h[13])
	*r = record{
		number: le.Uint64(h[16:]), seq: le.Uint64(h[24:]), stamp: stampOf(h),
		run: body[:run], camera: body[run : run+camera], payload: body[run+camera:],
	}
}
