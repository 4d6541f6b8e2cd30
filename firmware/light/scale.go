package light

import (
	"context"
	"time"
)

// gain is a setting of a sensor that counts light.
type gain struct {
	bits    uint16        // of the register
	factor  float64       // lux or normal counts per count
	full    int           // counts at which it is blinded
	integer time.Duration // integration
}

// ladder holds the gains of a sensor from the most to the least sensitive, and which is
// in use.
type ladder struct {
	gains []gain
	at    int
}

func (l *ladder) gain() gain { return l.gains[l.at] }

// move chooses the gain for the next measurement by the counts of the last; it reports
// whether it is another one. Less sensitive at nine tenths of the counts; more so where
// that gain would stay below half of them, so that nothing swings.
func (l *ladder) move(counts int) bool {
	g := l.gain()
	if counts >= g.full*9/10 && l.at < len(l.gains)-1 {
		l.at++
		return true
	}
	if l.at == 0 {
		return false
	}
	next := l.gains[l.at-1]
	if float64(counts)*g.factor/next.factor < float64(next.full)/2 {
		l.at--
		return true
	}
	return false
}

// settle waits until a measurement at the gain has ended: the one that was under way
// when it was set does not count.
func (l *ladder) settle(ctx context.Context) error {
	t := time.NewTimer(2*l.gain().integer + 10*time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
