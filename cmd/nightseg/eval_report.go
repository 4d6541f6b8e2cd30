package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"nightseg/model"
	"nightseg/score"
)

// evalResult is what eval found, as --json prints it. Scores are in percent;
// those at the top are of the first variant.
type evalResult struct {
	variantResult
	Frames   int             `json:"frames"`
	Labelled uint64          `json:"labelled_pixels"`
	Classes  []string        `json:"classes"`
	Present  []string        `json:"classes_present"`
	Block    int             `json:"bootstrap_block"`
	Set      string          `json:"set"`
	Bundle   string          `json:"bundle"`
	SHA256   string          `json:"bundle_sha256"`
	Engine   string          `json:"engine"`
	Apart    []string        `json:"apart,omitempty"`
	Variants []variantResult `json:"variants"`
}

// variantResult is the score of one precision, relight mode and std.
type variantResult struct {
	Precision string              `json:"precision"`
	Relight   string              `json:"relight"`
	Std       float64             `json:"std"`
	MIoU      float64             `json:"miou"`
	Interval  score.Interval      `json:"interval"`
	PerClass  map[string]*float64 `json:"per_class"` // null: not in the labels
	Without   *scored             `json:"miou_without_apart,omitempty"`
	Quartiles []quartile          `json:"luma_quartiles,omitempty"`
	ToFloat   *scored             `json:"minus_fp32,omitempty"` // int8 minus fp32, the rest equal, paired
	Confusion [][]uint64          `json:"confusion"`            // row: label; last column: no class
}

type scored struct {
	MIoU     float64        `json:"miou"`
	Interval score.Interval `json:"interval"`
}

// quartile is the score of a quarter of the frames, the darkest first.
type quartile struct {
	Luma   float64 `json:"mean_luma"`
	Frames int     `json:"frames"`
	MIoU   float64 `json:"miou"`
}

// bootstrapSeed is fixed, so that the same masks give the same interval.
const bootstrapSeed = 1

// bootstrap draws from so many frames, in blocks of the given length; 0: of one that fits.
func bootstrap(block, frames int) score.Bootstrap {
	return score.Bootstrap{Block: cmp.Or(block, score.AutoBlock(frames)), Seed: bootstrapSeed}
}

// fewFrames is the least number of frames that is cut into quarters.
const fewFrames = 16

func percent(v float64) float64 { return math.Round(v*1e5) / 1e3 }

func inPercent(i score.Interval) score.Interval {
	return score.Interval{Low: percent(i.Low), High: percent(i.High)}
}

// report turns the counts into scores.
func (ev *evaluation) report(f *evalFlags) *evalResult {
	b := ev.bundle
	r := &evalResult{
		Frames: len(ev.lumas), Labelled: ev.pixels, Set: setName(f.images), Bundle: b.Name + " " + b.Version,
		SHA256: b.SHA256, Engine: ev.source, Apart: f.apart, Classes: b.ClassNames(),
	}
	boot := bootstrap(f.block, r.Frames)
	r.Block = boot.Block
	all := ev.variants()
	for _, v := range all {
		var base []*score.Confusion
		if v.precision != model.FP32 {
			i := slices.IndexFunc(all, func(o *evalVariant) bool {
				return o.precision == model.FP32 && o.relight == v.relight && o.std == v.std
			})
			if i >= 0 {
				base = all[i].frames
			}
		}
		r.Variants = append(r.Variants, ev.result(v, base, boot))
	}
	for _, k := range total(all[0].frames).Present() {
		r.Present = append(r.Present, b.Classes[k].Name)
	}
	r.variantResult = r.Variants[0]
	return r
}

func total(frames []*score.Confusion) *score.Confusion {
	sum := score.NewConfusion(frames[0].Classes())
	for _, c := range frames {
		sum.Merge(c, 1)
	}
	return sum
}

