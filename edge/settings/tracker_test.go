package settings

import (
	"encoding/json"
	"testing"
	"time"
)

func TestTracker(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tracker := &LiveTracker{File: Default(), Run: "r1", Source: FromFile, Now: func() time.Time { return now }}
	var applied []Live
	apply := func(l Live) []FieldError {
		if l.Reweight.Std != nil && *l.Reweight.Std > 0.5 {
			return []FieldError{{Pointer: "/reweight/std", Problem: "a weight would reach 0"}}
		}
		applied = append(applied, l)
		return nil
	}
	steps := []struct {
		doc     string
		result  Result
		inForce int64
		applied int
	}{
		{`{"version":2,"codec":"rle-zstd"}`, ResultApplied, 2, 1},
		{`{"codec":"rle-zstd", "version":2}`, "unchanged", 2, 1},
		{`{"version":2,"codec":"png"}`, "rejected", 2, 1},
		{`{"version":1}`, "rejected", 2, 1},
		{`{"version":3,"threshold":9}`, "rejected", 2, 1},
		{`{"version":3,"reweight":{"std":0.9}}`, "rejected", 2, 1},
		{`{"version":3,"bundle":"x"}`, "rejected", 2, 1},
		{`nonsense`, "rejected", 2, 1},
		{`{"version":3,"reweight":{"std":0.2}}`, ResultApplied, 3, 2},
	}
	r := tracker.Reported()
	if r.Source != FromFile || r.Version != 0 || r.Settings.Codec != "png" || r.Since != now {
		t.Errorf("reported at first: %+v", r)
	}
	for _, s := range steps {
		a := tracker.Handle([]byte(s.doc), apply)
		if a.Result != s.result || a.InForce != s.inForce || len(applied) != s.applied || a.Run != "r1" {
			t.Errorf("%s: %+v, applied %d", s.doc, a, len(applied))
		}
		r := tracker.Reported()
		if (a.Result == "rejected") != (len(a.Errors) > 0) || a.Result == "rejected" && r.Rejected == nil {
			t.Errorf("%s: errors %v, reported %+v", s.doc, a.Errors, r)
		}
		if r.Version != s.inForce || r.Source != "desired" {
			t.Errorf("%s: reported %+v", s.doc, r)
		}
	}
	if r := tracker.Reported(); r.Rejected != nil || r.Settings.Codec != "png" || len(r.SHA256) != 64 {
		t.Errorf("reported at last: %+v", r)
	}
	if got := applied[0]; got.Codec != "rle-zstd" {
		t.Errorf("applied %+v", got)
	}
}

func TestAckAndReportedAreJSON(t *testing.T) {
	tracker := &LiveTracker{File: Default(), Run: "r1", Source: FromFactory, FileError: "no such file"}
	a := tracker.Handle([]byte(`{"version":1,"threshold":2}`), func(Live) []FieldError { return nil })
	var ack, reported map[string]any
	if err := json.Unmarshal(a.JSON(), &ack); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(tracker.Reported().JSON(), &reported); err != nil {
		t.Fatal(err)
	}
	if ack["result"] != "rejected" || reported["source"] != "factory" || reported["last_rejected"] == nil {
		t.Errorf("ack %v\nreported %v", ack, reported)
	}
}
