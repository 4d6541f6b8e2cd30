//go:build !amd64

package model

// fastPlanes leaves all pixels to Planes.
func (t *Normaliser) fastPlanes([]float32, []byte) int { return 0 }
