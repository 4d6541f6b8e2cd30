package synth

// The kinds of random streams.
const (
	streamFurniture = iota + 1
	streamGround
	streamStreet
	streamBuilding
	streamTree
	streamPost
	streamParked
	streamTraffic
	streamWalker
	streamCyclist
	streamSky
	streamLamp
	streamFence
	streamBake
	streamNoise
	streamCross
)

// slot is the length of street that one building stands on, in metres.
const slot = 12

// kerbHeight is the height of the pavement over the road in metres.
const kerbHeight = 0.12

// street is the plan of a drive: what the seed and the layout decide once.
type street struct {
	roadHalf, pavement, setback float32 // metres
	parking                     float32 // chance of a parked car in a place
	laneWidth                   float32
	lanes                       int     // lanes of one direction
	drive                       float32 // side one drives on: -1 left, 1 right
	block                       int     // slots from one side street to the next
	phase                       int
	shops, offices, gaps, trees float32 // chances
	floorsLow, floorsHigh       int
	fence                       float32
	paved                       bool // no grass
	yellow, edges               bool
	dashOn, dashPeriod          float32
	traffic, people, cyclists   float32 // chances
	lampEvery                   int     // slots from lamp to lamp on a side
	lampHeight                  float32
	bend                        float32 // strongest curve, 1/m
	sunX, sunY                  float32 // direction to the sun: across and up; 0 = overcast
	overcast                    bool
}

// newStreet draws a street of one of the layouts.
func newStreet(seed uint64, layout string) street {
	r := stream(seed, streamStreet, 0)
	s := street{
		drive: r.side(), block: 6 + r.below(4), laneWidth: 3.1, lanes: 1,
		dashOn: 2, dashPeriod: []float32{5, 6, 8}[r.below(3)],
		traffic: r.in(0.55, 0.9), people: r.in(0.35, 0.7), cyclists: r.in(0.45, 0.7), lampEvery: 2 + r.below(2),
		lampHeight: r.in(5.5, 8), bend: r.in(0, 0.0014), edges: r.chance(0.4), overcast: r.chance(0.5),
		sunX: r.side() * r.in(0.35, 0.75), sunY: r.in(0.5, 0.8), pavement: r.in(2, 3.2),
	}
	s.phase = r.below(s.block)
	switch layout {
	case LayoutTerrace:
		s.roadHalf, s.setback, s.parking, s.yellow = r.in(3.4, 4.4), r.in(0, 1.6), r.in(0, 0.5), r.chance(0.5)
		s.shops, s.gaps, s.trees, s.floorsLow, s.floorsHigh, s.fence = r.in(0.2, 0.6), 0.08, r.in(0.05, 0.3), 2, 3, 0.6
		s.paved = true
	case LayoutAvenue:
		s.roadHalf, s.setback, s.parking = r.in(5.2, 6.4), r.in(0.2, 3), r.in(0.3, 0.65)
		s.shops, s.offices, s.gaps, s.trees, s.floorsLow, s.floorsHigh, s.fence = 0.4, 0.3, 0.12, r.in(0.45, 0.75), 3, 5, 0.4
		s.pavement, s.paved = r.in(2.8, 4.2), r.chance(0.7)
	case LayoutDemo:
		s.roadHalf, s.lanes, s.setback, s.parking = 6.6, 2, 2.4, 0
		s.shops, s.offices, s.gaps, s.trees, s.floorsLow, s.floorsHigh, s.fence = 0.35, 0.25, 0.25, 0.5, 2, 4, 0.7
		s.pavement, s.paved, s.block, s.edges = 3.4, true, 8, true
	default: // suburb
		s.roadHalf, s.setback, s.parking = r.in(3.6, 5), r.in(3, 6), r.in(0.1, 0.3)
		s.shops, s.gaps, s.trees, s.floorsLow, s.floorsHigh, s.fence = 0.05, 0.4, r.in(0.4, 0.7), 2, 2, 0.85
	}
	if s.parking > 0.25 {
		s.roadHalf += 1.2
		s.yellow = false
	}
	return s
}

// lane returns the middle of the lane driven in.
func (s *street) lane() float32 {
	if s.lanes == 2 {
		return s.drive * (s.laneWidth * 0.5)
	}
	free := s.roadHalf
	if s.parking > 0 {
		free -= 1.9
	}
	return s.drive * max(free*0.5, 1.5)
}

// crossSlot says whether a side street leaves in this slot.
func (s *street) crossSlot(i int) bool { return mod(i, s.block) == s.phase }

func mod(a, b int) int { return ((a % b) + b) % b }

// crossing says whether the place z along the street lies in a side street.
func (s *street) crossing(z float32) bool {
	i := int(floor(z / slot))
	in := z - float32(i*slot)
	return s.crossSlot(i) && in > 2 && in < 10
}

// zebraAt says whether z lies on a zebra crossing: after every other side street.
func (s *street) zebraAt(z float32) bool {
	i := int(floor(z / slot))
	in := z - float32(i*slot)
	return in > 3 && in < 6 && s.zebraSlot(i)
}

func (s *street) zebraSlot(i int) bool { return s.crossSlot(i-2) && mod(i/s.block, 2) == 0 }

// stopLine says whether z lies on the line before the traffic lights of a side street.
func (s *street) stopLine(z float32) bool {
	i := int(floor(z / slot))
	in := z - float32(i*slot)
	return s.crossSlot(i+1) && in > 11.4 && in < 11.9 && s.signalled(i+1)
}

// signalled says whether the crossing in slot i has traffic lights.
func (s *street) signalled(i int) bool { return mix(uint64(i)*977)&3 != 0 }

// bender turns places along the street into camera coordinates. The street
// curves away with the square of the distance.
type bender struct{ camX, camY, bend float32 }

func (b *bender) shift(z float32) float32 {
	z = min(max(z, 0), 180)
	return float32(b.bend * float32(z*z))
}

func (b *bender) point(x, y, z, u, v float32) point {
	return point{x - b.camX + b.shift(z), y - b.camY, z, u, v}
}
