// Command benchchart writes docs/bench.md and its charts from the history of
// benchmarks.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/bench/benchlog"
)

func main() {
	history := flag.String("history", "", "history file to read")
	out := flag.String("o", "", "Markdown file to write; the charts go into the history's folder")
	flag.Parse()
	if err := write(*history, *out); err != nil {
		fmt.Fprintln(os.Stderr, "benchchart:", err)
		os.Exit(1)
	}
}

func write(history, out string) error {
	runs, err := benchlog.Read(history)
	if err != nil {
		return err
	}
	charts := filepath.Dir(history)
	for name, colours := range map[string]palette{"chart.svg": light(), "chart-dark.svg": dark()} {
		var b bytes.Buffer
		chart(&b, runs, colours)
		if err := renameio.WriteFile(filepath.Join(charts, name), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	var b bytes.Buffer
	page(&b, runs)
	return renameio.WriteFile(out, b.Bytes(), 0o644)
}
