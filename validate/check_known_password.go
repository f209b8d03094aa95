package validate

import (
	"context"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func knownPassword() Check {
	return Check{
		ID:         "known-password",
		Title:      "an account of the image has a password, an empty one, or root's rights",
		Why:        `Every machine made from the image has the same password, and whoever has the image can try to guess it at leisure. An empty one needs no guessing; a second account with user ID 0 is root by another name.`,
		Reads:      "/etc/shadow, its backup, and /etc/passwd",
		Scope:      "images, not running nodes",
		Fix:        "passwd --lock ACCOUNT",
		Severity:   Error,
		References: []string{"https://manpages.debian.org/trixie/passwd/shadow.5.en.html", "https://cloudinit.readthedocs.io/en/latest/reference/modules.html#set-passwords"},
		AppliesTo:  (*Node).image,
		Run:        runKnownPassword,
	}
}

func runKnownPassword(_ context.Context, n *Node) ([]Finding, error) {
	var found []Finding
	for _, file := range []string{"/etc/shadow", "/etc/shadow-", "/etc/passwd"} {
		data, err := n.read(file)
		if err != nil {
			return nil, err
		}
		for _, l := range source.Lines(file, data) {
			fields := strings.Split(l.Text, ":")
			if len(fields) < 3 || strings.HasPrefix(l.Text, "#") {
				continue
			}
			account, password := fields[0], fields[1]
			f := Finding{Key: account, Want: "a locked account", Fix: "passwd --lock " + shellWord(account)}.at(l.Pos)
			switch {
			case file == "/etc/passwd" && fields[2] == "0" && account != "root":
				f.Got, f.Want, f.Fix = "user ID 0", "no second root", "userdel -f "+shellWord(account)
				found = append(found, f)
			case file == "/etc/passwd" && password == "x":
			case password == "":
				f.Got = "an empty password"
				found = append(found, f)
			case password[0] != '!' && password[0] != '*':
				f.Got = "a password"
				found = append(found, f)
			}
		}
	}
	return found, nil
}
