package page

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
)

// How much of a text is shown, in bytes.
const (
	maxName    = 200
	maxLine    = 1000
	maxConsole = 12 << 10
)

// clean makes a text from somewhere safe to look at: no control characters
// except line ends and tabs, none that turn the direction of what follows, and
// no more than most bytes.
func clean(text string, most int) string {
	cut := len(text) > most
	if cut {
		text = text[:most]
	}
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return r
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	if cut {
		text += " […]"
	}
	return text
}

func name(text string) string { return clean(strings.ReplaceAll(text, "\n", " "), maxName) }
func line(text string) string { return clean(strings.ReplaceAll(text, "\n", " "), maxLine) }

// console is the end of what a machine's console showed, without a terminal's
// control sequences.
func console(data []byte) string {
	if len(data) > maxConsole {
		data = data[len(data)-maxConsole:]
		if i := strings.IndexByte(string(data), '\n'); i >= 0 {
			data = data[i+1:]
		}
	}
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	var b strings.Builder
	for len(text) > 0 {
		i := strings.IndexByte(text, '\x1b')
		if i < 0 {
			b.WriteString(text)
			break
		}
		b.WriteString(text[:i])
		text = afterSequence(text[i+1:])
	}
	return strings.TrimRight(clean(b.String(), maxConsole), "\n")
}

// afterSequence drops the rest of a control sequence (ECMA-48).
func afterSequence(text string) string {
	if text == "" || text[0] != '[' {
		return text
	}
	for i := 1; i < len(text); i++ {
		if text[i] >= 0x40 && text[i] <= 0x7e {
			return text[i+1:]
		}
	}
	return ""
}

// seconds is a time for people.
func seconds(s float64) string {
	switch {
	case s <= 0:
		return "–"
	case s < 10:
		return fmt.Sprintf("%.1f s", s)
	case s < 90:
		return fmt.Sprintf("%.0f s", s)
	}
	d := time.Duration(s * float64(time.Second)).Round(time.Second)
	if d < time.Hour {
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
}

// bytesText is a size for people.
func bytesText(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

func short(digest string) string {
	if len(digest) > 12 {
		digest = digest[:12]
	}
	return name(digest)
}

// look is how an outcome is shown: never by its colour alone.
type look struct {
	Class, Mark, Word, Explains string
}

var looks = map[matrix.Outcome]look{
	matrix.Good:        {"good", "✓", "passes", "green, as it must be"},
	matrix.ExpectedRed: {"known", "⚠", "known bad", "red for the cause that the matrix names"},
	matrix.Reused:      {"reused", "✓", "passed before", "not run again: a signed verdict about the same inputs"},
	matrix.Bad:         {"bad", "✗", "fails", "red, and must be green"},
	matrix.OtherRed:    {"bad", "✗", "fails otherwise", "known to be bad, and red for another cause"},
	matrix.Mended:      {"odd", "↑", "mended", "known to be bad, and green: take the entry away"},
	matrix.Expired:     {"odd", "⌛", "waiver ended", "the entry that calls it bad has ended"},
	matrix.NoVerdict:   {"none", "?", "no verdict", "it ran, and nothing can be said"},
	matrix.Missing:     {"none", "∅", "missing", "planned, and there is no result"},
}

func lookOf(o matrix.Outcome) look {
	if l, ok := looks[o]; ok {
		return l
	}
	return look{"none", "?", name(string(o)), "an outcome that this release does not know"}
}

// verdicts are the marks of runs in history.
var verdicts = map[matrix.Verdict]look{
	matrix.Passed: {Class: "good", Mark: "✓", Word: "passed"},
	matrix.Failed: {Class: "bad", Mark: "✗", Word: "failed"},
	matrix.None:   {Class: "none", Mark: "?", Word: "no verdict"},
}
