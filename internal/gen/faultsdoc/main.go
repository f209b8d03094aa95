// Command faultsdoc writes docs/faults.md from the catalogue of faults.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"

	"github.com/google/renameio/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/faults"
)

func main() {
	out := flag.String("o", "", "file to write")
	flag.Parse()
	if err := write(*out); err != nil {
		fmt.Fprintln(os.Stderr, "faultsdoc:", err)
		os.Exit(1)
	}
}

func write(path string) error {
	all, err := faults.All()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := faults.WriteMarkdown(&b, all); err != nil {
		return err
	}
	return renameio.WriteFile(path, b.Bytes(), 0o644)
}
