package message

import (
	"encoding/json"
	"fmt"
	"math/bits"

	"nightseg/edge/frame"
)

// UnmarshalJSON reads a header as it is on the wire.
func (h *Header) UnmarshalJSON(b []byte) error {
	var r Reader
	if err := r.parseHeader(b); err != nil {
		return fmt.Errorf("message: %w", err)
	}
	*h = r.head
	return nil
}

// member is one of the header's members.
type member uint32

const (
	mSchema member = 1 << iota
	mCodec
	mFleet
	mDevice
	mCamera
	mRun
	mSeq
	mMono
	mWallOffset
	mPublished
	mFlags
	mLuma
	mRelight
	mGain
	mSource
	mToSource
	mValid
	mBundle
	mSettings
	mDropped
	mWidth
	mHeight
	mName // this one and those that follow may be absent
	mLux
	mExposure
	mCameraGain
)

// memberNames are in the order of the constants above.
var memberNames = [...]string{
	"schema", "codec", "fleet", "device", "camera", "run", "seq", "mono_ns", "wall_offset_ns", "published_ns", "flags",
	"luma", "relight", "gain", "source", "to_source", "valid", "bundle", "settings", "dropped_before", "width", "height",
	"name", "lux", "exposure_us", "camera_gain",
}

// String returns the name on the wire.
func (m member) String() string { return memberNames[bits.TrailingZeros32(uint32(m))] }

// memberOf returns 0 for a name that is not known.
func memberOf(name []byte) (m member, known bool) {
	for i, s := range memberNames {
		if s == string(name) {
			return 1 << i, true
		}
	}
	return 0, false
}

// parseHeader reads the JSON object of a header into r.head, without allocating
// for words that are as in the last header.
func (r *Reader) parseHeader(b []byte) error {
	if len(b) > MaxHeader {
		return bad("header of %d bytes; at most %d", len(b), MaxHeader)
	}
	for i, c := range b {
		if c >= 0x80 {
			return bad("header: byte %d is not ASCII", i)
		}
	}
	if !json.Valid(b) {
		return bad("header: not JSON")
	}
	c := cursor{b: b}
	if !c.take('{') {
		return bad("header: not a JSON object")
	}
	h := &r.head
	*h = Header{}
	var seen member
	for !c.take('}') {
		c.take(',')
		name := r.unquote(c.value())
		m, known := memberOf(name)
		if seen&m != 0 {
			return bad("header: %s is given twice", name)
		}
		seen |= m
		c.take(':')
		if v := c.value(); known && !r.set(h, m, v) {
			return bad("header: %s is %.40s", m, v)
		}
	}
	return checkHeader(h, seen)
}

// checkHeader refuses headers of another schema, without a member, or with an
// id that is not safe in a topic or a file's name.
func checkHeader(h *Header, seen member) error {
	if seen&mSchema != 0 && h.Schema != Schema { // of another schema nothing else is known
		return fmt.Errorf("header: %w %d; this program reads %d", ErrVersion, h.Schema, Schema)
	}
	for m := mSchema; m < mName; m <<= 1 {
		if seen&m == 0 {
			return bad("header: no %s", m)
		}
	}
	for _, id := range [...]struct {
		member
		value string
	}{{mFleet, h.Fleet}, {mDevice, h.Device}, {mCamera, h.Camera}, {mRun, h.Run}} {
		if !validID(id.value) {
			return bad("header: %s is not 1 to 64 of A-Z a-z 0-9 _ -", id.member)
		}
	}
	return nil
}

// set gives a member of the header its value; false where that is none.
func (r *Reader) set(h *Header, m member, v []byte) bool {
	switch m {
	case mSchema:
		return parseInt(v, &h.Schema)
	case mSeq:
		return parseUint(v, &h.Seq)
	case mMono:
		return parseInt(v, &h.Mono)
	case mWallOffset:
		return parseInt(v, &h.WallOffset)
	case mPublished:
		return parseInt(v, &h.Published)
	case mFlags:
		return r.setFlags(&h.Flags, v)
	case mLuma:
		return parseFloat(v, &h.Luma)
	case mGain:
		return parseFloat(v, &h.Gain)
	case mRelight:
		return r.setRelight(&h.Relight, v)
	case mSource:
		return parseList(v, parseInt, &h.SourceW, &h.SourceH)
	case mToSource:
		a := &h.ToSource
		return parseList(v, parseFloat, &a.A, &a.B, &a.C, &a.D, &a.E, &a.F)
	case mValid:
		return parseList(v, parseInt, &h.Valid.X0, &h.Valid.Y0, &h.Valid.X1, &h.Valid.Y1)
	case mSettings:
		return parseInt(v, &h.Settings)
	case mDropped:
		return parseUint(v, &h.DroppedBefore)
	case mLux:
		return parseFloat(v, &h.Lux)
	case mExposure:
		return parseMicroseconds(v, &h.Exposure)
	case mCameraGain:
		return parseFloat(v, &h.CameraGain)
	case mWidth:
		return parseInt(v, &h.W)
	case mHeight:
		return parseInt(v, &h.H)
	}
	return r.setWord(h, m, v)
}

// setWord sets a member that is a string, to that of the last header where it
// is the same, which allocates nothing.
func (r *Reader) setWord(h *Header, m member, v []byte) bool {
	if v[0] != '"' {
		return false
	}
	v = r.unquote(v)
	switch m {
	case mCodec:
		h.Codec = reuse(r.last.Codec, v)
	case mFleet:
		h.Fleet = reuse(r.last.Fleet, v)
	case mDevice:
		h.Device = reuse(r.last.Device, v)
	case mCamera:
		h.Camera = reuse(r.last.Camera, v)
	case mRun:
		h.Run = reuse(r.last.Run, v)
	case mBundle:
		h.Bundle = reuse(r.last.Bundle, v)
	case mName:
		h.Name = reuse(r.last.Name, v)
	default:
		return false
	}
	return true
}

func reuse[S ~string](last S, v []byte) S {
	if string(last) == string(v) {
		return last
	}
	return S(v)
}

func (r *Reader) setRelight(mode *frame.Relight, v []byte) (ok bool) {
	if v[0] != '"' {
		return false
	}
	v = r.unquote(v)
	for *mode = frame.RelightNone; *mode <= frame.RelightNetwork; *mode++ {
		if mode.String() == string(v) {
			return true
		}
	}
	return false
}

// setFlags leaves out flags that it does not know: they are news of a later program.
func (r *Reader) setFlags(f *frame.Flags, v []byte) bool {
	c := cursor{b: v}
	if !c.take('[') {
		return false
	}
	for !c.take(']') {
		c.take(',')
		if v = c.value(); v[0] != '"' {
			return false
		}
		v = r.unquote(v)
		for i, name := range flagNames {
			if name == string(v) {
				*f |= 1 << i
			}
		}
	}
	return true
}
