package board

import (
	"fmt"
	"slices"
	"strings"

	"nightseg/firmware/boards"
	"nightseg/firmware/tree"
)

const deviceTree = "/proc/device-tree/model"

// Model is what a machine calls itself: by its device tree, or its firmware's tables.
func Model(root tree.Root) string {
	if w, err := root.Word(deviceTree); err == nil && w != "" {
		return w
	}
	var words []string
	for _, f := range []string{"sys_vendor", "product_name"} {
		if w, err := root.Word("/sys/class/dmi/id/" + f); err == nil && w != "" {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}

// Known are the descriptions that ship.
func Known() ([]Description, error) {
	var list []Description
	for _, f := range boards.All() {
		d, err := Parse(f.Text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		list = append(list, d)
	}
	return list, nil
}

// Matches reports whether a description is of a model.
func (d *Description) Matches(model string) bool {
	for _, m := range d.Models {
		prefix, open := strings.CutSuffix(m, "*")
		if model == m || open && model != "" && strings.HasPrefix(model, prefix) {
			return true
		}
	}
	return false
}

// Detect finds the description of a machine among those that ship, the most special one.
func Detect(root tree.Root) (Description, error) {
	list, err := Known()
	if err != nil {
		return Description{}, err
	}
	model := Model(root)
	for _, d := range list {
		// What is left is a PC, but not where a device tree says that it is another board.
		anything := slices.Contains(d.Models, "*")
		if d.Matches(model) && !(anything && root.Exists(deviceTree)) {
			return d, nil
		}
	}
	return Description{}, fmt.Errorf("no description is known of the machine %q: copy one "+
		"(nightseg board list --show NAME) and change it, and give it with --board", model)
}
