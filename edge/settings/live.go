package settings

// Live is the part of the settings that the stages of a loop take.
type Live struct {
	Relight   Relight  `json:"relight"`
	Reweight  Reweight `json:"reweight"`
	Threshold float64  `json:"threshold" min:"0" max:"0.999"`
	Codec     string   `json:"codec" enum:"png,rle-zstd"`
}

// Live returns the part of the settings that the stages of a loop take.
func (s Settings) Live() Live {
	return Live{Relight: s.Relight, Reweight: s.Reweight, Threshold: s.Threshold, Codec: s.Codec}
}

// With returns the settings with that part replaced.
func (s Settings) With(l Live) Settings {
	s.Relight, s.Reweight, s.Threshold, s.Codec = l.Relight, l.Reweight, l.Threshold, l.Codec
	return s
}
