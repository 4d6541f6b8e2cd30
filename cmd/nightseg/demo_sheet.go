package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"

	"nightseg/edge/frame"
)

// sheet writes the contact sheet.
func (d *demo) sheet(name string, f *demoFlags, e engine) error {
	s := sheet{
		title: fmt.Sprintf("nightseg demo: a synthetic night drive through %s %s", d.bundle.Name, d.bundle.Version),
		subtitle: fmt.Sprintf("seed %d, %s on %s; synthetic, not an accuracy figure",
			f.seed, e.Info().Precision, e.Info().Provider),
		classes: d.bundle.Classes,
	}
	palette := paletteOf(d.bundle)
	for _, k := range farApart(d.kept, demoRows) {
		relit := &frame.Frame{}
		if k.frame.Relight == frame.RelightNetwork {
			if err := errors.Join(e.Infer(&frame.Logits{}, &k.frame), e.Relit(relit)); err != nil {
				return err
			}
		} else {
			relit.CopyFrom(&k.frame)
		}
		s.rows = append(s.rows, newViews(&k.frame, relit, &k.mask, palette))
		s.captions = append(s.captions, fmt.Sprintf("frame %d", k.mask.Seq))
	}
	img, err := s.draw()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.out, 0o755); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return writePNG(name, img)
}

// farApart chooses n frames that differ most from each other: a drive that is
// played to and fro shows the same things again.
func farApart(frames []keptFrame, n int) []*keptFrame {
	if len(frames) == 0 {
		return nil
	}
	chosen := []*keptFrame{&frames[0]}
	for len(chosen) < min(n, len(frames)) {
		var best *keptFrame
		most := -1
		for i := range frames {
			nearest := math.MaxInt
			for _, c := range chosen {
				nearest = min(nearest, difference(frames[i].frame.Pix, c.frame.Pix))
			}
			if nearest > most {
				best, most = &frames[i], nearest
			}
		}
		chosen = append(chosen, best)
	}
	slices.SortFunc(chosen, func(a, b *keptFrame) int { return cmp.Compare(a.mask.Seq, b.mask.Seq) })
	return chosen
}

// difference compares some of the pixels of two pictures of one size.
func difference(a, b []byte) int {
	const step = 61
	sum := 0
	for i := 0; i < len(a); i += step {
		sum += max(int(a[i]), int(b[i])) - min(int(a[i]), int(b[i]))
	}
	return sum
}
