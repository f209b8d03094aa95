package validate

import (
	"fmt"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/systemd"
)

const containerdUnit = "containerd.service"

// hasContainerdUnit skips nodes on which systemd does not start containerd;
// containerd-not-enabled says so where that is a fault.
func hasContainerdUnit(n *Node) (string, error) { return n.hasUnit(containerdUnit) }

func (n *Node) hasUnit(name string) (string, error) {
	svc, err := n.service(name)
	if err != nil || svc.Unit.State == systemd.Loaded {
		return "", err
	}
	return fmt.Sprintf("%s is %s", name, svc.Unit.State), nil
}

// unitSetting is a finding about one setting of a service. The fix is a
// drop-in, since a package's own file comes back with the next upgrade.
func unitSetting(svc *systemd.Service, a systemd.Assignment, want, value string) Finding {
	f := Finding{Key: a.Key, Got: a.Key + "=" + a.Value, Want: want,
		Fix: fmt.Sprintf("mkdir -p /etc/systemd/system/%[1]s.d\nprintf '[Service]\\n%[2]s=%[3]s\\n' > /etc/systemd/system/%[1]s.d/50-nodeimage.conf\nsystemctl daemon-reload", svc.Unit.ID, a.Key, value)}
	pos := a.Pos
	if pos.IsDefault() {
		f.Got = "not set"
		if a.Value != "" {
			f.Got += ", so systemd's default " + a.Value
		}
		pos = source.Position{File: svc.Unit.Fragment}
	}
	return f.at(pos)
}

// notStarted is the finding for a unit that does not start at boot, nil if it does.
func (n *Node) notStarted(name string) ([]Finding, error) {
	units, err := n.units()
	if err != nil {
		return nil, err
	}
	e, err := units.Enablement(name)
	if err != nil || e.Enabled() {
		return nil, err
	}
	unit, err := units.Unit(name)
	if err != nil {
		return nil, err
	}
	boot, err := units.AtBoot()
	if err != nil {
		return nil, err
	}
	if _, ok := boot[name]; ok {
		return nil, nil
	}
	f := Finding{File: unit.Fragment, Key: name, Got: e.State, Want: "enabled", Fix: "systemctl enable " + name}
	if e.State == "masked" {
		f.Fix = "systemctl unmask " + name + "\n" + f.Fix
	}
	return []Finding{f}, nil
}
