package edge_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"nightseg/edge"
	"nightseg/edge/frame"
)

// source delivers n small frames, one each period; it fails where fail says so.
type source struct {
	n      int
	period time.Duration
	hang   bool // at the end, which is io.EOF else
	fail   map[int]error
	calls  int
	seq    uint64
}

func (s *source) Next(ctx context.Context, dst *frame.Frame) error {
	if s.period > 0 {
		select {
		case <-time.After(s.period):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	call := s.calls
	s.calls++
	if err := s.fail[call]; err != nil {
		return err
	}
	if int(s.seq) == s.n {
		if s.hang {
			<-ctx.Done()
			return ctx.Err()
		}
		return io.EOF
	}
	dst.Reset(4, 2)
	dst.Meta = frame.Meta{Camera: "front", Seq: s.seq}
	dst.Stamp()
	s.seq++
	return nil
}

// nets takes a while for each frame, and notes the settings in force.
type nets struct {
	period  time.Duration
	setting int
	fail    map[uint64]error
}

func (n *nets) Infer(dst *frame.Logits, src *frame.Frame) error {
	if n.period > 0 {
		<-time.After(n.period)
	}
	if err := n.fail[src.Seq]; err != nil {
		return err
	}
	dst.Reset(1, 1, 1)
	dst.Meta, dst.OutW, dst.OutH = src.Meta, src.W, src.H
	dst.Data[0] = float32(n.setting)
	return nil
}

func (n *nets) Relit(dst *frame.Frame) error { dst.Reset(4, 2); return nil }

type plan struct{ mode frame.Relight }

func (p plan) Plan(dst, src *frame.Frame) (*frame.Frame, error) {
	src.Relight = p.mode
	if p.mode != frame.RelightGamma {
		return src, nil
	}
	dst.CopyFrom(src)
	return dst, nil
}

type decider struct{}

func (decider) Decide(dst *frame.Mask, src *frame.Logits) error {
	dst.Reset(src.OutW, src.OutH)
	dst.Meta = src.Meta
	for i := range dst.Class {
		dst.Class[i] = uint8(src.Data[0])
	}
	return nil
}

// sink encodes a mask as its class and its own setting, and keeps what it got.
type sink struct {
	mu      sync.Mutex
	setting int
	got     []string
	seqs    []uint64
	block   chan struct{}
	fail    error
	dropped uint32
}

func (s *sink) Append(dst []byte, m *frame.Mask) ([]byte, error) {
	return append(dst, m.Class[0], byte(s.setting)), nil
}

func (s *sink) Publish(ctx context.Context, m *frame.Mask, payload []byte) error {
	if s.block != nil {
		select {
		case <-s.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, fmt.Sprint(payload))
	s.seqs = append(s.seqs, m.Seq)
	s.dropped += m.DroppedBefore
	return s.fail
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

func stages(src edge.Source, n *nets, s *sink) edge.Stages {
	return edge.Stages{Source: src, Relight: plan{}, Infer: n, Decide: decider{}, Encode: s, Publish: s}
}

func newLoop(t *testing.T, s edge.Stages, o edge.Options) *edge.Loop {
	t.Helper()
	l, err := edge.New(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
