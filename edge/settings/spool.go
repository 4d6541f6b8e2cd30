package settings

import "time"

// Spool says what becomes of live masks that the broker cannot take. There is one
// for run with a broker outside of the process.
type Spool struct {
	Enabled      bool     `json:"enabled"`
	Dir          string   `json:"dir"`
	Size         int      `json:"size" unit:"MB" min:"4" max:"65536"`
	Age          Duration `json:"age" min:"1m" max:"8760h"`
	Rate         float64  `json:"rate" unit:"kB per second" min:"0" max:"100000"`
	ReducedEvery Duration `json:"reduced_every" min:"0s" max:"1h"`
}

func defaultSpool() Spool {
	return Spool{
		Enabled: true, Size: 256, Age: Duration(7 * 24 * time.Hour), Rate: 256, ReducedEvery: Duration(time.Second),
	}
}
