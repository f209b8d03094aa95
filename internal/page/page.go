// Package page shows what a matrix came to: as one page that needs neither
// network nor JavaScript, as Markdown for a job's summary, and as a badge.
//
// All that results say is somebody else's word: names, consoles, evidence.
// html/template escapes it, the page's Content-Security-Policy forbids all that
// would run or load, and everything is cut to a length that a page can hold.
package page

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/reportfile"
)

// The names of the files that Save writes.
const (
	IndexFile   = "index.html"
	SummaryFile = "summary.md"
	BadgeFile   = "badge.svg"
)

//go:embed page.html.tmpl
var pageTemplate string

//go:embed page.css
var pageStyle string

// Save writes the page, the summary and the badge of a collected matrix into
// dir, the folder of the Collected document, each whole or not at all. What is
// shown of a cell's files is read from its folder; a folder that is gone is no
// error.
func Save(dir string, c matrix.Collected) error {
	return reportfile.Save(dir, map[string]func(io.Writer) error{
		IndexFile:   func(w io.Writer) error { return WriteHTML(w, dir, c) },
		SummaryFile: func(w io.Writer) error { return WriteMarkdown(w, c) },
		BadgeFile:   func(w io.Writer) error { return WriteBadge(w, c) },
	})
}

// WriteHTML writes the page. dir is as in Save.
func WriteHTML(w io.Writer, dir string, c matrix.Collected) error {
	t, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return fmt.Errorf("page: %w", err)
	}
	return t.Execute(w, struct {
		view
		Style template.CSS
	}{newView(dir, c), template.CSS(pageStyle)})
}
