package main

import (
	"fmt"
	"strings"

	"nightseg/score"
)

// markdown is the table of docs/accuracy.md: a row per variant.
func (r *evalResult) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "**%s**: %d frames, %.1f million labelled pixels; bundle %s (`%.12s`), %s; "+
		"95 %% intervals, blocks of %d frames.\n\n",
		r.Set, r.Frames, float64(r.Labelled)/1e6, r.Bundle, r.SHA256, r.Engine, r.Block)
	head := []string{"networks", "relight", "std", "mIoU"}
	if len(r.Apart) > 0 {
		head = append(head, "without "+strings.Join(r.Apart, ", "))
	}
	paired := false
	for _, v := range r.Variants {
		paired = paired || v.ToFloat != nil
	}
	if paired {
		head = append(head, "against fp32")
	}
	head = append(head, r.Classes...)
	row(&s, head)
	rule := make([]string, len(head))
	for i := range rule {
		rule[i] = "---:"
		if i < 2 {
			rule[i] = "---"
		}
	}
	row(&s, rule)
	for _, v := range r.Variants {
		cells := []string{
			v.Precision, v.Relight, fmt.Sprintf("%g", v.Std),
			withInterval("%.1f", v.MIoU, v.Interval),
		}
		if len(r.Apart) > 0 {
			cells = append(cells, withInterval("%.1f", v.Without.MIoU, v.Without.Interval))
		}
		if paired {
			cell := ""
			if v.ToFloat != nil {
				cell = withInterval("%+.1f", v.ToFloat.MIoU, v.ToFloat.Interval)
			}
			cells = append(cells, cell)
		}
		for _, name := range r.Classes {
			cell := "–"
			if iou := v.PerClass[name]; iou != nil {
				cell = fmt.Sprintf("%.1f", *iou)
			}
			cells = append(cells, cell)
		}
		row(&s, cells)
	}
	return s.String()
}

func row(s *strings.Builder, cells []string) {
	s.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

func withInterval(format string, v float64, i score.Interval) string {
	return fmt.Sprintf(format+" ("+format+" to "+format+")", v, i.Low, i.High)
}

// flickerResult is the outcome of --flicker, as --json prints it.
type flickerResult struct {
	Set      string           `json:"set"`
	Frames   int              `json:"frames"`
	Bundle   string           `json:"bundle"`
	SHA256   string           `json:"bundle_sha256"`
	Engine   string           `json:"engine"`
	Variants []flickerVariant `json:"variants"`
}

type flickerVariant struct {
	Precision string  `json:"precision"`
	Relight   string  `json:"relight"`
	Std       float64 `json:"std"`
	Share     float64 `json:"changed_share"` // of the pixels, between neighbouring frames
}

func (a *app) flickerReport(f *evalFlags, ev *evaluation) error {
	r := flickerResult{
		Set: setName(f.flicker), Frames: len(ev.lumas), Bundle: ev.bundle.Name + " " + ev.bundle.Version,
		SHA256: ev.bundle.SHA256, Engine: ev.source,
	}
	for _, v := range ev.variants() {
		r.Variants = append(r.Variants, flickerVariant{v.precision, v.relight, v.std, v.flicker.Share()})
	}
	if a.json {
		return a.printJSON(r)
	}
	if f.markdown {
		var s strings.Builder
		fmt.Fprintf(&s,
			"**%s**: share of pixels that change class between neighbouring frames; %d frames; "+
				"bundle %s (`%.12s`), %s.\n\n",
			r.Set, r.Frames, r.Bundle, r.SHA256, r.Engine)
		row(&s, []string{"networks", "relight", "std", "changed"})
		row(&s, []string{"---", "---", "---:", "---:"})
		for _, v := range r.Variants {
			row(&s, []string{v.Precision, v.Relight, fmt.Sprintf("%g", v.Std), fmt.Sprintf("%.2f %%", 100*v.Share)})
		}
		a.printf("%s", s.String())
		return nil
	}
	a.printf("%s: %d frames; %s on %s; pixels that change class between neighbouring frames\n",
		r.Set, r.Frames, r.Bundle, r.Engine)
	for _, v := range r.Variants {
		a.printf("  %s, relight %s, std %g: %.2f %%\n", v.Precision, v.Relight, v.Std, 100*v.Share)
	}
	return nil
}
