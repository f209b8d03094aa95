package systemd

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// Conf reads one of systemd's own configuration files with its drop-ins:
// system.conf, journald.conf, networkd.conf, resolved.conf, logind.conf,
// zram-generator.conf. The main file is the first one found in /etc, /run,
// /usr/local/lib and /usr/lib; drop-ins come after it, whatever directory
// they are in.
func Conf(root fs.FS, name string) (Settings, []Problem, error) {
	bases := []string{"/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"}
	var (
		settings Settings
		problems []Problem
		dirs     []string
		found    bool
	)
	read := func(p string) error {
		data, err := source.ReadFile(root, p, source.MaxFile)
		if err != nil {
			return err
		}
		s, pr := Parse(p, data)
		settings = append(settings, s...)
		problems = append(problems, pr...)
		return nil
	}
	for _, b := range bases {
		dirs = append(dirs, path.Join(b, name+".d"))
		if found {
			continue
		}
		p := path.Join(b, name)
		if t, ok := source.Link(root, p); ok && source.ResolveLink(p, t) == "/dev/null" {
			found = true
			continue
		}
		err := read(p)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		found = err == nil
	}
	files, _, err := ConfFiles(root, dirs)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range files {
		if err := read(f); err != nil {
			return nil, nil, err
		}
	}
	return settings, problems, nil
}

// Condition is one Condition...= or Assert...= of a unit.
type Condition struct {
	Key     string // ConditionPathExists
	Value   string
	Negated bool // prefix "!"
	Trigger bool // prefix "|": one of the triggering conditions is enough
	Pos     source.Position
}

// Conditions returns the conditions under which a unit starts.
func (u *Unit) Conditions() []Condition {
	var out []Condition
	for _, a := range u.Settings {
		if a.Section != "Unit" || !strings.HasPrefix(a.Key, "Condition") && !strings.HasPrefix(a.Key, "Assert") {
			continue
		}
		if a.Value == "" { // resets the conditions of this kind
			kept := out[:0]
			for _, c := range out {
				if c.Key != a.Key {
					kept = append(kept, c)
				}
			}
			out = kept
			continue
		}
		c := Condition{Key: a.Key, Pos: a.Pos}
		v, trigger := strings.CutPrefix(a.Value, "|")
		v, negated := strings.CutPrefix(strings.TrimSpace(v), "!")
		c.Trigger, c.Negated, c.Value = trigger, negated, strings.TrimSpace(v)
		out = append(out, c)
	}
	return out
}

// Swap is one thing of systemd's that turns swap on.
type Swap struct {
	Unit string // dev-sda2.swap, or the device of a zram-generator section
	What string
	Pos  source.Position
}

// Swaps lists the swap units that are started at boot and the zram devices
// that zram-generator makes swap of. Entries of /etc/fstab are not here: a
// generator makes units of them only when the machine boots.
func (u *Units) Swaps() ([]Swap, error) {
	var out []Swap
	boot, err := u.AtBoot()
	if err != nil {
		return nil, err
	}
	for _, n := range u.Names(".swap") {
		unit, err := u.Unit(n)
		if err != nil {
			return nil, err
		}
		if unit.State != Loaded {
			continue
		}
		if _, ok := boot[unit.ID]; !ok {
			continue
		}
		what, _ := unit.Settings.Last("Swap", "What")
		out = append(out, Swap{n, what.Value, source.Position{File: unit.Fragment, Line: what.Pos.Line}})
	}
	if !u.hasGenerator("zram-generator") {
		return out, nil
	}
	zram, _, err := Conf(u.root, "zram-generator.conf")
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, a := range zram {
		if !strings.HasPrefix(a.Section, "zram") || seen[a.Section] {
			continue
		}
		seen[a.Section] = true
		if fstype, ok := zram.Last(a.Section, "fs-type"); ok && fstype.Value != "swap" {
			continue
		}
		if mount, ok := zram.Last(a.Section, "mount-point"); ok && mount.Value != "" {
			continue
		}
		if size, ok := zram.Last(a.Section, "zram-size"); ok && size.Value == "0" {
			continue
		}
		out = append(out, Swap{"/dev/" + a.Section, "zram", a.Pos})
	}
	return out, nil
}

func (u *Units) hasGenerator(name string) bool {
	for _, d := range []string{"/run/systemd/system-generators", "/etc/systemd/system-generators", "/usr/local/lib/systemd/system-generators", "/usr/lib/systemd/system-generators", "/lib/systemd/system-generators"} {
		p := path.Join(d, name)
		if t, ok := source.Link(u.root, p); ok && source.ResolveLink(p, t) == "/dev/null" {
			return false
		}
		if source.Exists(u.root, p) {
			return true
		}
	}
	return false
}

// Timer is a timer unit.
type Timer struct {
	Unit     string
	Starts   string // the unit it starts
	Schedule []Assignment
	// By says which unit pulls the timer in at boot, "" if none does.
	By string
}

// Timers lists the timers that run once the machine has booted.
func (u *Units) Timers() ([]Timer, error) {
	boot, err := u.AtBoot()
	if err != nil {
		return nil, err
	}
	var out []Timer
	for _, n := range u.Names(".timer") {
		by, ok := boot[n]
		if !ok {
			continue
		}
		unit, err := u.Unit(n)
		if err != nil {
			return nil, err
		}
		t := Timer{Unit: n, Starts: strings.TrimSuffix(n, ".timer") + ".service", By: by}
		if a, ok := unit.Settings.Last("Timer", "Unit"); ok {
			t.Starts = a.Value
		}
		for _, k := range []string{"OnActiveSec", "OnBootSec", "OnStartupSec", "OnUnitActiveSec", "OnUnitInactiveSec", "OnCalendar"} {
			t.Schedule = append(t.Schedule, unit.Settings.All("Timer", k)...)
		}
		out = append(out, t)
	}
	return out, nil
}
