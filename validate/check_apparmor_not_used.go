package validate

import (
	"context"
	"strings"
)

func apparmorNotUsed() Check {
	return Check{
		ID:    "apparmor-not-used",
		Title: "containers are not confined by AppArmor",
		Why: `containerd uses AppArmor only if the kernel has it on and apparmor_parser is there; otherwise it says
nothing and starts containers unconfined. Pods that name an AppArmor profile are refused, and what the booted
suite sees of pods that end proves nothing: no profile can deny a signal. It fails such an image as well.`,
		Reads:      "apparmor_parser, and apparmor= and lsm= on the kernel command lines",
		Scope:      "nodes with containerd whose CRI loads",
		Fix:        "apt-get install apparmor",
		Severity:   Error,
		References: []string{"https://github.com/containerd/containerd/blob/main/pkg/apparmor/apparmor_linux.go", "https://kubernetes.io/docs/tutorials/security/apparmor/"},
		AppliesTo:  withCRI,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			var found []Finding
			policy, err := n.apparmor()
			if err != nil {
				return nil, err
			}
			if !policy.Parser {
				found = append(found, Finding{File: "/sbin/apparmor_parser", Got: "not there", Want: "the parser, from the package apparmor", Fix: "apt-get install apparmor"})
			}
			b, err := n.bootloader()
			if err != nil {
				return nil, err
			}
			seen := map[string]bool{}
			for _, e := range b.Boots() {
				for _, key := range []string{"apparmor", "security", "lsm"} {
					a, ok := e.Args.Last(key)
					off := ok && (key == "apparmor" && a.Value == "0" || key != "apparmor" && !strings.Contains(","+a.Value+",", ",apparmor,"))
					if id := a.Pos.File + key; off && !seen[id] {
						seen[id] = true
						found = append(found, Finding{Key: a.Key, Got: a.String() + ", which leaves AppArmor off", Want: "AppArmor on",
							Fix: "remove " + a.String() + " from the kernel command line, then update-grub"}.at(a.Pos))
					}
				}
			}
			return found, nil
		},
	}
}
