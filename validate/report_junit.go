package validate

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Failure *junitMessage `xml:"failure"`
	Skipped *junitMessage `xml:"skipped"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// WriteJUnit prints the report as JUnit XML: one test case a check. Warnings
// are passed cases with their text in system-out.
func (r Report) WriteJUnit(w io.Writer) error {
	suite := junitSuite{Name: "nodeimage validate " + r.Target, Time: fmt.Sprintf("%.3f", r.Elapsed.Seconds())}
	for _, found := range r.byCheck() {
		id := found[0].ID
		c := junitCase{Name: id, Class: "nodeimage.validate"}
		var fails, warns []string
		for _, f := range found {
			switch f.Outcome {
			case Fail:
				fails = append(fails, f.plainText())
			case Warn:
				warns = append(warns, f.plainText())
			case Skip:
				c.Skipped = &junitMessage{Message: xmlText(f.Got)}
				suite.Skipped++
			}
		}
		if len(fails) > 0 {
			c.Failure = &junitMessage{Message: r.check(id).Title, Type: id, Text: strings.Join(fails, "\n\n")}
			suite.Failures++
		}
		c.Out = strings.Join(warns, "\n\n")
		suite.Cases = append(suite.Cases, c)
	}
	suite.Tests = len(suite.Cases)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(junitSuites{Suites: []junitSuite{suite}}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// byCheck groups the findings, in order.
func (r Report) byCheck() [][]Finding {
	var out [][]Finding
	for _, f := range r.Findings {
		if n := len(out); n > 0 && out[n-1][0].ID == f.ID {
			out[n-1] = append(out[n-1], f)
			continue
		}
		out = append(out, []Finding{f})
	}
	return out
}

// plainText is a finding on a few lines, without colour.
func (f Finding) plainText() string {
	var b strings.Builder
	if f.File != "" {
		fmt.Fprintf(&b, "at   %s\n", source.Position{File: f.File, Line: f.Line})
	}
	for _, field := range [][2]string{{"key", f.Key}, {"got", f.Got}, {"want", f.Want}, {"fix", f.Fix}, {"see", strings.Join(f.See, " ")}} {
		if field[1] != "" {
			fmt.Fprintf(&b, "%-4s %s\n", field[0], strings.ReplaceAll(field[1], "\n", "\n     "))
		}
	}
	return xmlText(strings.TrimRight(b.String(), "\n"))
}

// xmlText drops what XML 1.0 cannot hold, and steering characters with it.
func xmlText(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= 0x20 && r != 0x7f && r != 0xfffe && r != 0xffff && !(r >= 0x80 && r <= 0x9f) {
			return r
		}
		return '\ufffd'
	}, strings.ToValidUTF8(s, "\ufffd"))
}
