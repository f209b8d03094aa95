package validate

import (
	"context"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/systemd"
)

func networkdFlushesRoutes() Check {
	return Check{
		ID:    "networkd-flushes-routes",
		Title: "systemd-networkd removes the routes and rules of the CNI add-on",
		Why: `When a link is set up again, or networkd restarts with an upgrade, it drops routes and routing rules that
it did not make: pods lose their network until the CNI add-on is restarted.`,
		Reads:      "networkd.conf with its drop-ins",
		Scope:      "nodes whose network systemd-networkd configures",
		Fix:        "printf '[Network]\\nManageForeignRoutes=no\\nManageForeignRoutingPolicyRules=no\\n' > /etc/systemd/networkd.conf.d/50-cni.conf",
		Severity:   Warning,
		References: []string{"kubernetes/kops#17433", "https://www.freedesktop.org/software/systemd/man/latest/networkd.conf.html"},
		AppliesTo: func(n *Node) (string, error) {
			units, err := n.units()
			if err != nil {
				return "", err
			}
			e, err := units.Enablement("systemd-networkd.service")
			if err == nil && !e.Enabled() {
				return "systemd-networkd does not start at boot", nil
			}
			return "", err
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			conf, _, err := systemd.Conf(n.Root, "networkd.conf")
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, key := range []string{"ManageForeignRoutes", "ManageForeignRoutingPolicyRules"} {
				a, ok := conf.Last("Network", key)
				if ok && slices.Contains([]string{"no", "0", "false", "off", "n", "f"}, strings.ToLower(a.Value)) {
					continue
				}
				f := Finding{Key: key, Got: "not set, so yes", Want: key + "=no"}
				if ok {
					f.Got = key + "=" + a.Value
					found = append(found, f.at(a.Pos))
					continue
				}
				found = append(found, f.at(source.Position{File: "/etc/systemd/networkd.conf"}))
			}
			return found, nil
		},
	}
}
