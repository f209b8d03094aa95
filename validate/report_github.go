package validate

import (
	"fmt"
	"io"
	"strings"
)

// WriteGitHub prints one workflow command a finding, which GitHub Actions
// shows as annotations, and a line with the count. The files of an image are
// none of the repository's, so they stand in the text.
func (r Report) WriteGitHub(w io.Writer) error {
	for _, f := range r.Findings {
		command := ""
		switch {
		case f.Outcome == Fail:
			command = "error"
		case f.Outcome == Warn:
			command = "warning"
		case f.untold:
			command = "notice"
		default:
			continue
		}
		title := f.ID + ": " + r.check(f.ID).Title
		if _, err := fmt.Fprintf(w, "::%s title=%s::%s\n", command, escapeProperty(title), escapeData(r.Target+"\n"+f.plainText())); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%s: %s, %s failed\n", escapeData(r.Target), r.Verdict, plural(r.red(), "check"))
	return err
}

// escapeData is how workflow commands want a message.
func escapeData(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func escapeProperty(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(escapeData(s))
}