func (ev *evaluation) result(v *evalVariant, base []*score.Confusion, boot score.Bootstrap) variantResult {
	sum := total(v.frames)
	miou := func(c *score.Confusion) float64 { return c.MIoU() }
	r := variantResult{
		Precision: v.precision, Relight: v.relight, Std: v.std, MIoU: percent(sum.MIoU()),
		Interval: inPercent(boot.Interval(v.frames, miou)), PerClass: map[string]*float64{},
		Quartiles: ev.quartiles(v),
	}
	for k, c := range ev.bundle.Classes {
		r.PerClass[c.Name] = nil
		if iou, ok := sum.IoU(k); ok {
			p := percent(iou)
			r.PerClass[c.Name] = &p
		}
		row := make([]uint64, sum.Classes()+1)
		for p := range row {
			row[p] = sum.Count(k, p)
		}
		r.Confusion = append(r.Confusion, row)
	}
	if len(ev.apart) > 0 {
		without := func(c *score.Confusion) float64 { return c.MIoU(ev.apart...) }
		r.Without = &scored{percent(without(sum)), inPercent(boot.Interval(v.frames, without))}
	}
	if base != nil {
		r.ToFloat = &scored{
			percent(sum.MIoU() - total(base).MIoU()), inPercent(boot.Difference(v.frames, base, miou)),
		}
	}
	return r
}

// quartiles scores the frames by their mean luma.
func (ev *evaluation) quartiles(v *evalVariant) []quartile {
	n := len(v.frames)
	if n < fewFrames {
		return nil
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(ev.lumas[a], ev.lumas[b]) })
	var out []quartile
	for q := range 4 {
		part := order[q*n/4 : (q+1)*n/4]
		sum, luma := score.NewConfusion(v.frames[0].Classes()), 0.0
		for _, i := range part {
			sum.Merge(v.frames[i], 1)
			luma += float64(ev.lumas[i])
		}
		out = append(out, quartile{
			Luma: math.Round(luma/float64(len(part))*10) / 10, Frames: len(part), MIoU: percent(sum.MIoU()),
		})
	}
	return out
}

// evalReport prints the scores, and holds int8 against fp32 where asked to.
func (a *app) evalReport(f *evalFlags, r *evalResult) error {
	switch {
	case a.json:
		if err := a.printJSON(r); err != nil {
			return err
		}
	case f.markdown:
		a.printf("%s", r.markdown())
	default:
		a.printf("%s", r.text())
	}
	if f.confusion {
		for _, v := range r.Variants {
			a.printf("\n%s, relight %s, std %g: labels in rows, masks in columns, the last of no class\n",
				v.Precision, v.Relight, v.Std)
			for i, name := range r.Classes {
				a.printf("%-12s %9d\n", name, v.Confusion[i])
			}
		}
	}
	return r.held(f.within)
}

// held refuses where int8 lies too far below fp32.
func (r *evalResult) held(within float64) error {
	if within <= 0 {
		return nil
	}
	compared := 0
	for _, v := range r.Variants {
		if v.ToFloat == nil {
			continue
		}
		compared++
		if v.ToFloat.MIoU < -within {
			return fail(exitRefused, "%s, relight %s, std %g is %.2f points below fp32, more than %g",
				v.Precision, v.Relight, v.Std, -v.ToFloat.MIoU, within)
		}
	}
	if compared == 0 {
		return fail(exitUsage, "--within compares with fp32: give --precision fp32,int8")
	}
	return nil
}

// text is the report for people.
func (r *evalResult) text() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s: %d frames, %d labelled pixels; %s on %s; 95 %% intervals, blocks of %d frames\n",
		r.Set, r.Frames, r.Labelled, r.Bundle, r.Engine, r.Block)
	for _, v := range r.Variants {
		fmt.Fprintf(&s, "\n%s, relight %s, std %g: mIoU %.1f [%.1f, %.1f]", v.Precision, v.Relight, v.Std,
			v.MIoU, v.Interval.Low, v.Interval.High)
		if v.Without != nil {
			fmt.Fprintf(&s, ", without %s %.1f [%.1f, %.1f]", strings.Join(r.Apart, ", "), v.Without.MIoU,
				v.Without.Interval.Low, v.Without.Interval.High)
		}
		if v.ToFloat != nil {
			fmt.Fprintf(&s, ", fp32 %+.2f [%+.2f, %+.2f]", v.ToFloat.MIoU, v.ToFloat.Interval.Low,
				v.ToFloat.Interval.High)
		}
		s.WriteString("\n ")
		for _, name := range r.Present {
			fmt.Fprintf(&s, " %s %.1f", name, *v.PerClass[name])
		}
		if len(v.Quartiles) > 0 {
			s.WriteString("\n  by luma:")
			for _, q := range v.Quartiles {
				fmt.Fprintf(&s, "  %.0f: %.1f", q.Luma, q.MIoU)
			}
		}
		s.WriteString("\n")
	}
	return s.String()
}
