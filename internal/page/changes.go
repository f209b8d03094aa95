package page

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
)

const (
	maxManifest = 16 << 20 // bytes
	maxProfile  = 1 << 20
	maxChanges  = 60 // lines that are shown of one kind
)

// changes is what differs between a run and the last one before it that was
// green.
type changes struct {
	Since string // which run, for people; "" if none was green before
	Lines []change
	More  int // lines that are not shown
	Notes []string
}

type change struct{ What, Was, Is string }

// run is the record of the cell's result in its history, and the last green
// one before it.
func runs(c matrix.CollectedCell) (now, green *matrix.RunRecord) {
	if c.Result == nil {
		return nil, nil
	}
	for i := len(c.History) - 1; i >= 0; i-- {
		r := &c.History[i]
		switch {
		case now == nil && r.Run == c.Result.Run && r.Started.Equal(c.Result.Started):
			now = r
		case now != nil && r.Verdict == matrix.Passed:
			return now, r
		}
	}
	return now, nil
}

func newChanges(dir string, c matrix.CollectedCell) (ch changes) {
	now, green := runs(c)
	if green == nil {
		return ch
	}
	ch.Since = fmt.Sprintf("%s, %s", name(green.Run), green.Started.UTC().Format("2006-01-02 15:04 MST"))
	var all []change
	add := func(what, was, is string) {
		if was != is {
			all = append(all, change{name(what), name(was), name(is)})
		}
	}
	add("kernel", green.Versions.Kernel, now.Versions.Kernel)
	names := slices.Collect(maps.Keys(green.Versions.Components))
	for k := range now.Versions.Components {
		if _, ok := green.Versions.Components[k]; !ok {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	for _, k := range names {
		add(k, green.Versions.Components[k], now.Versions.Components[k])
	}
	add("tool", green.ToolVersion, now.ToolVersion)
	add("archive state", short(green.Base), short(now.Base))
	all = append(all, packages(dir, green, now, &ch)...)
	all = append(all, configuration(dir, green, now, &ch)...)
	if len(all) == 0 && green.ID == now.ID {
		ch.Notes = append(ch.Notes, "The inputs are the same, to the ID: what differs is not in the image's pins.")
	}
	if len(all) > maxChanges {
		ch.More = len(all) - maxChanges
		all = all[:maxChanges]
	}
	ch.Lines = all
	return ch
}

// packages compares the manifests of two runs, if both are still there.
func packages(dir string, green, now *matrix.RunRecord, ch *changes) []change {
	was, err := readPackages(dir, green.Folder)
	is, err2 := readPackages(dir, now.Folder)
	if err := errors.Join(err, err2); err != nil {
		text := "Packages cannot be compared: the manifest of one of the two runs is not kept."
		if a, b := green.Versions.Packages, now.Versions.Packages; a != b {
			text += fmt.Sprintf(" There were %d, and are %d.", a, b)
		}
		ch.Notes = append(ch.Notes, text)
		return nil
	}
	names := slices.Collect(maps.Keys(was))
	for n := range is {
		if _, ok := was[n]; !ok {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	var list []change
	for _, n := range names {
		if was[n] != is[n] {
			list = append(list, change{"package " + name(n), name(was[n]), name(is[n])})
		}
	}
	return list
}

func readPackages(dir, folder string) (map[string]string, error) {
	data, err := readFile(dir, folder, matrix.ManifestFile, maxManifest)
	if err != nil {
		return nil, err
	}
	var m manifest.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, p := range m.Packages {
		found[p.Name] = p.Version
	}
	return found, nil
}

// configuration compares the effective profiles of two runs, line by line.
func configuration(dir string, green, now *matrix.RunRecord, ch *changes) []change {
	if green.ProfileSHA256 == now.ProfileSHA256 {
		return nil
	}
	was, err := readFile(dir, green.Folder, matrix.ProfileFile, maxProfile)
	is, err2 := readFile(dir, now.Folder, matrix.ProfileFile, maxProfile)
	if err := errors.Join(err, err2); err != nil {
		return []change{{"configuration", short(green.ProfileSHA256), short(now.ProfileSHA256)}}
	}
	counts := map[string]int{}
	for l := range strings.Lines(string(was)) {
		counts[strings.TrimRight(l, "\n")]--
	}
	for l := range strings.Lines(string(is)) {
		counts[strings.TrimRight(l, "\n")]++
	}
	var list []change
	for _, side := range []struct {
		text []byte
		sign int
	}{{was, -1}, {is, 1}} {
		for l := range strings.Lines(string(side.text)) {
			l = strings.TrimRight(l, "\n")
			if counts[l]*side.sign <= 0 {
				continue
			}
			counts[l] -= side.sign
			c := change{What: "configuration"}
			if side.sign < 0 {
				c.Was = name(strings.TrimSpace(l))
			} else {
				c.Is = name(strings.TrimSpace(l))
			}
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		list = append(list, change{"configuration", short(green.ProfileSHA256), short(now.ProfileSHA256)})
	}
	return list
}
