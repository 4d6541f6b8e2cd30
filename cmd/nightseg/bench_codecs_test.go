package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nightseg/edge/frame"
	"nightseg/edge/message"
)

func TestBenchCodecs(t *testing.T) {
	needEngine(t)
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "masks")
	for i := range 5 {
		savePNG(t, filepath.Join(dir, fmt.Sprintf("%d.png", i)), scene(tinyW, tinyH, i))
	}
	var r codecsResult
	commandJSON(t, exitDone, &r, "bench", "codecs", dir, dir, "--bundle", tinyBundle(t), "--provider", "cpu",
		"--frames", "3", "--rounds", "2", "--out", out, "--force")
	if r.Masks != 6 || len(r.Codecs) != len(message.Codecs()) || r.Shape != [2]int{tinyH, tinyW} || len(r.Limits) != 0 {
		t.Fatalf("%+v", r)
	}
	for _, c := range r.Codecs {
		if c.Bytes <= 0 || c.P95 < c.Bytes/2 || c.Ms.Median <= 0 || c.P99 < c.Ms.Median {
			t.Errorf("%+v", c)
		}
	}
	files, err := os.ReadDir(out)
	if err != nil || len(files) != 6 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	first, sum := new(message.Reader), 0
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(out, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		var m frame.Mask
		if _, err := first.Parse(&m, b); err != nil || m.W != tinyW {
			t.Errorf("%s: %d wide, %v", f.Name(), m.W, err)
		}
		sum += len(b)
	}
	// The time of sending is part of the header, so that lengths may differ by some digits.
	if d := float64(sum)/6 - r.Codecs[0].Bytes; d < -8 || d > 8 {
		t.Errorf("%d bytes in 6 files, %v a mask", sum, r.Codecs[0].Bytes)
	}
}

func TestCodecLimits(t *testing.T) {
	r := &codecsResult{Shape: [2]int{480, 640}, Codecs: []codecFigures{
		{Codec: "png", Ms: spread{0.5, 0.9, 2}}, {Codec: "rle-zstd", Ms: spread{0.1, 0.6, 1}},
	}}
	r.Limits = r.limits()
	if len(r.Limits) != 2 || !r.Limits[0].Holds || r.Limits[1].Holds {
		t.Errorf("%+v", r.Limits)
	}
	if s := r.text(); !strings.Contains(s, "rle-zstd, ms to encode a mask, median: 0.6 (limit 0.5)") {
		t.Error(s)
	}
	a := &app{out: new(strings.Builder), err: new(strings.Builder)}
	if err := a.codecsReport(&codecFlags{}, r); err != nil {
		t.Error(err)
	}
	if err := a.codecsReport(&codecFlags{benchFlags: benchFlags{check: true}}, r); err == nil {
		t.Error("a slow encoder was taken")
	}
}
