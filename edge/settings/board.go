package settings

// Board says what of the board around the camera is used: see docs/board.md. What its
// description does not have is not used, whatever is said here.
type Board struct {
	Description string `json:"description" live:"file"` // a file, the name of one that ships, auto or none
	Light       bool   `json:"light"`
	LED         bool   `json:"led" live:"file"`
	Buttons     bool   `json:"buttons"`
	Governor    bool   `json:"governor"`
	Battery     bool   `json:"battery"`
	SmallBundle string `json:"small_bundle"`
	Lamp        Lamp   `json:"lamp"`
}

// Lamp says when the lamp is on.
type Lamp struct {
	Mode  string  `json:"mode" enum:"off,auto,on"`
	Level float64 `json:"level" unit:"of what the description allows" min:"0.01" max:"1"`
	Feed  string  `json:"feed" live:"file"`
}

// Words of Board.Description.
const (
	BoardNone = "none"
	BoardAuto = "auto"
)

func defaultBoard() Board {
	return Board{
		Description: BoardNone, Light: true, LED: true, Buttons: true, Governor: true, Battery: true,
		Lamp: Lamp{Mode: "auto", Level: 1},
	}
}

// Night says how a camera's exposure and gain are set.
type Night struct {
	Mode     string  `json:"mode" enum:"off,auto,manual"`
	Exposure float64 `json:"exposure" unit:"ms" min:"0.1" max:"1000"`
	Gain     float64 `json:"gain" unit:"percent of the camera's range" min:"0" max:"100"`
	Target   float64 `json:"target" unit:"mean luma" min:"5" max:"200"`
}

// Modes of Night.
const (
	NightOff    = "off"
	NightAuto   = "auto"
	NightManual = "manual"
)

// DefaultNight is how a camera is that settings say nothing of.
func DefaultNight() Night { return Night{Mode: NightOff, Exposure: 16, Gain: 75, Target: 60} }
