package validate

import (
	"context"
	"path"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func sshRootLogin() Check {
	return Check{
		ID:         "ssh-root-login",
		Title:      "sshd lets root in with a password, or anybody with an empty one",
		Why:        `Nodes are reached from pods. A guessed password of root's is the whole node, and with the kubelet's credentials every pod on it.`,
		Reads:      "sshd's configuration with its includes; the first value wins",
		Scope:      "nodes with an SSH server",
		Fix:        "printf 'PermitRootLogin prohibit-password\\nPermitEmptyPasswords no\\n' > /etc/ssh/sshd_config.d/10-nodeimage.conf",
		Severity:   Warning,
		References: []string{"https://manpages.debian.org/trixie/openssh-server/sshd_config.5.en.html"},
		AppliesTo: func(n *Node) (string, error) {
			ok, err := n.exists("/etc/ssh/sshd_config")
			if err == nil && !ok {
				return "there is no SSH server", nil
			}
			return "", err
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			settings := map[string]source.Line{}
			if err := n.sshd("/etc/ssh/sshd_config", settings, 0); err != nil {
				return nil, err
			}
			var found []Finding
			for _, key := range []string{"PermitRootLogin", "PermitEmptyPasswords"} {
				if l, ok := settings[strings.ToLower(key)]; ok && strings.EqualFold(l.Text, "yes") {
					found = append(found, Finding{Key: key, Got: "yes", Want: map[string]string{"PermitRootLogin": "prohibit-password or no", "PermitEmptyPasswords": "no"}[key]}.at(l.Pos))
				}
			}
			return found, nil
		},
	}
}

// sshd collects the global settings of sshd_config by their lower-case name:
// the first one counts, and a Match section ends them.
func (n *Node) sshd(file string, settings map[string]source.Line, depth int) error {
	data, err := n.read(file)
	if err != nil || depth > 16 { // as deep as sshd goes
		return err
	}
	for _, l := range source.Lines(file, data) {
		words := strings.FieldsFunc(l.Text, func(r rune) bool { return r == ' ' || r == '\t' || r == '=' || r == '"' })
		if len(words) < 2 || words[0][0] == '#' {
			continue
		}
		switch key := strings.ToLower(words[0]); key {
		case "match":
			return nil
		case "include":
			for _, pattern := range words[1:] {
				if !path.IsAbs(pattern) {
					pattern = path.Join("/etc/ssh", pattern)
				}
				files, err := n.glob(pattern)
				if err != nil {
					return err
				}
				for _, f := range files {
					if err := n.sshd(f, settings, depth+1); err != nil {
						return err
					}
				}
			}
		default:
			if _, ok := settings[key]; !ok {
				settings[key] = source.Line{Text: words[1], Pos: l.Pos}
			}
		}
	}
	return nil
}
