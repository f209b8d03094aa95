// Command profiletable writes the table of built-in profiles into a page,
// between the two comments that mark its place.
//
// Usage: profiletable PAGE
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// The table's place in the page.
const (
	begin = "<!-- Built-in profiles, by internal/gen/profiletable. Do not edit: run go generate ./profiles. -->\n"
	end   = "<!-- End of the built-in profiles. -->\n"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: profiletable PAGE")
		os.Exit(2)
	}
	if err := generate(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "profiletable:", err)
		os.Exit(1)
	}
}

func generate(page string) error {
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	table, err := render()
	if err != nil {
		return err
	}
	text, err := replace(old, table)
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	return renameio.WriteFile(page, text, 0o644)
}

// replace puts the table between the marks.
func replace(page, table []byte) ([]byte, error) {
	head, rest, found := bytes.Cut(page, []byte(begin))
	_, tail, closed := bytes.Cut(rest, []byte(end))
	if !found || !closed {
		return nil, errors.New("the comments that mark the table's place are not there")
	}
	return bytes.Join([][]byte{head, table, tail}, nil), nil
}

// render makes the table with its marks.
func render() ([]byte, error) {
	known, err := profiles.LoadCompatibility()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString(begin)
	b.WriteString("| profile | system | kernel | Kubernetes | containerd | runc | from |\n|---|---|---|---|---|---|---|\n")
	for _, name := range profiles.Names() {
		p, err := profiles.Load(name)
		if err != nil {
			return nil, err
		}
		kernel := "`" + p.Kernel.Package + "`"
		if version, ok := known.KernelVersion(p); ok {
			kernel = version + " (" + kernel + ")"
		}
		fmt.Fprintf(&b, "| `%s` | %s %s, %s | %s | %s | %s | %s | %s |\n", name, strings.ToUpper(p.OS.Distribution[:1])+p.OS.Distribution[1:],
			p.OS.Version, p.OS.Codename, kernel, p.Components["kubernetes"].Version, p.Components["containerd"].Version, p.Components["runc"].Version, from(p))
	}
	b.WriteString(end)
	return b.Bytes(), nil
}

// from says where containerd and the node's Kubernetes programs come from.
func from(p *profiles.Profile) string {
	words := map[profiles.SourceKind]string{
		profiles.SourceGoModule: "Go modules", profiles.SourceDeb: "packages", profiles.SourceRelease: "upstream's releases", profiles.SourceFile: "files of the build host",
	}
	kubernetes, containerd := words[p.Components["kubernetes"].Source], words[p.Components["containerd"].Source]
	if kubernetes == containerd {
		return kubernetes
	}
	return kubernetes + ", containerd from " + containerd
}
