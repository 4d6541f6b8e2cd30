// Package boards holds the descriptions of the boards that ship.
package boards

import (
	"embed"
)

//go:embed *.yaml
var files embed.FS

// File is a description in YAML.
type File struct {
	Name string
	Text []byte
}

// order is from special to general: a PC is whatever is nothing else.
var order = []string{"jetson-orin-nano", "jetson-xavier-nx", "raspberry-pi-5", "pc"}

// All returns the descriptions, special ones first.
func All() []File {
	list := make([]File, 0, len(order))
	for _, name := range order {
		text, err := files.ReadFile(name + ".yaml")
		if err != nil { // a test reads them all
			continue
		}
		list = append(list, File{Name: name, Text: text})
	}
	return list
}
