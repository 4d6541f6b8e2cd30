package capture

import (
	"fmt"
	"math"
	"strconv"

	"nightseg/camera/capture/ring"
)

// Mode of a CSI camera that is not told one.
const (
	csiWidth  = 1920
	csiHeight = 1080
	csiFPS    = 30
	csiMax    = 64 // sensors
)

// Pipeline returns the GStreamer pipeline for a CSI camera of a Jetson. The
// picture is turned only where the settings say so, and only the newest waits:
// GStreamer's own queues would hold pictures of seconds ago.
func Pipeline(c *ring.Config) (string, error) {
	sensor, err := strconv.ParseUint(c.Address, 10, 8)
	if err != nil || sensor >= csiMax {
		return "", fmt.Errorf("CSI sensor %q: must be a number, such as 0", c.Address)
	}
	w, h, fps := c.Width, c.Height, c.FPS
	if w == 0 && h == 0 {
		w, h = csiWidth, csiHeight
	}
	if w <= 0 || h <= 0 {
		return "", fmt.Errorf("CSI mode of %dx%d: give both width and height, or neither", w, h)
	}
	if fps == 0 {
		fps = csiFPS
	}
	num, den := fraction(fps)
	return fmt.Sprintf("nvarguscamerasrc sensor-id=%d"+
		" ! video/x-raw(memory:NVMM),width=%d,height=%d,framerate=%d/%d,format=NV12"+
		" ! nvvidconv flip-method=%d"+
		" ! video/x-raw,format=BGRx"+
		" ! videoconvert"+
		" ! video/x-raw,format=BGR"+
		" ! appsink drop=true max-buffers=1 sync=false", sensor, w, h, num, den, c.Flip), nil
}

// Elements returns the GStreamer elements of a Pipeline.
func Elements() []string { return []string{"nvarguscamerasrc", "nvvidconv", "videoconvert", "appsink"} }

// fraction writes a rate as GStreamer does; the rates of television are
// thousandths of 1001.
func fraction(fps float64) (num, den int) {
	if n := math.Round(fps); math.Abs(fps-n) < 1e-9 {
		return int(n), 1
	}
	if n := math.Round(fps * 1.001); math.Abs(fps-n/1.001) < 0.005 {
		return int(n) * 1000, 1001
	}
	return int(math.Round(fps * 1000)), 1000
}
