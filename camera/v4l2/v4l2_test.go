package v4l2

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// header reads what a C compiler makes of the kernel's header file.
func header(t *testing.T) map[string]uint64 {
	t.Helper()
	b, err := os.ReadFile("testdata/abi.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]uint64{}
	for l := range strings.Lines(string(b)) {
		i := strings.LastIndexByte(l, ' ')
		var v uint64
		if _, err := fmt.Sscan(l[i+1:], &v); err != nil {
			t.Fatal(l, err)
		}
		all[l[:i]] = v
	}
	return all
}

func TestABI(t *testing.T) {
	got := map[string]uint64{
		"sizeof v4l2_queryctrl": sizeQuery, "offset v4l2_queryctrl.id": atQueryID,
		"offset v4l2_queryctrl.type": atQueryType, "offset v4l2_queryctrl.minimum": atQueryMin,
		"offset v4l2_queryctrl.maximum": atQueryMax, "offset v4l2_queryctrl.step": atQueryStep,
		"offset v4l2_queryctrl.flags": atQueryFlags,
		"sizeof v4l2_ext_controls":    sizeControls, "offset v4l2_ext_controls.which": atControlsWhich,
		"offset v4l2_ext_controls.count": atControlsCount, "offset v4l2_ext_controls.error_idx": atControlsError,
		"offset v4l2_ext_controls.controls": atControlsArray,
		"sizeof v4l2_ext_control":           sizeControl, "offset v4l2_ext_control.id": atControlID,
		"offset v4l2_ext_control.value": atControlValue,
		"number VIDIOC_QUERYCTRL":       reqQuery, "number VIDIOC_G_EXT_CTRLS": reqGet, "number VIDIOC_S_EXT_CTRLS": reqSet,
		"number V4L2_CTRL_FLAG_DISABLED": flagDisabled, "number V4L2_CTRL_FLAG_READ_ONLY": flagReadOnly,
		"number V4L2_CTRL_TYPE_INTEGER": typeInteger, "number V4L2_CTRL_TYPE_BOOLEAN": typeBoolean,
		"number V4L2_CTRL_TYPE_MENU": typeMenu, "number V4L2_CID_EXPOSURE_AUTO": idAutoExposure,
		"number V4L2_CID_EXPOSURE_ABSOLUTE":      idExposure,
		"number V4L2_CID_EXPOSURE_AUTO_PRIORITY": idAutoPriority, "number V4L2_CID_AUTOGAIN": idAutoGain,
		"number V4L2_CID_GAIN": idGain, "number V4L2_CID_ANALOGUE_GAIN": idAnalogueGain,
		"number V4L2_EXPOSURE_MANUAL": exposureManual,
	}
	want := header(t)
	for name, v := range want {
		if g, ok := got[name]; !ok || g != v {
			t.Errorf("%s is %d, here %d", name, v, g)
		}
	}
	if len(want) != len(got) {
		t.Errorf("%d numbers in abi.txt, %d here", len(want), len(got))
	}
}

// driver answers as a driver does: it refuses what is out of range, and what belongs to the
// camera's own hands.
type driver struct {
	controls map[uint32]*ctrl
	calls    []string
	fails    error // of setting
	closed   bool
}

type ctrl struct {
	kind           uint32
	min, max, step int32
	flags          uint32
	value          int32
	auto           uint32 // id of the control that takes this one over
	hands          int32  // its value at which it does not
}

// Query implements device.
func (d *driver) Query(arg []byte) error {
	if len(arg) != sizeQuery {
		return unix.EFAULT
	}
	c, ok := d.controls[native.Uint32(arg)]
	if !ok {
		return unix.EINVAL
	}
	for at, v := range map[int]int32{
		atQueryType: int32(c.kind), atQueryMin: c.min, atQueryMax: c.max, atQueryStep: c.step, atQueryFlags: int32(c.flags),
	} {
		native.PutUint32(arg[at:], uint32(v))
	}
	return nil
}

// Controls implements device.
func (d *driver) Controls(request uint32, b []byte) error {
	if request == reqSet && d.fails != nil {
		return d.fails
	}
	for ; len(b) >= sizeControl; b = b[sizeControl:] {
		id, v := native.Uint32(b), int32(native.Uint32(b[atControlValue:]))
		c, ok := d.controls[id]
		switch {
		case !ok:
			return unix.EINVAL
		case request == reqGet:
			native.PutUint32(b[atControlValue:], uint32(c.value))
			continue
		case v < c.min || v > c.max || (v-c.min)%c.step != 0:
			return unix.ERANGE
		}
		if a := d.controls[c.auto]; a != nil && a.value != c.hands {
			return unix.EACCES
		}
		c.value = v
		d.calls = append(d.calls, fmt.Sprintf("%#x=%d", id, v))
	}
	if len(b) > 0 {
		return unix.EFAULT
	}
	return nil
}

// Close implements device.
func (d *driver) Close() error {
	d.closed = true
	return nil
}

// uvc is a webcam as uvcvideo has it.
func uvc() *driver {
	return &driver{controls: map[uint32]*ctrl{
		idAutoExposure: {kind: typeMenu, max: 3, step: 1, value: 3},
		idAutoPriority: {kind: typeBoolean, max: 1, step: 1, value: 1},
		idExposure:     {kind: typeInteger, min: 3, max: 2047, step: 1, value: 250, auto: idAutoExposure, hands: 1},
		idGain:         {kind: typeInteger, min: 16, max: 255, step: 3, value: 64},
	}}
}

// vivid is the test driver of the kernel: a gain, and no exposure.
func vivid() *driver {
	return &driver{controls: map[uint32]*ctrl{
		idAutoGain: {kind: typeBoolean, max: 1, step: 1, value: 1},
		idGain:     {kind: typeInteger, max: 255, step: 1, value: 100, auto: idAutoGain},
	}}
}

func TestWebcam(t *testing.T) {
	d := uvc()
	c, err := newCamera(d)
	if err != nil {
		t.Fatal(err)
	}
	if low, high := c.Exposure(); low != 300*time.Microsecond || high != 204700*time.Microsecond || !c.HasGain() {
		t.Errorf("%v to %v", low, high)
	}
	if e, g, err := c.Now(); e != 25*time.Millisecond || math.Abs(g-20.08) > 0.01 || err != nil {
		t.Errorf("%v, %v, %v", e, g, err)
	}
	for _, v := range []struct {
		exposure         time.Duration
		gain             float64
		wantTime, wanted int32
	}{
		{16690 * time.Microsecond, 50, 166, 133},
		{time.Hour, 1000, 2047, 253}, // 255 is no whole number of steps
		{0, -1, 3, 16},
	} {
		if err := c.Set(v.exposure, v.gain); err != nil {
			t.Error(err)
		}
		if e, g := d.controls[idExposure].value, d.controls[idGain].value; e != v.wantTime || g != v.wanted {
			t.Errorf("%v, %v: set to %d, %d", v.exposure, v.gain, e, g)
		}
	}
	if d.controls[idAutoPriority].value != 0 {
		t.Error("the camera may still lower its rate")
	}
	if err := c.Close(); err != nil || !d.closed {
		t.Error(err)
	}
	if d.controls[idAutoExposure].value != 3 || d.controls[idAutoPriority].value != 1 {
		t.Errorf("not given back: %v", d.calls)
	}
}

func TestGainAlone(t *testing.T) {
	d := vivid()
	c, err := newCamera(d)
	if err != nil {
		t.Fatal(err)
	}
	if low, high := c.Exposure(); low != 0 || high != 0 || !c.HasGain() {
		t.Errorf("%v to %v", low, high)
	}
	if err := c.Set(time.Second, 100); err != nil {
		t.Error(err)
	}
	if e, g, err := c.Now(); e != 0 || g != 100 || err != nil {
		t.Errorf("%v, %v, %v", e, g, err)
	}
	if err := c.Close(); err != nil || strings.Join(d.calls, " ") != "0x980912=0 0x980913=255 0x980912=1" {
		t.Errorf("%v, %v", d.calls, err)
	}
}

func TestCamerasThatAreNone(t *testing.T) {
	read := vivid()
	read.controls[idGain].flags = flagReadOnly
	odd := vivid()
	odd.controls[idGain].min = 255
	for name, d := range map[string]*driver{"nothing": {}, "read only": read, "no range": odd} {
		if _, err := newCamera(d); !errors.Is(err, ErrNothing) {
			t.Errorf("%s: %v", name, err)
		}
	}
	gone := uvc()
	c, err := newCamera(gone)
	if err != nil {
		t.Fatal(err)
	}
	gone.fails = unix.ENODEV
	if err := c.Set(time.Millisecond, 1); !errors.Is(err, unix.ENODEV) {
		t.Error(err)
	}
	if err := c.Close(); !errors.Is(err, unix.ENODEV) || !gone.closed {
		t.Errorf("%v, closed %t", err, gone.closed)
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(text); err == nil || !strings.Contains(err.Error(), "no V4L2 device") {
		t.Error(err) // a call of the kernel's that it refuses
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestFloor(t *testing.T) {
	for _, r := range []Range{{0, 255, 1}, {16, 255, 3}, {-64, 64, 7}, {1, 1, 1}, {math.MinInt32, math.MaxInt32, 1}} {
		for v := -1e10; v <= 1e10; v += 1e7 - 3 {
			got := r.floor(v)
			if got < r.Min || got > r.Max || float64(got) > v && got != r.Min || (int64(got)-int64(r.Min))%int64(r.Step) != 0 {
				t.Fatalf("%+v, %v: %d", r, v, got)
			}
		}
	}
}

// TestRealCamera sets the controls of the camera NIGHTSEG_V4L2, such as /dev/video0 of the
// kernel's driver vivid (modprobe vivid).
func TestRealCamera(t *testing.T) {
	path := os.Getenv("NIGHTSEG_V4L2")
	if path == "" {
		t.Skip("NIGHTSEG_V4L2 names no camera")
	}
	c, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	low, high := c.Exposure()
	t.Logf("%s: exposure %v to %v, gain %t, taken out of its hands by %#x, was %#x",
		path, low, high, c.HasGain(), c.manual, c.before)
	for _, gain := range []float64{0, 50, 100, 25} {
		exposure := low + time.Duration(gain/100*float64(high-low))
		if err := c.Set(exposure, gain); err != nil {
			t.Fatal(err)
		}
		e, g, err := c.Now()
		if err != nil || e > exposure || exposure-e > high/50 || c.HasGain() && math.Abs(g-gain) > 3 {
			t.Errorf("set to %v and %v %%, it says %v and %.1f, %v", exposure, gain, e, g, err)
		}
	}
	was := append([]value(nil), c.before...)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range again.before {
		if v != was[i] {
			t.Errorf("not given back: %#x, was %#x", v, was[i])
		}
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
