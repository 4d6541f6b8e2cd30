package control

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"nightseg/edge/settings"
)

// errSuperseded ends the trial of a document that a newer one has overtaken.
var errSuperseded = errors.New("superseded")

// errStopped ends the trial that runs when the service is told to stop.
var errStopped = errors.New("the service was stopped before it had proven itself")

// errPanic marks what a panic has ended.
var errPanic = errors.New("panic")

// outcome is what became of a trial.
type outcome struct {
	errs     []settings.FieldError // Prepare refused it
	err      error                 // it failed
	swapped  bool                  // after Apply
	report   any                   // of the probation
	undoErr  error
	closeErr error
}

// try takes the settings through all phases. The probation, if limit is not 0,
// begins with a value on swapped, and may take that long. When stop has ended,
// nothing is brought back: the process will end.
func try(
	ctx, stop context.Context, p Pipeline, d settings.Desired, limit time.Duration, swapped chan<- struct{},
) (o outcome) {
	var step Step
	o.err = guard("prepare", func() error {
		step, o.errs = p.Prepare(ctx, d)
		return nil
	})
	if step != nil {
		defer func() { o.closeErr = guard("close", step.Close) }()
	}
	switch {
	case o.err != nil:
		return o
	case ctx.Err() != nil: // whatever Prepare makes of that
		o.errs, o.err = nil, cause(ctx, stop, ctx.Err())
		return o
	case len(o.errs) > 0:
		return o
	case step == nil:
		o.err = errors.New("prepare gave no step")
		return o
	}
	if o.err = guard("apply", func() error { return step.Apply(ctx) }); o.err != nil {
		// What a panic leaves behind nobody knows.
		if o.swapped = errors.Is(o.err, errPanic); o.swapped {
			o.undoErr = undo(ctx, step)
		}
		o.err = cause(ctx, stop, o.err)
		return o
	}
	o.swapped = true
	if limit == 0 {
		return o
	}
	swapped <- struct{}{}
	timed, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	o.err = guard("probation", func() (err error) {
		o.report, err = step.Probation(timed)
		return err
	})
	if o.err == nil {
		return o
	}
	if timed.Err() != nil && ctx.Err() == nil {
		o.err = fmt.Errorf("not proven within %v: %w", limit, o.err)
	}
	if o.err = cause(ctx, stop, o.err); !errors.Is(o.err, errStopped) {
		o.undoErr = undo(ctx, step)
	}
	return o
}

// cause says why a trial ended early, err where it did not.
func cause(ctx, stop context.Context, err error) error {
	switch {
	case errors.Is(err, errPanic):
		return err
	case stop.Err() != nil:
		return errStopped
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return err
}

// undo also works when ctx has ended.
func undo(ctx context.Context, step Step) error {
	return guard("undo", func() error { return step.Undo(context.WithoutCancel(ctx)) })
}

// guard calls f and makes an error of a panic.
func guard(what string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w in %s: %v\n%s", errPanic, what, r, debug.Stack())
		}
	}()
	return f()
}
