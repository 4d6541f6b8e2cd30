//go:build !race

package message

// underRace says that the race detector runs, under which pools forget at random.
const underRace = false
