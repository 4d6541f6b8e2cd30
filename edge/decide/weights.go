package decide

import (
	"fmt"
	"math"
)

// ShareFloor is the least share that a class counts with: -ln of a share
// grows without bound, and a class that the labels hardly hold must not take
// the whole spread of the weights for itself.
const ShareFloor = 1e-5

// Weights returns the class weights
//
//	w_k = (w'_k - mean w') / sd(w') * std + 1,  w'_k = -ln max(a_k, ShareFloor)
//
// of the shares a, with the sample's sd (n-1): rare classes above 1, common
// ones below. Equal shares, or one class, give ones. It is an error if std is
// negative or so large that a weight would reach 0 (MaxStd), or if the shares
// are not within 0..1. Source: DANNet (Wu et al., CVPR 2021), equations 1, 2.
func Weights(shares []float64, std float64) ([]float64, error) {
	u, err := standardised(shares)
	if err != nil {
		return nil, err
	}
	if !(std >= 0) {
		return nil, fmt.Errorf("decide: %w: std %v is negative", ErrSettings, std)
	}
	if limit := maxStd(u); std >= limit {
		return nil, fmt.Errorf("decide: %w: std %v: a class weight reaches 0 at %.4f", ErrSettings, std, limit)
	}
	for k := range u {
		u[k] = u[k]*std + 1
	}
	return u, nil
}

// MaxStd returns the std at which the weight of the most common class reaches
// 0: Weights takes only smaller ones. It is +Inf for equal shares.
func MaxStd(shares []float64) (float64, error) {
	u, err := standardised(shares)
	if err != nil {
		return 0, err
	}
	return maxStd(u), nil
}

func maxStd(u []float64) float64 {
	limit := math.Inf(1)
	for _, v := range u {
		if v < 0 {
			limit = min(limit, -1/v)
		}
	}
	return limit
}

// standardised returns (w' - mean w') / sd(w').
func standardised(shares []float64) ([]float64, error) {
	if len(shares) == 0 || len(shares) > 255 {
		return nil, fmt.Errorf("decide: %w: %d class shares, want 1 to 255", ErrSettings, len(shares))
	}
	u := make([]float64, len(shares))
	mean := 0.0
	for k, a := range shares {
		if !(a >= 0 && a <= 1) {
			return nil, fmt.Errorf("decide: %w: share %v of class %d is not within 0..1", ErrSettings, a, k)
		}
		u[k] = -math.Log(max(a, ShareFloor))
		mean += u[k] / float64(len(shares))
	}
	sum := 0.0
	for _, v := range u {
		sum += (v - mean) * (v - mean)
	}
	// Shares that differ by rounding only are equal: their spread is noise.
	sd := math.Sqrt(sum / float64(max(len(u)-1, 1)))
	for k := range u {
		if sd < 1e-9 {
			u[k] = 0
		} else {
			u[k] = (u[k] - mean) / sd
		}
	}
	return u, nil
}
