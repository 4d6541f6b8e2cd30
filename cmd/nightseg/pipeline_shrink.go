package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"

	"nightseg/edge/settings"
	"nightseg/model"
)

var errNothingSmaller = errors.New("the bundle has one shape, and board.small_bundle names no other bundle")

// luma implements work.
func (p *pipeline) luma() (mean float64, ok bool) {
	all := p.all()
	if len(all) == 0 {
		return 0, false
	}
	l := all[0].outlook.luma.Load()
	return math.Float64frombits(l), l != 0
}

// masks implements work.
func (p *pipeline) masks() (n uint64) {
	for _, r := range p.recorders() {
		n += r.Masks()
	}
	return n
}

// shrink implements work: the networks of another bundle, or where none is named those
// of the smallest shape of the bundle in force, or the networks of the settings again.
func (p *pipeline) shrink(ctx context.Context, small bool, bundle string) error {
	if p.now().small == small {
		return nil
	}
	if !p.nets.TryLock() {
		return errBusy
	}
	defer p.nets.Unlock()
	from := p.now()
	to := from
	to.small = small
	of := from.settings
	if small {
		var err error
		if of, err = smaller(of, from.nets.bundle, bundle); err != nil {
			return err
		}
	}
	nets, err := p.open(ctx, of)
	if err != nil {
		return err
	}
	to.nets = nets
	if small && !sameClasses(from.nets.bundle, nets.bundle) {
		err = fmt.Errorf("%s has other classes than %s", nets.bundle.Name, from.nets.bundle.Name)
	}
	if err == nil {
		err = p.adopt(ctx, to)
	}
	if err != nil {
		return errors.Join(err, nets.engine.Close())
	}
	slog.Info("networks", "smaller", small, "bundle", nets.bundle.Name, "shape", nets.bundle.Shapes[0])
	return from.nets.engine.Close()
}

// smaller are settings with smaller networks.
func smaller(s settings.Settings, now *model.Bundle, bundle string) (settings.Settings, error) {
	if bundle != "" {
		s.Bundle, s.Engine.Shape = bundle, ""
		return s, nil
	}
	least := now.Shapes[0]
	for _, shape := range now.Shapes {
		if shape[0]*shape[1] < least[0]*least[1] {
			least = shape
		}
	}
	if least == now.Shapes[0] {
		return s, errNothingSmaller
	}
	s.Engine.Shape = fmt.Sprintf("%dx%d", least[1], least[0])
	return s, nil
}
