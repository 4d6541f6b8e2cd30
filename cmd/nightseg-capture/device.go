//go:build cgo

package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"gocv.io/x/gocv"

	"nightseg/camera/capture"
	"nightseg/camera/capture/ring"
)

// device is an open VideoCapture.
type device struct {
	kind  string
	cap   *gocv.VideoCapture
	bgr   gocv.Mat
	slots map[*byte]gocv.Mat // a Mat over each slot of the ring
	total float64            // frames of a recording, as its header says; 0: not known
	fps   float64
	n     uint64        // pictures read
	last  time.Duration // position of the last
}

// open implements ring.Opener.
func open(c *ring.Config) (ring.Device, ring.Info, error) {
	where := capture.Redact(c.Address)
	cap, err := openKind(c)
	if err == nil && !cap.IsOpened() {
		err = errors.New("OpenCV cannot open it")
	}
	if err != nil {
		if cap != nil {
			err = errors.Join(err, cap.Close())
		}
		return nil, ring.Info{}, fmt.Errorf("open %s: %w", where, err)
	}
	d := &device{
		kind: c.Kind, cap: cap, bgr: gocv.NewMat(), slots: map[*byte]gocv.Mat{},
		fps: sane(cap.Get(gocv.VideoCaptureFPS), 1000),
	}
	if c.Kind == ring.KindFile {
		d.total = sane(cap.Get(gocv.VideoCaptureFrameCount), 1e9)
	}
	return d, ring.Info{FPS: d.fps, Total: uint64(d.total)}, nil
}

// sane returns x where it lies in (0, most], else 0: backends answer with -1, NaN
// or garbage what they do not know.
func sane(x, most float64) float64 {
	if x > 0 && x <= most {
		return x
	}
	return 0
}

// preset sets a variable that OpenCV reads, unless the user has.
func preset(name, value string) error {
	if _, set := os.LookupEnv(name); set {
		return nil
	}
	return os.Setenv(name, value)
}

func openKind(c *ring.Config) (*gocv.VideoCapture, error) {
	switch c.Kind {
	case ring.KindFile:
		return openFile(c)
	case ring.KindRTSP:
		return openRTSP(c)
	case ring.KindV4L2:
		return openV4L2(c)
	case ring.KindCSI:
		return openCSI(c)
	}
	return nil, fmt.Errorf("unknown kind of source %q", c.Kind)
}

// openFile opens a recording with FFmpeg. Without naming the backend OpenCV would
// go on to try names with digits as folders of images.
func openFile(c *ring.Config) (*gocv.VideoCapture, error) {
	info, err := os.Stat(c.Address)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Size() == 0:
		return nil, errors.New("the file is empty")
	}
	v, err := gocv.VideoCaptureFileWithAPI(c.Address, gocv.VideoCaptureFFmpeg)
	if err != nil {
		return v, errors.New("FFmpeg finds no video in it: is the file whole?")
	}
	return v, nil
}

// openRTSP asks for TCP: over UDP one lost packet smears the picture until the
// next key frame. Names of FFmpeg's options differ between its versions.
func openRTSP(c *ring.Config) (*gocv.VideoCapture, error) {
	const patience = "5000000" // microseconds for one read of the socket
	timeout := "stimeout"
	if ffmpegMajor() >= 59 {
		timeout = "timeout" // before, that one meant to wait for callers
	}
	if err := preset("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp|"+timeout+";"+patience); err != nil {
		return nil, err
	}
	v, err := gocv.VideoCaptureFileWithAPI(c.Address, gocv.VideoCaptureFFmpeg)
	if err != nil {
		return v, errors.New("no video from the RTSP server: are address, user and password right?")
	}
	return v, nil
}

