package validate

import (
	"context"
	"path"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func sudoWithoutPassword() Check {
	return Check{
		ID:         "sudo-without-password",
		Title:      "an account of the image becomes root without a password",
		Why:        `Rules for the account that built the image stay behind. cloud-init writes its own for the account that it makes, at the first boot.`,
		Reads:      "/etc/sudoers and /etc/sudoers.d",
		Scope:      "images, not running nodes",
		Fix:        "rm -f /etc/sudoers.d/90-cloud-init-users, or the line",
		Severity:   Error,
		References: []string{"https://cloudinit.readthedocs.io/en/latest/reference/modules.html#users-and-groups", "https://www.sudo.ws/docs/man/sudoers.man/"},
		AppliesTo:  (*Node).image,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			files := []string{"/etc/sudoers"}
			entries, err := n.list("/etc/sudoers.d")
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				// sudo skips names with a dot and those that end in a tilde.
				if !e.IsDir() && !strings.Contains(e.Name(), ".") && !strings.HasSuffix(e.Name(), "~") {
					files = append(files, path.Join("/etc/sudoers.d", e.Name()))
				}
			}
			var found []Finding
			for _, file := range files {
				data, err := n.read(file)
				if err != nil {
					return nil, err
				}
				for _, l := range source.Lines(file, data) {
					text, _, _ := strings.Cut(l.Text, "#")
					words := strings.Fields(text)
					if len(words) < 2 || !strings.Contains(text, "NOPASSWD:") && !strings.Contains(text, "!authenticate") {
						continue
					}
					found = append(found, Finding{Key: words[0], Got: strings.Join(words, " "), Want: "no such rule"}.at(l.Pos))
				}
			}
			return found, nil
		},
	}
}
