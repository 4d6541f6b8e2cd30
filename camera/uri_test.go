package camera

import (
	"strings"
	"testing"

	"nightseg/camera/capture/ring"
)

func TestParse(t *testing.T) {
	for source, want := range map[string]target{
		"drive":                               {kind: kindPath, address: "drive"},
		"/data/night 1/a.mp4":                 {kind: kindPath, address: "/data/night 1/a.mp4"},
		"./synth:x":                           {kind: kindPath, address: "./synth:x"},
		"a/b://c":                             {kind: kindPath, address: "a/b://c"},
		"file:///data/night%201/a.mp4":        {kind: kindPath, address: "/data/night 1/a.mp4"},
		"synth://":                            {kind: kindSynth},
		"synth://?seed=1&size=640x480":        {kind: kindSynth, query: "seed=1&size=640x480"},
		"v4l2:///dev/video0":                  {kind: ring.KindV4L2, address: "/dev/video0"},
		"V4L2:///dev/v4l/by-id/usb-x":         {kind: ring.KindV4L2, address: "/dev/v4l/by-id/usb-x"},
		"v4l2:///dev/video2?size=1280x720":    {kind: ring.KindV4L2, address: "/dev/video2", w: 1280, h: 720},
		"v4l2:///dev/video2?fourcc=MJPG":      {kind: ring.KindV4L2, address: "/dev/video2", fourCC: "MJPG"},
		"csi://0":                             {kind: ring.KindCSI, address: "0"},
		"csi://01?fps=29.97":                  {kind: ring.KindCSI, address: "1", fps: 29.97},
		"rtsp://cam/stream?channel=1&x=a@b":   {kind: ring.KindRTSP, address: "rtsp://cam/stream?channel=1&x=a@b"},
		"rtsp://user:pass@10.0.0.2:554/live":  {kind: ring.KindRTSP, address: "rtsp://user:pass@10.0.0.2:554/live"},
		"rtsps://[fe80::1]:322/stream":        {kind: ring.KindRTSP, address: "rtsps://[fe80::1]:322/stream"},
		"rtsp://user:50%off@camera.local/one": {kind: ring.KindRTSP, address: "rtsp://user:50%off@camera.local/one"},
	} {
		if got, err := parse(source); err != nil || got != want {
			t.Errorf("parse(%q) = %+v, %v, want %+v", source, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for source, want := range map[string]string{
		"":                                "no source is given; known: a folder",
		"rtp://cam/1":                     `unknown kind "rtp"; did you mean rtsp://host/stream?`,
		"v4l://dev/video0":                "did you mean v4l2:///dev/video0?",
		"sinth://?seed=1":                 "did you mean synth://?seed=1?",
		"http://cam/video":                "known: a folder of images",
		"://x":                            "unknown kind",
		"http://user:secret@cam/video":    "source http://***@cam/video: unknown kind",
		"synth:?seed=1":                   "write synth://?seed=1",
		"csi:0":                           "write csi://0",
		"synth://seed=1":                  "after a question mark",
		"v4l2://video0":                   "v4l2:///dev/video0",
		"v4l2://":                         "v4l2:///dev/video0",
		"v4l2:///dev/video0?size=640":     "size:",
		"v4l2:///dev/video0?size=0x5":     "size:",
		"v4l2:///dev/video0?size=-1x5":    "size:",
		"v4l2:///dev/video0?fps=NaN":      "fps:",
		"v4l2:///dev/video0?fps=0":        "fps:",
		"v4l2:///dev/video0?fps=1&fps=2":  "given 2 times",
		"v4l2:///dev/video0?gain=3":       `"gain" is not a parameter (known: size, fps`,
		"v4l2:///dev/video0?fourcc=MJPEG": "fourcc:",
		"csi://0?fourcc=MJPG":             "is not a parameter",
		"v4l2:///dev/video0?size=%zz":     "invalid URL escape",
		"csi://":                          "csi://0",
		"csi://front":                     "csi://0",
		"csi://64":                        "0 to 63",
		"csi://-1":                        "0 to 63",
		"rtsp://":                         "names no host",
		"rtsp://user:pass@/stream":        "names no host",
		"rtsp://:554/stream":              "names no host",
		"file://drive":                    "file:///absolute/path",
		"file:///a%zz":                    "file:///absolute/path",
		"night.mcap":                      ".mcap recordings cannot be read",
		"a\x00b":                          "zero byte",
	} {
		if got, err := parse(source); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parse(%q) = %+v, %v, want an error with %q", source, got, err, want)
		}
	}
}

func TestRedact(t *testing.T) {
	for source, want := range map[string]string{
		"":                                    "",
		"drive/a@b":                           "drive/a@b",
		"synth://?seed=1&size=640x480":        "synth://?seed=1&size=640x480",
		"rtsp://10.0.0.2:554/live":            "rtsp://10.0.0.2:554/live",
		"rtsp://[fe80::1]:554/a@b":            "rtsp://[fe80::1]:554/a@b",
		"rtsp://cam/a@b":                      "rtsp://cam/a@b",
		"rtsp://user:secret@cam:554/live":     "rtsp://***@cam:554/live",
		"rtsp://user@cam/live":                "rtsp://***@cam/live",
		"rtsp://user:sec@ret@cam/live":        "rtsp://***@cam/live",
		"rtsp://user:sec/ret@cam/live":        "rtsp://***@cam/live",
		"rtsp://user:50%secret@cam/live":      "rtsp://***@cam/live",
		"rtsp://cam/s?user=bob&password=x&c=": "rtsp://cam/s?user=***&password=***&c=",
		"rtsp://cam/user=bob&password=x":      "rtsp://cam/user=***&password=***",
		"rtsp://cam/user=bob_password=x_ch=1": "rtsp://cam/user=***",
	} {
		if got := Redact(source); got != want {
			t.Errorf("Redact(%q) = %q, want %q", source, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "drive", "synth://?seed=1", "v4l2:///dev/video0?size=640x480&fps=30&fourcc=MJPG", "csi://1",
		"rtsp://user:pass@cam:554/live?x=1", "file:///a%20b",
		"http://x", "a.mcap", "rtsp://a:b/c@d", "://", "csi://0?size=1x1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		got, err := parse(source)
		if err != nil {
			if got != (target{}) {
				t.Errorf("%q is refused (%v), but gives %+v", source, err, got)
			}
			return
		}
		switch got.kind {
		case kindPath, ring.KindV4L2, ring.KindCSI, ring.KindRTSP:
			if got.address == "" {
				t.Errorf("%q gives no address: %+v", source, got)
			}
		case kindSynth:
		default:
			t.Errorf("%q is of kind %q", source, got.kind)
		}
		if got.w < 0 || got.w > maxSide || (got.w == 0) != (got.h == 0) || !(got.fps >= 0 && got.fps <= maxAskedRate) {
			t.Errorf("%q asks for %dx%d at %v", source, got.w, got.h, got.fps)
		}
	})
}

// Whatever the user and password are, they are not shown, where they are before
// a host that we know.
func FuzzRedact(f *testing.F) {
	f.Add("user", "secret-1")
	f.Add("user", "p@ss/word?#")
	f.Add("u", "1/")
	f.Fuzz(func(t *testing.T, user, password string) {
		// Between user and host there is a hidden part whatever the password holds, but
		// a port number followed by a slash looks like a host: user:80/...
		if strings.ContainsAny(user+password, "/?#=") {
			_ = Redact("rtsp://" + user + ":" + password + "@cam/live")
			return
		}
		if got := Redact("rtsp://" + user + ":" + password + "@cam/live"); got != "rtsp://***@cam/live" {
			t.Errorf("user %q, password %q: %q", user, password, got)
		}
	})
}

func TestDevice(t *testing.T) {
	for source, want := range map[string]string{
		"v4l2:///dev/video0?size=640x480": "/dev/video0", "/dev/video3": "/dev/video3", "csi://0": "",
		"synth://": "", "drive/": "", "file:///dev/video0": "/dev/video0", "v4l2://video0": "",
	} {
		if got, ok := Device(source); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %t", source, got, ok)
		}
	}
}
