package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
	"github.com/nodeimage/packer-plugin-nodeimage/validate"
)

// hole is a known vulnerability of what a lock names.
type hole struct {
	Component string   `json:"component"`
	Version   string   `json:"version"`
	ID        string   `json:"id"`
	Summary   string   `json:"summary"`
	Fixed     []string `json:"fixed"` // the first releases with the fix
	Low       bool     `json:"low"`   // upstream rates it low
}

// holesOf compares the components of a lock with the rules that validate has.
// What the distribution packaged is left to validate, which knows the packages
// that carry a fix under an old number.
func holesOf(l *lock.Lock) ([]hole, error) {
	rules, err := validate.LoadRules()
	if err != nil {
		return nil, err
	}
	holes := []hole{}
	for _, c := range l.Components {
		version := strings.TrimPrefix(c.Version, "v")
		for _, v := range rules.Vulnerabilities {
			if v.Program == c.Name && len(c.Packages) == 0 && version != "" && v.Affects(version) {
				holes = append(holes, hole{c.Name, version, v.ID, v.Summary, v.Fixed, v.Low})
			}
		}
	}
	return holes, nil
}

func writeHoles(w io.Writer, holes []hole) error {
	for _, h := range holes {
		low := ""
		if h.Low {
			low = " (rated low)"
		}
		if _, err := fmt.Fprintf(w, "! component %s %s has %s%s: %s; fixed in %s\n", h.Component, h.Version, h.ID, low, h.Summary, strings.Join(h.Fixed, ", ")); err != nil {
			return err
		}
	}
	return nil
}
