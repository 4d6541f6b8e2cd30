package model

import (
	"encoding/json"
	"time"
)

// Gate is the record of a comparison of the bundle's integer networks with its
// float networks, over the frames of a set; see calibrate/gate. Figures are in
// percent and points.
type Gate struct {
	Created time.Time    `json:"created"`
	Subject string       `json:"subject"` // Subject of the manifest that was compared
	Set     string       `json:"set"`     // name of the set or drive
	SHA256  string       `json:"set_sha256"`
	Frames  int          `json:"frames"`
	Labels  bool         `json:"labels"` // against labels, or against the float networks
	Relight string       `json:"relight"`
	Engine  string       `json:"engine"`
	Machine string       `json:"machine"`
	Block   int          `json:"block,omitempty"` // frames in a block of the bootstrap
	Figures []GateFigure `json:"figures"`
}

// GateFigure is one figure of a comparison with its limit.
type GateFigure struct {
	Name  string   `json:"name"` // miou_drop, iou_drop, iou or agreement
	Class string   `json:"class,omitempty"`
	Value float64  `json:"value"`
	Bound *float64 `json:"bound,omitempty"` // end of the interval, which decides where there is one
	Limit float64  `json:"limit"`
	Holds bool     `json:"holds"`
}

// Subject returns a hash of all that decides what masks the bundle makes:
// networks, sizes and constants. A record of the gate holds for one subject;
// name, version and records may change under it.
func (m *Manifest) Subject() (string, error) {
	doc, err := json.Marshal(map[string]any{
		"shapes": m.Shapes, "resize": m.Resize, "normalise": m.Normalise, "align_corners": m.AlignCorners,
		"stride": m.Stride, "logits": m.Logits, "graphs": m.Graphs, "class_shares": m.ClassShares,
		"reweight": m.Reweight, "temperature": m.Temperature,
	})
	if err != nil {
		return "", err
	}
	return Identity(doc)
}
