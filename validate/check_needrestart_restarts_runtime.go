package validate

import (
	"context"
	"path"
	"regexp"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func needrestartRestartsRuntime() Check {
	return Check{
		ID:    "needrestart-restarts-runtime",
		Title: "needrestart restarts containerd or the kubelet after an upgrade of a library",
		Why: `needrestart's own configuration spares docker, not containerd and not the kubelet. On Ubuntu it runs after
every apt call and restarts by itself.`,
		Reads:      "/etc/needrestart/needrestart.conf and conf.d",
		Scope:      "nodes with needrestart",
		Fix:        "printf '$nrconf{override_rc}{qr(^containerd)} = 0;\\n$nrconf{override_rc}{qr(^kubelet)} = 0;\\n' > /etc/needrestart/conf.d/90-kubernetes.conf",
		Severity:   Warning,
		References: []string{"https://github.com/liske/needrestart", "https://bugs.launchpad.net/bugs/1870514"},
		AppliesTo: func(n *Node) (string, error) {
			ok, err := n.exists("/usr/sbin/needrestart")
			if err == nil && !ok {
				return "needrestart is not installed", nil
			}
			return "", err
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			files := []string{"/etc/needrestart/needrestart.conf"}
			entries, err := n.list("/etc/needrestart/conf.d")
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				if path.Ext(e.Name()) == ".conf" {
					files = append(files, path.Join("/etc/needrestart/conf.d", e.Name()))
				}
			}
			spared := map[string]bool{}
			for _, f := range files {
				data, err := n.read(f)
				if err != nil {
					return nil, err
				}
				for _, l := range source.Lines(f, data) {
					text, _, _ := strings.Cut(l.Text, "#")
					if needrestartLists.MatchString(text) {
						return nil, nil // it only lists, and restarts nothing
					}
					for _, name := range []string{"containerd", "kubelet"} {
						// override_rc is set in one line or over many.
						if strings.Contains(text, "qr(^"+name) && strings.Contains(text, "0") {
							spared[name] = true
						}
					}
				}
			}
			var found []Finding
			for _, name := range []string{"containerd", "kubelet"} {
				if !spared[name] {
					found = append(found, Finding{File: "/etc/needrestart/needrestart.conf", Key: "override_rc", Got: name + ".service is restarted", Want: "qr(^" + name + ") => 0"})
				}
			}
			return found, nil
		},
	}
}

var needrestartLists = regexp.MustCompile(`^\s*\$nrconf\{restart\}\s*=\s*['"]l['"]`)
