package camera

import (
	"context"
	"time"
)

// pace lets one frame pass per period. A caller that is late by more than a
// period starts a new schedule: frames are not hurried afterwards.
type pace struct {
	period time.Duration // 0: no waiting
	due    time.Time     // of the next frame
	timer  *time.Timer
}

// wait returns when the next frame is due, or with the error of ctx.
func (p *pace) wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.period == 0 {
		return nil
	}
	now := time.Now()
	if p.due.IsZero() || now.Sub(p.due) > p.period {
		p.due = now
	}
	if left := p.due.Sub(now); left > 0 {
		if p.timer == nil {
			p.timer = time.NewTimer(left)
		} else {
			p.timer.Reset(left)
		}
		select {
		case <-p.timer.C:
		case <-ctx.Done():
			p.timer.Stop()
			return ctx.Err()
		}
	}
	p.due = p.due.Add(p.period)
	return nil
}
