package main

import (
	"errors"
	"fmt"
	"slices"

	"nightseg/calibrate/gate"
	"nightseg/calibrate/quantize"
	"nightseg/edge/frame"
	"nightseg/model"
)

// Two engines that run the same fp32 networks must agree so well.
const (
	pairLogits = 1e-3  // max |difference| of logits / their range
	pairMask   = 0.999 // share of equal mask pixels
)

// verification is what bundle verify found, as --json prints it.
type verification struct {
	Bundle  string      `json:"bundle"`
	SHA256  string      `json:"sha256"`
	Checks  []checkLine `json:"checks"`
	Pairs   []pairLine  `json:"pairs"`   // engines compared with each other, fp32
	Missing []string    `json:"missing"` // engines that are not here, and why
	Gate    *gateLine   `json:"gate,omitempty"`

	Calibration *quantize.Record `json:"calibration,omitempty"` // of networks that calibrate quantize made

	bundle *model.Bundle
	fp32   []ran
}

// checkLine compares an engine with the golden vectors.
type checkLine struct {
	Engine    string          `json:"engine"`
	Provider  string          `json:"provider"`
	Precision string          `json:"precision"`
	Logits    float64         `json:"logits_relative"`
	Mask      float64         `json:"mask_agreement"`
	Limit     model.Tolerance `json:"limit"`
	Holds     bool            `json:"holds"`
	Error     string          `json:"error,omitempty"`
}

func (l checkLine) text() string {
	what := fmt.Sprintf("%-11s %-8s %-4s", l.Engine, l.Provider, l.Precision)
	if l.Error != "" {
		return fmt.Sprintf("FAILS %s %s", what, l.Error)
	}
	return fmt.Sprintf("%s %s logits differ by %.2g of their range (limit %.2g), "+
		"masks agree on %.2f %% (limit %.2f %%)",
		holds(l.Holds), what, l.Logits, l.Limit.LogitsRelative, 100*l.Mask, 100*l.Limit.MaskAgreement)
}

// pairLine compares two engines.
type pairLine struct {
	A      string  `json:"a"`
	B      string  `json:"b"`
	Logits float64 `json:"logits_relative"`
	Mask   float64 `json:"mask_agreement"`
	Holds  bool    `json:"holds"`
}

func (l pairLine) text() string {
	return fmt.Sprintf("%s %s and %s, fp32: logits differ by %.2g of their range (limit %.2g), "+
		"masks agree on %.3f %%",
		holds(l.Holds), l.A, l.B, l.Logits, pairLogits, 100*l.Mask)
}

func holds(ok bool) string {
	if ok {
		return "holds"
	}
	return "FAILS"
}

// gateLine is the record of the gate, and whether it is of this bundle.
type gateLine struct {
	*model.Gate
	Holds bool   `json:"holds"`
	Error string `json:"error,omitempty"`
}

// gateRecord looks at the record of the gate; nil where the bundle has none.
func gateRecord(b *model.Bundle) (*gateLine, error) {
	if b.Gate == nil {
		return nil, nil
	}
	l := &gateLine{Gate: b.Gate, Holds: gate.Holds(b.Gate.Figures)}
	subject, err := b.Subject()
	switch {
	case err != nil:
		return nil, err
	case subject != b.Gate.Subject:
		l.Holds = false
		l.Error = "it is of other networks or constants than the bundle's: run nightseg calibrate gate again"
	case !l.Holds:
		l.Error = "not all of its figures hold"
	}
	return l, nil
}

func (l *gateLine) text() string {
	against := "float, without labels"
	if l.Labels {
		against = "float, with labels"
	}
	s := fmt.Sprintf("%s gate: int8 against %s, %d frames of %s (%.12s), relight %s, %s on %s, %s\n",
		holds(l.Holds), against, l.Frames, l.Set, l.Gate.SHA256, l.Relight, l.Engine, l.Machine,
		l.Created.Format("2006-01-02"))
	if l.Error != "" {
		s += "    " + l.Error + "\n"
	}
	for _, f := range l.Figures {
		s += fmt.Sprintf("    %s %s\n", holds(f.Holds), gate.Text(f))
	}
	return s
}

// ran is what an engine made of the golden picture.
type ran struct {
	name   string
	logits []float32
	mask   []uint8
}

// verifyPlan is one engine to check. Where it was asked for by name, that it
// is not here is a failure.
type verifyPlan struct {
	engine string
	model.Options
	named bool
}

