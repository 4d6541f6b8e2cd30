package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"nightseg/calibrate/gate"
	"nightseg/edge/frame"
)

// gateRun takes frames through the float networks (the first group of the
// evaluation) and the int8 networks (the second).
type gateRun struct {
	ev      *evaluation
	hash    hash.Hash // of the frames
	pooled  *gate.Pooled
	margins *gate.Margins
	masks   [2]frame.Mask
	logits  frame.Logits
}

func (g *gateRun) init(classes int) {
	g.hash = sha256.New()
	g.pooled = gate.NewPooled(classes)
}

// hashedFrames hashes the frames of a source as the networks get them.
type hashedFrames struct {
	frames
	hash hash.Hash
}

// Next implements frames.
func (h *hashedFrames) Next(ctx context.Context, dst *frame.Frame) error {
	if err := h.frames.Next(ctx, dst); err != nil {
		return err
	}
	size := binary.LittleEndian.AppendUint32(nil, uint32(dst.W))
	h.hash.Write(binary.LittleEndian.AppendUint32(size, uint32(dst.H))) // a hash takes all
	h.hash.Write(dst.Pix)
	return nil
}

// run takes a drive without labels through both. A frame that cannot be read or
// inferred ends it.
func (g *gateRun) run(ctx context.Context, src frames, each func()) error {
	for {
		err := src.Next(ctx, &g.ev.picture)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := g.frame(); err != nil {
			return fmt.Errorf("frame %d: %w", len(g.ev.lumas), err)
		}
		each()
	}
	if len(g.ev.lumas) == 0 {
		return errors.New("no frame was compared")
	}
	return nil
}

// frame compares both networks on the picture at hand.
func (g *gateRun) frame() error {
	g.ev.lumas = append(g.ev.lumas, g.ev.picture.Luma)
	var margins []float32
	for i, group := range g.ev.groups {
		shown, err := group.planner.Plan(&g.ev.relit, &g.ev.picture)
		if err != nil {
			return fmt.Errorf("relight: %w", err)
		}
		if err := group.engine.Infer(&g.logits, shown); err != nil {
			return fmt.Errorf("networks: %w", err)
		}
		if err := group.variants[0].decide.Decide(&g.masks[i], &g.logits); err != nil {
			return fmt.Errorf("decide: %w", err)
		}
		if i > 0 {
			continue
		}
		if margins, err = g.margins.Of(&g.logits); err != nil {
			return err
		}
	}
	return g.pooled.Add(&g.masks[0], &g.masks[1], margins)
}
