package validate

import (
	"encoding/json"
	"io"
	"net/url"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/version"
)

type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool struct {
		Driver sarifDriver `json:"driver"`
	} `json:"tool"`
	Bases   map[string]sarifURI `json:"originalUriBaseIds"`
	Results []sarifResult       `json:"results"`
}

type sarifDriver struct {
	Name    string      `json:"name"`
	Version string      `json:"version"`
	InfoURI string      `json:"informationUri"`
	Rules   []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID      string    `json:"id"`
	Short   sarifText `json:"shortDescription"`
	Full    sarifText `json:"fullDescription"`
	Help    sarifText `json:"help"`
	HelpURI string    `json:"helpUri,omitempty"`
	Config  struct {
		Level string `json:"level"`
	} `json:"defaultConfiguration"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifURI struct {
	URI    string     `json:"uri,omitempty"`
	BaseID string     `json:"uriBaseId,omitempty"`
	About  *sarifText `json:"description,omitempty"`
}

type sarifResult struct {
	RuleID    string          `json:"ruleId"`
	RuleIndex int             `json:"ruleIndex"`
	Kind      string          `json:"kind"`
	Level     string          `json:"level"`
	Message   sarifText       `json:"message"`
	Locations []sarifLocation `json:"locations"`
}

type sarifLocation struct {
	Physical struct {
		Artifact sarifURI     `json:"artifactLocation"`
		Region   *sarifRegion `json:"region,omitempty"`
	} `json:"physicalLocation"`
	Logical []sarifLogical `json:"logicalLocations,omitempty"`
}

type sarifRegion struct {
	StartLine int `json:"startLine"`
}

type sarifLogical struct {
	Name string `json:"fullyQualifiedName"`
}

// WriteSARIF prints the report as SARIF 2.1.0. Files are relative to the base
// TARGETROOT, the root of the target; a finding without a file points at the
// target as a whole.
func (r Report) WriteSARIF(w io.Writer) error {
	run := sarifRun{
		Bases:   map[string]sarifURI{"TARGETROOT": {About: &sarifText{"the root file system of " + r.Target}}},
		Results: []sarifResult{},
	}
	run.Tool.Driver = sarifDriver{Name: "nodeimage validate", Version: version.String(),
		InfoURI: "https://github.com/nodeimage/packer-plugin-nodeimage", Rules: []sarifRule{}}
	index := map[string]int{}
	for i, c := range r.checks {
		index[c.ID] = i
		rule := sarifRule{ID: c.ID, Short: sarifText{c.Title}, Full: sarifText{oneLine(c.Why)}, Help: sarifText{c.Fix}}
		if urls := c.URLs(); len(urls) > 0 {
			rule.HelpURI = urls[0]
		}
		rule.Config.Level = string(c.Severity)
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, rule)
	}
	for _, f := range r.Findings {
		if f.Outcome != Fail && f.Outcome != Warn {
			continue
		}
		result := sarifResult{RuleID: f.ID, RuleIndex: index[f.ID], Kind: "fail", Level: string(f.Severity), Message: sarifText{f.plainText()}}
		var l sarifLocation
		l.Physical.Artifact = sarifURI{URI: escapePath(strings.TrimPrefix(f.File, "/")), BaseID: "TARGETROOT"}
		if f.File == "" {
			l.Physical.Artifact = sarifURI{URI: escapePath(r.Target)}
		}
		if f.Line > 0 {
			l.Physical.Region = &sarifRegion{f.Line}
		}
		if f.Key != "" {
			l.Logical = []sarifLogical{{f.Key}}
		}
		result.Locations = []sarifLocation{l}
		run.Results = append(run.Results, result)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}

// escapePath makes a URI reference; a colon in a name is not taken for a scheme.
func escapePath(p string) string { return (&url.URL{Path: p}).String() }

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
