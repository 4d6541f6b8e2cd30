package quantize

import (
	"bytes"
	"encoding/json"
	"testing"

	"nightseg/calibrate/observe"
)

// Ranges made in another way afterwards are those of a run that made them so.
func TestObserved(t *testing.T) {
	first := newBench(t, 12)
	r := first.run(t)
	runs := len(first.runs)
	o := observe.Settings{Method: observe.Percentile, Percentile: 90}
	got, err := r.Observed(o, "why")
	if err != nil {
		t.Fatal(err)
	}
	if len(first.runs) != runs {
		t.Error("frames were run again")
	}
	second := newBench(t, 12)
	second.Observer = o
	want := second.run(t)
	for name, data := range want.Networks {
		if !bytes.Equal(got.Networks[name], data) {
			t.Errorf("%s: another network", name)
		}
	}
	if bytes.Equal(got.Networks["segment"], r.Networks["segment"]) {
		t.Error("the ranges are still those by extremes")
	}
	var rec Record
	err = json.Unmarshal(got.Record, &rec)
	if err != nil || rec.Observer["segment"] != "percentile 90" || rec.Search != "why" {
		t.Errorf("%v, %+v", err, rec)
	}
	if _, err := r.Observed(observe.Settings{Method: "most"}, nil); err == nil {
		t.Error("an unknown way is taken")
	}
}
