package camera

import (
	"context"
	"fmt"
)

func openCapture(_ context.Context, t target, _ *Options) (opening, error) {
	return opening{}, fmt.Errorf("sources of kind %s need nightseg-capture, which this build does not have", t.kind)
}
