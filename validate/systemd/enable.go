package systemd

import (
	"path"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// Enablement is what `systemctl is-enabled` says about a unit, and why.
type Enablement struct {
	// State is one of enabled, disabled, static, indirect, alias, masked, not-found.
	State string
	// By are the links that pull the unit in, and Aliases the other names it has.
	By      []Pull
	Aliases []string
}

// Enabled reports whether an administrator's link pulls the unit in. Ask for
// the unit's own name: an alias has the state "alias".
func (e Enablement) Enabled() bool { return e.State == "enabled" }

// Enablement finds out whether a unit is enabled.
func (u *Units) Enablement(name string) (Enablement, error) {
	unit, err := u.Unit(name)
	if err != nil {
		return Enablement{}, err
	}
	e := Enablement{Aliases: slices.Sorted(slices.Values(u.aliases[unit.ID]))}
	for _, p := range u.pulls {
		if p.Unit == name || p.Unit == unit.ID || contains(e.Aliases, p.Unit) {
			e.By = append(e.By, p)
		}
	}
	var install int
	for _, a := range unit.Settings {
		if a.Section == "Install" && a.Value != "" {
			switch a.Key {
			case "WantedBy", "RequiredBy", "UpheldBy", "Alias":
				install++
			}
		}
	}
	switch {
	case unit.State == Masked:
		e.State = "masked"
	case unit.State == NotFound:
		e.State = "not-found"
	case unit.Name != unit.ID:
		e.State = "alias"
	case u.enabledLink(e.By) || u.installAlias(unit):
		e.State = "enabled"
	case install == 0 && len(unit.Settings.All("Install", "Also")) > 0:
		e.State = "indirect"
	case install == 0:
		e.State = "static"
	default:
		e.State = "disabled"
	}
	return e, nil
}

// enabledLink reports whether one of the links is in /etc or /run: those in
// the packages' directories make a unit static, not enabled.
func (u *Units) enabledLink(pulls []Pull) bool {
	for _, p := range pulls {
		if strings.HasPrefix(p.Path, "/etc/") || strings.HasPrefix(p.Path, "/run/") {
			return true
		}
	}
	return false
}

// installAlias reports whether a name of the unit's Alias= exists as a link in /etc.
func (u *Units) installAlias(unit *Unit) bool {
	for _, a := range unit.Settings.Words("Install", "Alias") {
		p := path.Join("/etc/systemd/system", a.Value)
		if t, ok := source.Link(u.root, p); ok && path.Base(t) == unit.ID {
			return true
		}
	}
	return false
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// AtBoot walks the dependencies from default.target and returns each unit
// that systemd would try to start, with the unit that pulls it in. Sockets,
// timers and paths are followed to themselves, not to what they may start later.
// The result is shared: do not change it.
func (u *Units) AtBoot() (map[string]string, error) {
	u.bootOnce.Do(func() { u.boot, u.bootErr = u.walkBoot() })
	return u.boot, u.bootErr
}

func (u *Units) walkBoot() (map[string]string, error) {
	started := map[string]string{}
	type want struct{ unit, by string }
	queue := []want{{"default.target", ""}}
	for len(queue) > 0 {
		w := queue[0]
		queue = queue[1:]
		unit, err := u.Unit(w.unit)
		if err != nil {
			return nil, err
		}
		if _, ok := started[unit.ID]; ok || unit.State != Loaded {
			continue
		}
		started[unit.ID] = w.by
		names := append([]string{unit.ID, unit.Name}, u.aliases[unit.ID]...)
		for _, k := range []string{"Wants", "Requires", "Requisite", "BindsTo", "Upholds"} {
			for _, a := range unit.Settings.Words("Unit", k) {
				queue = append(queue, want{a.Value, unit.ID})
			}
		}
		for _, p := range u.pulls {
			if contains(names, p.Target) {
				queue = append(queue, want{p.Unit, unit.ID})
			}
		}
		if d, _ := unit.Settings.Last("Unit", "DefaultDependencies"); boolean(d.Value, true) {
			switch path.Ext(unit.ID) {
			case ".service":
				queue = append(queue, want{"sysinit.target", unit.ID})
			case ".timer", ".socket", ".path":
				queue = append(queue, want{"sysinit.target", unit.ID})
			}
		}
	}
	return started, nil
}

// boolean reads systemd's booleans; def stands for an empty or odd value.
func boolean(s string, def bool) bool {
	switch strings.ToLower(s) {
	case "1", "yes", "y", "true", "t", "on":
		return true
	case "0", "no", "n", "false", "f", "off":
		return false
	}
	return def
}
