package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nightseg/edge/settings"
	"nightseg/firmware/governor"
	"nightseg/firmware/poll"
)

// heatShown is what was last done against heat.
type heatShown struct {
	step *governor.Change
}

// cool does what the governor's newest step asks for.
func (s *boardService) cool(use *settings.Board, shown *heatShown) {
	step := s.step.Load()
	if !use.Governor {
		step = nil
	}
	if step == shown.step {
		return
	}
	shown.step = step
	if step == nil || step.Level == 0 {
		s.around.setRate(1)
		s.around.gamma.Store(false)
		s.setShed(nil, nil)
		return
	}
	s.around.setRate(step.To.Rate)
	s.around.gamma.Store(!step.To.Relight)
	s.setShed(nil, &settings.Shed{
		Step: step.To.Name, Reason: step.Reason, Since: time.Now().UTC(), Rate: step.To.Rate, Gamma: !step.To.Relight,
		Small: step.To.Small,
	})
}

// setShed tells what is shed, nil for nothing; where old is given, only in its place. The
// live view alone makes nobody degraded: masks are as before.
func (s *boardService) setShed(old, shed *settings.Shed) {
	s.shedMu.Lock()
	defer s.shedMu.Unlock()
	if old != nil && s.shed.Load() != old {
		return
	}
	s.shed.Store(shed)
	s.report(shed)
	if shed == nil || shed.Rate == 1 && !shed.Gamma && !shed.Small {
		s.health.Clear(partHeat)
		return
	}
	text := fmt.Sprintf("%s, because %s", shed.Step, shed.Reason)
	if shed.Cannot != "" {
		text += " (" + shed.Cannot + ")"
	}
	s.health.Set(partHeat, text)
}

// errBusy is the error of networks that cannot be changed now.
var errBusy = errors.New("settings are on trial")

// resizeEvery is how often the size of the networks is compared with what the heat asks for.
const resizeEvery = time.Second

// resize goes on with smaller networks, and with those of the settings again, in a goroutine
// of its own: networks take long to load.
func (s *boardService) resize(ctx context.Context) {
	var cannot *settings.Shed // be done
	for poll.Wait(ctx, resizeEvery) {
		w, shed := s.work.Load(), s.shed.Load()
		if w == nil || shed != nil && shed == cannot {
			continue
		}
		err := w.shrink(ctx, shed != nil && shed.Small, s.use.Load().SmallBundle)
		switch {
		case err == nil || errors.Is(err, errBusy) || ctx.Err() != nil:
		case shed == nil: // it is tried again
			s.health.Log(partHeat, fmt.Errorf("the networks of the settings: %w", err))
		default:
			told := *shed
			told.Cannot, cannot = err.Error(), &told
			s.setShed(shed, &told)
		}
	}
}
