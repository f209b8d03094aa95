package page

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
)

// WriteBadge writes a badge: how many cells are as planned.
func WriteBadge(w io.Writer, c matrix.Collected) error {
	good := 0
	for _, cell := range c.Cells {
		if cell.Outcome.AsPlanned() {
			good++
		}
	}
	// The darker shades have enough contrast with white (WCAG AA).
	colour := "#b3261e"
	if good == len(c.Cells) && good > 0 && len(c.Unreadable) == 0 {
		colour = "#1a7f37"
	}
	left, right := "node images", fmt.Sprintf("%d/%d as planned", good, len(c.Cells))
	// 6.6 is the width of a letter of this size in the fonts below, and the
	// text is stretched to it, so that it fits whatever font there is.
	const letter, pad = 6.6, 8.0
	l, r := float64(len(left))*letter, float64(len(right))*letter
	var title strings.Builder
	if err := xml.EscapeText(&title, []byte(left+": "+right)); err != nil {
		return fmt.Errorf("badge: %w", err)
	}
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="22" role="img" aria-label="%s"><title>%[2]s</title>`+
		`<clipPath id="r"><rect width="%[1]f" height="22" rx="4"/></clipPath><g clip-path="url(#r)"><rect width="%.1[3]f" height="22" fill="#3b434b"/><rect x="%.1[3]f" width="%.1[4]f" height="22" fill="%[5]s"/></g>`+
		`<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11"><text x="%[6]f" y="15" textLength="%[7]f" lengthAdjust="spacingAndGlyphs">%[8]s</text><text x="%[9]f" y="15" textLength="%[10]f" lengthAdjust="spacingAndGlyphs">%[11]s</text></g></svg>`+"\n",
		l+r+4*pad, title.String(), l+2*pad, r+2*pad, colour, pad, l, left, l+3*pad, r, right)
	return err
}
