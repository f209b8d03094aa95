// Command profileref writes docs/profile-reference.md from the comments of
// the profile's Go types and from the table of compatible versions.
//
// Usage: profileref -o OUTPUT PROFILE.GO
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/google/renameio/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func main() {
	out := flag.String("o", "", "file to write")
	flag.Parse()
	if *out == "" || flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: profileref -o OUTPUT PROFILE.GO")
		os.Exit(2)
	}
	if err := generate(*out, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "profileref:", err)
		os.Exit(1)
	}
}

func generate(out, source string) error {
	src, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	table, err := profiles.LoadCompatibility()
	if err != nil {
		return err
	}
	pins, err := profiles.LoadReleases()
	if err != nil {
		return err
	}
	page, err := render(src, profiles.Names(), table, pins)
	if err != nil {
		return err
	}
	return renameio.WriteFile(out, page, 0o644)
}
