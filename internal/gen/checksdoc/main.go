// Command checksdoc writes docs/checks.md from the catalogue of checks.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"

	"github.com/google/renameio/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/validate"
)

func main() {
	out := flag.String("o", "", "file to write")
	flag.Parse()
	if err := write(*out); err != nil {
		fmt.Fprintln(os.Stderr, "checksdoc:", err)
		os.Exit(1)
	}
}

func write(path string) error {
	var b bytes.Buffer
	if err := validate.WriteMarkdown(&b, validate.Catalogue()); err != nil {
		return err
	}
	return renameio.WriteFile(path, b.Bytes(), 0o644)
}
