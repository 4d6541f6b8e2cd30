package model

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"nightseg/edge/frame"
)

// fakeEngine gives the golden logits of a bundle, changed by change.
type fakeEngine struct {
	b      *Bundle
	info   Info
	change func(l *frame.Logits) error
	calls  int
}

func (f *fakeEngine) Infer(dst *frame.Logits, src *frame.Frame) error {
	f.calls++
	l, _, err := f.b.GoldenOutput(f.info.Precision)
	if err != nil {
		return err
	}
	dst.Reset(l.C, l.H, l.W)
	dst.Meta, dst.OutH, dst.OutW = src.Meta, src.H, src.W
	copy(dst.Data, l.Data)
	if f.change != nil {
		return f.change(dst)
	}
	return nil
}

func (f *fakeEngine) Info() Info   { return f.info }
func (f *fakeEngine) Close() error { return nil }

func newFake(t testing.TB) *fakeEngine {
	t.Helper()
	b, err := Open(tiny)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeEngine{b: b, info: Info{Engine: "fake", Provider: CPU, Precision: FP32, Library: "1", Threads: 1}}
}

func TestVerify(t *testing.T) {
	for name, c := range map[string]struct {
		change func(l *frame.Logits) error
		want   string // of the error, "" for none
	}{
		"exact": {nil, ""},
		"within": {func(l *frame.Logits) error {
			for i := range l.Data {
				l.Data[i] *= 1.0001
			}
			return nil
		}, ""},
		"one logit off": {func(l *frame.Logits) error {
			l.Data[5]++
			return nil
		}, "logits differ"},
		"not a number": {func(l *frame.Logits) error {
			l.Data[5] = float32(math.NaN())
			return nil
		}, "logits differ by +Inf"},
		"other size": {func(l *frame.Logits) error {
			l.Reset(3, 2, 2)
			return nil
		}, "3x2x2"},
		"fails": {func(*frame.Logits) error { return ErrNotFinite }, "not finite"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newFake(t)
			e.change = c.change
			checks, err := Verify(context.Background(), e.b, e)
			if c.want == "" {
				if err != nil || len(checks) != 1 || !checks[0].OK() || checks[0].Agreement != 1 {
					t.Errorf("checks %v, %v", checks, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "fake") {
				t.Errorf("error %v does not say %q", err, c.want)
			}
		})
	}
}

func TestVerifyStops(t *testing.T) {
	e := newFake(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Verify(ctx, e.b, e); !errors.Is(err, context.Canceled) || e.calls > 0 {
		t.Errorf("after cancel: %v, %d runs", err, e.calls)
	}
	e.info.Precision = FP16
	if _, err := Verify(context.Background(), e.b, e); err == nil || !strings.Contains(err.Error(), "fp16") {
		t.Errorf("a precision without golden vectors: %v", err)
	}
}

func TestVerifyOnce(t *testing.T) {
	e, cache := newFake(t), t.TempDir()
	for i, want := range []bool{false, true, true} {
		c, cached, err := VerifyOnce(context.Background(), e.b, cache, e)
		if err != nil || cached != want || !c.OK() {
			t.Errorf("time %d: %+v, cached %v, %v", i, c, cached, err)
		}
	}
	if e.calls != 1 {
		t.Errorf("%d runs, want 1", e.calls)
	}
	e.info.Library = "2" // another library proves nothing
	e.change = func(l *frame.Logits) error {
		l.Data[0] += 9
		return nil
	}
	for range 2 { // a failure is not kept either
		if _, cached, err := VerifyOnce(context.Background(), e.b, cache, e); err == nil || cached {
			t.Errorf("a failing engine: cached %v, %v", cached, err)
		}
	}
}

// The golden mask was made in Python; the plain decision here must equal it.
func TestFullSizeArgMax(t *testing.T) {
	b, err := Open(tiny)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{FP32, INT8} {
		l, mask, err := b.GoldenOutput(p)
		if err != nil {
			t.Fatal(err)
		}
		if a := Agreement(FullSizeArgMax(l, false), mask); a != 1 {
			t.Errorf("%s: masks agree on %v of the pixels", p, a)
		}
	}
	l := &frame.Logits{OutH: 1, OutW: 5}
	l.Reset(2, 1, 2)
	copy(l.Data, []float32{1, 0, 0, 0.9}) // class 0 falls from 1 to 0, class 1 rises from 0 to 0.9
	if got := FullSizeArgMax(l, true); string(got) != "\x00\x00\x00\x01\x01" {
		t.Errorf("corners on corners: %v", got) // they meet at 0.526 of the way; positions 0, ¼, ½, ¾, 1
	}
	if got := FullSizeArgMax(l, false); string(got) != "\x00\x00\x00\x01\x01" {
		t.Errorf("pixel centres: %v", got) // positions clipped to 0, 0.1, 0.5, 0.9, 1
	}
}

func TestDifferences(t *testing.T) {
	if d := RelativeDifference([]float32{0, 5}, []float32{0, 4}); d != 0.25 {
		t.Errorf("relative difference %v, want 0.25", d)
	}
	if d := RelativeDifference([]float32{1, 2}, []float32{2, 2}); !math.IsInf(d, 1) {
		t.Errorf("difference to a constant: %v", d)
	}
	if a := Agreement([]uint8{1, 2}, []uint8{1, 2, 3}); a != 0 {
		t.Errorf("masks of two sizes agree on %v", a)
	}
}
