package message

import (
	"math"
	"strconv"
	"time"

	"nightseg/edge/frame"
)

// Header is what a message says besides the classes. On the wire it is JSON:
//
//	schema          1
//	codec           "png" or "rle-zstd"
//	fleet, device   ids of the sender
//	camera, run     ids; run is new at each start of the service
//	seq             rises by one per frame of the camera
//	mono_ns         capture time since boot, in nanoseconds
//	wall_offset_ns  wall clock minus mono_ns: the sum is Unix time
//	published_ns    when the message was made, on the clock of mono_ns
//	flags           list of "degraded", "frozen", "clock" (the wall clock was synchronised)
//	luma            mean luma of the picture, 0 to 255
//	relight         "none", "gamma", "clahe" or "network"
//	gain            luma after relighting / before; 0 when not known
//	source          [width, height] of the camera's picture
//	to_source       [a,b,c,d,e,f]: camera x = a*x + b*y + c, y = d*x + e*y + f
//	valid           [x0,y0,x1,y1]: the part of the mask that shows the picture; all 0: all of it
//	bundle          sha256 of the networks' bundle
//	settings        version of the settings in force; 0: those of the file
//	dropped_before  frames of this camera lost since the one before
//	name            name of a recorded frame; absent for a live one
//	lux             ambient light; absent where no sensor tells it
//	exposure_us     exposure that the camera was set to; absent where it is not known
//	camera_gain     gain that it was set to, percent of its range; absent where it is not known
//	width, height   of the mask
//
// (device, run, camera, seq) is unique. Numbers that are not finite are null.
type Header struct {
	frame.Meta
	Schema        int
	Codec         Codec
	Fleet, Device string
	Published     time.Duration // on the clock of Meta.Mono
	Bundle        string
	Settings      int64
	W, H          int
}

// MarshalJSON returns the header as it is on the wire.
func (h *Header) MarshalJSON() ([]byte, error) { return appendHeader(nil, h), nil }

// flagNames are the names of the flags, from the lowest bit.
var flagNames = [...]string{"degraded", "frozen", "clock"}

func appendHeader(b []byte, h *Header) []byte {
	b = append(b, `{"schema":`...)
	b = strconv.AppendInt(b, int64(h.Schema), 10)
	b = appendText(b, "codec", string(h.Codec))
	b = appendText(b, "fleet", h.Fleet)
	b = appendText(b, "device", h.Device)
	b = appendText(b, "camera", h.Camera)
	b = appendText(b, "run", h.Run)
	b = append(b, `,"seq":`...)
	b = strconv.AppendUint(b, h.Seq, 10)
	b = appendInt(b, "mono_ns", int64(h.Mono))
	b = appendInt(b, "wall_offset_ns", int64(h.WallOffset))
	b = appendInt(b, "published_ns", int64(h.Published))
	b = appendFlags(b, h.Flags)
	b = append(b, `,"luma":`...)
	b = appendFloat(b, float64(h.Luma), 32)
	b = appendText(b, "relight", h.Relight.String())
	b = append(b, `,"gain":`...)
	b = appendFloat(b, float64(h.Gain), 32)
	b = append(b, `,"source":[`...)
	b = strconv.AppendInt(b, int64(h.SourceW), 10)
	b = append(b, ',')
	b = strconv.AppendInt(b, int64(h.SourceH), 10)
	b = append(b, `],"to_source":[`...)
	a := &h.ToSource
	for i, v := range [...]float64{a.A, a.B, a.C, a.D, a.E, a.F} {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendFloat(b, v, 64)
	}
	b = append(b, `],"valid":[`...)
	for i, v := range [...]int{h.Valid.X0, h.Valid.Y0, h.Valid.X1, h.Valid.Y1} {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(v), 10)
	}
	b = append(b, ']')
	b = appendText(b, "bundle", h.Bundle)
	b = appendInt(b, "settings", h.Settings)
	b = appendInt(b, "dropped_before", int64(h.DroppedBefore))
	if h.Name != "" {
		b = appendText(b, "name", h.Name)
	}
	b = appendLight(b, h)
	b = appendInt(b, "width", int64(h.W))
	b = appendInt(b, "height", int64(h.H))
	return append(b, '}')
}

// appendLight appends what is known of the light; where nothing is, nothing.
func appendLight(b []byte, h *Header) []byte {
	if h.Lux != 0 {
		b = appendFloat(appendKey(b, "lux"), float64(h.Lux), 32)
	}
	if h.Exposure != 0 {
		b = appendInt(b, "exposure_us", h.Exposure.Microseconds())
	}
	if h.Exposure != 0 || h.CameraGain != 0 {
		b = appendFloat(appendKey(b, "camera_gain"), float64(h.CameraGain), 32)
	}
	return b
}

func appendInt(b []byte, key string, v int64) []byte {
	return strconv.AppendInt(appendKey(b, key), v, 10)
}

func appendText(b []byte, key, v string) []byte {
	return appendString(appendKey(b, key), v)
}

func appendKey(b []byte, key string) []byte {
	b = append(b, ',', '"')
	b = append(b, key...)
	return append(b, '"', ':')
}

func appendFlags(b []byte, f frame.Flags) []byte {
	b = append(b, `,"flags":[`...)
	first := true
	for i, name := range flagNames {
		if f&(1<<i) == 0 {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendString(b, name)
	}
	return append(b, ']')
}

func appendFloat(b []byte, v float64, bits int) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return append(b, "null"...) // JSON has no word for it
	}
	return strconv.AppendFloat(b, v, 'g', -1, bits)
}

const hexDigits = "0123456789abcdef"

// appendString appends a JSON string in ASCII, since a tEXt chunk of a PNG file
// is not UTF-8. Bytes that are no UTF-8, as a file's name may hold them, become
// U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= ' ' && r <= '~':
			b = append(b, byte(r))
		case r > 0xFFFF:
			r -= 0x10000
			b = appendEscape(b, 0xD800+r>>10)
			b = appendEscape(b, 0xDC00+r&0x3FF)
		default:
			b = appendEscape(b, r)
		}
	}
	return append(b, '"')
}

func appendEscape(b []byte, r rune) []byte {
	return append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}
