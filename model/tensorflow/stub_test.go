//go:build !tensorflow || !cgo

package tensorflow

import (
	"strings"
	"testing"

	"nightseg/edge/frame"
	"nightseg/model"
)

func TestBuildWithoutTheTag(t *testing.T) {
	e, err := Open(&model.Bundle{}, model.Options{})
	if err == nil || e != nil {
		t.Fatalf("an engine in a build without TensorFlow: %v, %v", e, err)
	}
	for _, want := range []string{"tag `tensorflow`", "make build TAGS=tensorflow"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
	none := new(Engine)
	if none.Infer(new(frame.Logits), new(frame.Frame)) == nil || none.Relit(new(frame.Frame)) == nil {
		t.Error("the engine of a build without TensorFlow does something")
	}
}
