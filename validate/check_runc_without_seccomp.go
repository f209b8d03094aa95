package validate

import (
	"context"
	"path"
	"strings"
)

func runcWithoutSeccomp() Check {
	return Check{
		ID:    "runc-without-seccomp",
		Title: "runc was built without seccomp, and no container starts",
		Why: `Every container has a seccomp profile by default. runc built without the tag says: unable to init seccomp:
seccomp: config provided but seccomp not supported.`,
		Reads:      "the build tags recorded in each runc that a handler starts",
		Scope:      "nodes with containerd and a runc that records its build tags",
		Fix:        "build runc with -tags seccomp; runc --version then prints a libseccomp line",
		Severity:   Error,
		References: []string{"https://github.com/opencontainers/runc#build-tags"},
		AppliesTo: func(n *Node) (string, error) {
			if reason, err := withCRI(n); reason != "" || err != nil {
				return reason, err
			}
			copies, err := n.runcs()
			if err != nil {
				return "", err
			}
			for _, r := range copies {
				if tagged(r) {
					return "", nil
				}
			}
			return "no runc that records its build tags", nil
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			copies, err := n.runcs()
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, r := range copies {
				if tagged(r) && !r.Info.HasTag("seccomp") {
					found = append(found, Finding{File: r.Path, Key: "-tags", Got: strings.TrimSpace("build tags: " + strings.Join(r.Info.Tags, " ")), Want: "seccomp among them"})
				}
			}
			return found, nil
		},
	}
}

// tagged tells whether a program is a runc whose build is recorded: packagers
// that build without modules leave the record out.
func tagged(r runc) bool {
	return r.Info != nil && len(r.Info.Settings) > 0 && path.Base(r.Info.Package) == "runc"
}
