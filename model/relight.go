package model

// RelightMode is how pictures are best relit for the networks, none, gamma, clahe or
// network: as the manifest says, else with its own network where there is one.
func (m *Manifest) RelightMode() string {
	switch {
	case m.Relight != "":
		return m.Relight
	case m.Graphs.Relight != nil || m.Graphs.Fused != nil:
		return "network"
	}
	return "none"
}
