//go:build !race

package capture

// underRace says that the race detector runs, which allocates.
const underRace = false
