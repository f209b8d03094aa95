package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/outdated"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// lockReport is what `nodeimage lock` says.
type lockReport struct {
	File    string        `json:"file"`
	Changes []lock.Change `json:"changes"`
	Holes   []hole        `json:"holes"`
	// Components are there with --check alone.
	Components []outdated.Component `json:"components,omitzero"`

	compared bool // with a lock that was there
}

func (r lockReport) write(w io.Writer, format string) error {
	switch {
	case format == "json":
		r.Changes = append([]lock.Change{}, r.Changes...)
		r.Holes = append([]hole{}, r.Holes...)
		return json.NewEncoder(w).Encode(r)
	case r.compared:
		return errors.Join(lock.WriteChanges(w, r.Changes), writeHoles(w, r.Holes), outdated.Write(w, r.Components))
	}
	_, err := fmt.Fprintln(w, r.File)
	return errors.Join(err, writeHoles(w, r.Holes))
}

// judge is the end of --check. A newer release fails nothing: which one a
// profile pins is its author's choice.
func (r lockReport) judge(profile string) error {
	var problems []string
	if len(r.Changes) > 0 {
		problems = append(problems, fmt.Sprintf("%d things of %s would move: run `nodeimage lock %s --update`", len(r.Changes), r.File, profile))
	}
	if n := len(slices.DeleteFunc(slices.Clone(r.Holes), func(h hole) bool { return h.Low })); n > 0 {
		problems = append(problems, fmt.Sprintf("its components have %d known holes: move the profile's versions to releases with the fixes", n))
	}
	if len(problems) == 0 {
		return nil
	}
	return exitcode.With(exitcode.Failed, errors.New(strings.Join(problems, "; ")))
}
