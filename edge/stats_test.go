package edge

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/edge/frame"
)

func TestHistogramQuantiles(t *testing.T) {
	var h histogram
	for i := 1; i <= 1000; i++ {
		h.add(time.Duration(i) * 100 * time.Microsecond)
	}
	h.add(-time.Second)
	q := h.quantiles(true)
	for _, c := range []struct {
		name      string
		got, want float64
	}{{"p50", q.P50, 50}, {"p95", q.P95, 95}, {"p99", q.P99, 99}, {"max", q.Max, 100}} {
		if math.Abs(c.got-c.want) > 0.035*c.want {
			t.Errorf("%s = %v ms, want %v", c.name, c.got, c.want)
		}
	}
	if q := h.quantiles(false); q.N != 0 || q.P99 != 0 {
		t.Errorf("after a reset: %+v", q)
	}
}

func TestBucketsCoverAllTimes(t *testing.T) {
	for _, us := range []uint32{0, 1, 31, 32, 33, 63, 64, 65, 1000, 123456, 1 << 31, math.MaxUint32} {
		i := bucketOf(us)
		if i < 0 || i >= buckets {
			t.Fatalf("%d µs is in bucket %d of %d", us, i, buckets)
		}
		if v := bucketValue(i); us > 0 && math.Abs(v-float64(us)) > 0.5+float64(us)/32 {
			t.Errorf("%d µs: the bucket's middle is %v", us, v)
		}
	}
}

func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRecorder()
		m := frame.Mask{Meta: frame.Meta{
			Luma: 20, Gain: 3, Lux: 0.5, Exposure: 10 * time.Millisecond, CameraGain: 25,
		}}
		m.Reset(4, 16)
		for i := range m.Class {
			m.Class[i] = 1
		}
		m.Class[0], m.Class[1] = 0, frame.Unknown
		m.Stamp()
		r.mask(&m)
		r.published(&m, 100)
		rep := r.Interval(2)
		if rep.Lux != 0.5 || rep.ExposureMs != 10 || rep.CameraGain != 25 {
			t.Errorf("light %v, %v ms, %v", rep.Lux, rep.ExposureMs, rep.CameraGain)
		}
		if rep.ClassShares[0] != 1.0/8 || rep.ClassShares[1] != 6.0/8 || rep.Unknown != 1.0/8 {
			t.Errorf("shares %v, unknown %v", rep.ClassShares, rep.Unknown)
		}
		if rep.Masks != 1 || rep.MaskBytes != 100 || rep.Luma != 20 || rep.Gain != 3 {
			t.Errorf("report %+v", rep)
		}
		if again := r.Interval(2); again.FPS != 0 || again.ClassShares[1] != 0 || again.Masks != 1 {
			t.Errorf("the next interval %+v", again)
		}
	})
}

func TestHealth(t *testing.T) {
	var told []string
	h := NewHealth(func(_ bool, reason string) { told = append(told, reason) })
	h.Set("b", "two")
	h.Set("b", "two")
	h.Set("a", "one")
	h.Clear("none")
	if bad, reason := h.State(); !bad || reason != "a: one; b: two" {
		t.Errorf("state %v %q", bad, reason)
	}
	h.Clear("a")
	h.Clear("b")
	if got := strings.Join(told, "|"); got != "b: two|a: one; b: two|b: two|" {
		t.Errorf("told %q", got)
	}
}