// openV4L2 asks for the mode in the order that drivers need: the pixel format
// decides which sizes there are, the size which rates.
func openV4L2(c *ring.Config) (*gocv.VideoCapture, error) {
	const patience = "3" // seconds for one picture; OpenCV's own are 10
	if err := preset("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", patience); err != nil {
		return nil, err
	}
	path := c.Address
	if _, err := strconv.ParseUint(path, 10, 16); err == nil {
		path = "/dev/video" + path
	}
	f, err := os.Open(path) // for a reason that OpenCV does not give
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	v, err := gocv.VideoCaptureFileWithAPI(path, gocv.VideoCaptureV4L2)
	if err != nil {
		return v, errors.New("it is not a V4L2 camera, or another program has it")
	}
	v.Set(gocv.VideoCaptureBufferSize, 1) // the newest picture, not one of four frames ago
	if c.FourCC != "" {
		v.Set(gocv.VideoCaptureFOURCC, v.ToCodec(c.FourCC))
	}
	if c.Width > 0 && c.Height > 0 {
		v.Set(gocv.VideoCaptureFrameWidth, float64(c.Width))
		v.Set(gocv.VideoCaptureFrameHeight, float64(c.Height))
	}
	if c.FPS > 0 {
		v.Set(gocv.VideoCaptureFPS, c.FPS)
	}
	if got := v.CodecString(); c.FourCC != "" && !strings.EqualFold(got, c.FourCC) {
		return v, fmt.Errorf("the camera has no pixel format %s at that size; it offers %q", c.FourCC, got)
	}
	return v, nil
}

func openCSI(c *ring.Config) (*gocv.VideoCapture, error) {
	pipeline, err := capture.Pipeline(c)
	if err != nil {
		return nil, err
	}
	if err := haveElements(capture.Elements()); err != nil {
		return nil, err
	}
	v, err := gocv.VideoCaptureFileWithAPI(pipeline, gocv.VideoCaptureGstreamer)
	if err != nil {
		return v, fmt.Errorf("GStreamer does not run %q", pipeline)
	}
	return v, nil
}

// Read implements ring.Device.
func (d *device) Read(dst []byte) (ring.Shot, error) {
	if len(dst) == 0 && d.kind == ring.KindFile {
		d.cap.Grab(1) // no conversion; a failure shows at the next picture
		d.n++
		return ring.Shot{}, nil
	}
	if !d.cap.Read(&d.bgr) || d.bgr.Empty() {
		return ring.Shot{}, d.over()
	}
	d.n++
	shot := ring.Shot{W: d.bgr.Cols(), H: d.bgr.Rows()}
	if ms := d.cap.Get(gocv.VideoCapturePosMsec); ms > 0 && ms < math.MaxInt64/1e6 {
		shot.Sensor = time.Duration(ms * 1e6)
		d.last = shot.Sensor
	}
	if len(dst) == 0 {
		return shot, nil
	}
	return shot, d.convert(dst, shot.W, shot.H)
}

// convert writes the picture to dst as RGB.
func (d *device) convert(dst []byte, w, h int) error {
	if d.bgr.Type() != gocv.MatTypeCV8UC3 {
		return fmt.Errorf("the picture has type %d, not 8-bit BGR", int(d.bgr.Type()))
	}
	if 3*w*h > len(dst) {
		return fmt.Errorf("a picture of %dx%d is too large: at most %d pixels", w, h, len(dst)/3)
	}
	key := unsafe.SliceData(dst)
	slot, ok := d.slots[key]
	if ok && (slot.Cols() != w || slot.Rows() != h) {
		if err := slot.Close(); err != nil {
			return err
		}
		ok = false
	}
	if !ok {
		var err error
		if slot, err = gocv.NewMatFromBytes(h, w, gocv.MatTypeCV8UC3, dst[:3*w*h]); err != nil {
			return err
		}
		d.slots[key] = slot
	}
	gocv.CvtColor(d.bgr, &slot, gocv.ColorBGRToRGB)
	return nil
}

// over says why there is no picture. OpenCV does not tell the end of a recording
// from a break in it, so the time that is missing decides: the number of frames in
// the header is often wrong, as hidden ones count.
func (d *device) over() error {
	switch {
	case d.kind != ring.KindFile:
		return errors.New("the camera gives no more pictures")
	case d.n == 0:
		return errors.New("not one frame can be decoded: is the file whole?")
	case d.total == 0 || d.fps == 0:
		return io.EOF
	}
	whole := time.Duration(d.total / d.fps * float64(time.Second))
	if missing := whole - d.last; missing > max(2*time.Second, whole/10) {
		return fmt.Errorf("the recording breaks off after %d frames (%v of %v): it is cut or damaged",
			d.n, d.last.Round(time.Millisecond), whole.Round(time.Millisecond))
	}
	return io.EOF
}

// Close implements ring.Device.
func (d *device) Close() error {
	err := errors.Join(d.cap.Close(), d.bgr.Close())
	for _, m := range d.slots {
		err = errors.Join(err, m.Close())
	}
	return err
}
