package capture

import (
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"nightseg/camera/capture/ring"
	"nightseg/edge/frame"
)

// rtspServer is a real server (GStreamer's) with a camera of one colour.
type rtspServer struct {
	cmd  *exec.Cmd
	in   io.Closer
	port int
}

const python = "/usr/bin/python3" // the one that has the system's GStreamer

func startRTSP(t *testing.T, port int, colour string) *rtspServer {
	t.Helper()
	const check = "import gi; gi.require_version('GstRtspServer','1.0'); from gi.repository import Gst, GstRtspServer; " +
		"Gst.init(None); exit(not (Gst.ElementFactory.find('x264enc') and Gst.ElementFactory.find('rtph264pay')))"
	if out, err := exec.Command(python, "-c", check).CombinedOutput(); err != nil {
		t.Skipf("GStreamer's RTSP server is not here (python3-gi, gir1.2-gst-rtsp-server-1.0, "+
			"gstreamer1.0-plugins-good and -ugly): %v %s", err, out)
	}
	r := &rtspServer{cmd: exec.Command(python, filepath.Join("testdata", "rtsp_server.py"), fmt.Sprint(port), colour)}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.kill)
	if _, err := fmt.Fscan(out, &r.port); err != nil {
		t.Fatalf("the server does not start: %v", err)
	}
	return r
}

func (r *rtspServer) kill() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
	_ = r.in.Close()
}

func (r *rtspServer) url() string { return fmt.Sprintf("rtsp://127.0.0.1:%d/camera", r.port) }

// awaitColour reads until a picture has that colour.
func awaitColour(t *testing.T, s *Source, want [3]int) {
	t.Helper()
	var f frame.Frame
	for {
		if err := s.Next(t.Context(), &f); err != nil {
			t.Fatal(err)
		}
		if f.W != 96 || f.H != 64 {
			t.Fatalf("a picture of %dx%d", f.W, f.H)
		}
		near := true
		for c, v := range colour(&f) {
			near = near && v > want[c]-30 && v < want[c]+30
		}
		if near {
			return
		}
	}
}

// patient are limits for a server that comes back when the test says so.
func patient() limits {
	l := quick()
	l.pause, l.maxPause, l.live = 20*time.Millisecond, 200*time.Millisecond, 1000
	return l
}

func TestRTSP(t *testing.T) {
	red, blue := [3]int{255, 0, 0}, [3]int{0, 0, 255}
	server := startRTSP(t, 0, "ff0000")
	s, err := openReal(t, ring.KindRTSP, server.url(), patient())
	if err != nil {
		t.Fatal(err)
	}
	awaitColour(t, s, red)
	if s.Len() != -1 {
		t.Errorf("length %d", s.Len())
	}

	server.kill()
	eventually(t, "lost and tried again", func() bool { return s.Counters()[CountFailed] >= 2 })
	startRTSP(t, server.port, "0000ff")
	awaitColour(t, s, blue)
	if c := s.Counters(); c[CountDied]+c[CountStuck]+c[CountSilent] != 0 {
		t.Errorf("counted %v", c)
	}
}

func TestRTSPServerThatFallsSilent(t *testing.T) {
	lim := patient()
	lim.read, lim.open = time.Second, 2*time.Second
	server := startRTSP(t, 0, "00ff00")
	s, err := openReal(t, ring.KindRTSP, server.url(), lim)
	if err != nil {
		t.Fatal(err)
	}
	green := [3]int{0, 255, 0}
	awaitColour(t, s, green)
	signalTo(t, server.cmd.Process.Pid, syscall.SIGSTOP) // keeps the connection, says nothing
	eventually(t, "given up and tried again", func() bool { return s.Counters()[CountStuck] >= 1 })
	signalTo(t, server.cmd.Process.Pid, syscall.SIGCONT)
	awaitColour(t, s, green)
}