// plans lists the engines to check, as the flags say.
func (v *verification) plans(f *verifyFlags) ([]verifyPlan, error) {
	precisions := []string{f.Precision}
	if f.Precision == everyEngine {
		precisions = sortedKeys(v.bundle.Graphs.Segment.Files)
	}
	var plans []verifyPlan
	add := func(engine, provider string, named bool) {
		for _, p := range precisions {
			o := f.Options
			o.Provider, o.Precision = provider, p
			plans = append(plans, verifyPlan{engine, o, named})
		}
	}
	if !slices.Contains([]string{everyEngine, engineORT, engineTensorFlow}, f.engine) {
		return nil, fail(exitUsage, "--engine %q is not onnxruntime, tensorflow or all", f.engine)
	}
	if f.engine != engineTensorFlow {
		providers, err := ortProviders(f.LibDir)
		switch {
		case err != nil && f.engine == engineORT:
			return nil, err
		case err != nil:
			v.Missing = append(v.Missing, fmt.Sprintf("%s: %v", engineORT, err))
		case f.Provider != everyEngine:
			providers = []string{f.Provider}
		}
		for _, p := range providers {
			add(engineORT, p, f.Provider != everyEngine)
		}
	}
	if f.engine == engineTensorFlow || f.engine == everyEngine && f.Provider == everyEngine {
		// The TensorFlow engine runs float networks only.
		if f.Precision == everyEngine {
			precisions = []string{model.FP32}
		}
		add(engineTensorFlow, model.Auto, f.engine == engineTensorFlow)
	}
	return plans, nil
}

// check runs one engine on the golden picture.
func (v *verification) check(p verifyPlan) {
	line := checkLine{Engine: p.engine, Provider: p.Provider, Precision: p.Precision}
	e, err := openEngine(p.engine, v.bundle, p.Options)
	if err != nil {
		if p.named || p.engine == engineORT { // a provider that the library has, and cannot be opened
			line.Error = err.Error()
			v.Checks = append(v.Checks, line)
			return
		}
		v.Missing = append(v.Missing, fmt.Sprintf("%s: %v", p.engine, err))
		return
	}
	line.Provider = e.Info().Provider
	err = errors.Join(v.run(e, &line), e.Close())
	if err != nil {
		line.Error, line.Holds = err.Error(), false
	}
	v.Checks = append(v.Checks, line)
}

func (v *verification) run(e engine, line *checkLine) error {
	in, err := v.bundle.GoldenFrame()
	if err != nil {
		return err
	}
	want, wantMask, err := v.bundle.GoldenOutput(line.Precision)
	if err != nil {
		return err
	}
	var ok bool
	if line.Limit, ok = v.bundle.ToleranceFor(line.Precision, line.Provider); !ok {
		return fmt.Errorf("the bundle has no tolerance for %s", line.Precision)
	}
	var got frame.Logits
	if err := e.Infer(&got, in); err != nil {
		return err
	}
	if len(got.Data) != len(want.Data) {
		return fmt.Errorf("logits of %dx%dx%d, golden ones are %dx%dx%d", got.C, got.H, got.W, want.C, want.H,
			want.W)
	}
	mask := model.FullSizeArgMax(&got, v.bundle.AlignCorners)
	line.Logits = model.RelativeDifference(got.Data, want.Data)
	line.Mask = model.Agreement(mask, wantMask)
	line.Holds = line.Logits <= line.Limit.LogitsRelative && line.Mask >= line.Limit.MaskAgreement
	if line.Precision == model.FP32 {
		name := e.Info().Engine + "/" + e.Info().Provider
		v.fp32 = append(v.fp32, ran{name, slices.Clone(got.Data), mask})
	}
	return nil
}

// compare compares the fp32 engines with the first of them.
func (v *verification) compare() {
	for i := 1; i < len(v.fp32); i++ {
		a, b := v.fp32[0], v.fp32[i]
		l := pairLine{A: a.name, B: b.name}
		l.Logits, l.Mask = model.RelativeDifference(b.logits, a.logits), model.Agreement(a.mask, b.mask)
		l.Holds = l.Logits <= pairLogits && l.Mask >= pairMask
		v.Pairs = append(v.Pairs, l)
	}
}

// failures counts what does not hold.
func (v *verification) failures() (n int) {
	for _, l := range v.Checks {
		if !l.Holds {
			n++
		}
	}
	for _, l := range v.Pairs {
		if !l.Holds {
			n++
		}
	}
	if v.Gate != nil && !v.Gate.Holds {
		n++
	}
	return n
}
