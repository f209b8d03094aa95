package e2e

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
)

// thresholdsPage says where each number comes from.
const thresholdsPage = "../docs/thresholds.md"

// pageRows returns the second cells of the page's tables by the first, which
// is in backquotes.
func pageRows(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile(thresholdsPage)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+?) \\|").FindAllStringSubmatch(string(page), -1) {
		if _, twice := rows[m[1]]; twice {
			t.Errorf("%s: two rows for %s", thresholdsPage, m[1])
		}
		rows[m[1]] = m[2]
	}
	return rows
}

// The page and the code have the same thresholds with the same values, so that
// none is changed without its reason.
func TestThresholdsPage(t *testing.T) {
	t.Parallel()
	values := map[string]any{
		"slackKVM": slackKVM, "slackTCG": slackTCG, "nodeSlackKVM": nodeSlackKVM, "nodeSlackTCG": nodeSlackTCG,
		"stubbornTolerance": stubbornTolerance, "sandboxGC": sandboxGC,
		"bootLimit": bootLimit, "initLimit": initLimit, "settleLimit": settleLimit, "podsLimit": podsLimit, "restartLimit": restartLimit,
		"rebootLimit": rebootLimit, "commandLimit": commandLimit, "evidenceLimit": evidenceLimit, "explainLimit": explainLimit,
		"oracleInterval": oracleInterval, "nodeInterval": nodeInterval, "soakInterval": soakInterval, "leaseInterval": leaseInterval, "growBy": fmt.Sprintf("%d GiB", growBy>>30),
		"DefaultSoak": DefaultSoak, "insistFor": insistFor, "insistInterval": insistInterval,
		"StarvedInterval": machine.StarvedInterval, "StarvedShare": machine.StarvedShare, "StarvedFor": machine.StarvedFor, "StarvedMemory": machine.StarvedMemory,
		"paceLimit": paceLimit, "podsAtOnce": podsAtOnce, "podsAtOnceTCG": podsAtOnceTCG, "controlPlaneContainers": controlPlaneContainers,
	}
	rows := pageRows(t)
	for name, want := range values {
		if got := rows[name]; got != fmt.Sprint(want) {
			t.Errorf("%s has %q for %s, the code has %v", thresholdsPage, got, name, want)
		}
	}
	for _, file := range []string{"thresholds.go", "insist.go", "pace.go", "machine/starved.go"} {
		for _, name := range constants(t, file) {
			if _, known := values[name]; !known {
				t.Errorf("%s: this test and %s must say what %s is and why", file, thresholdsPage, name)
			}
		}
	}
	for _, c := range cause.Catalogue() {
		want := ""
		if c.Fatal > 0 {
			want = fmt.Sprint(c.Fatal)
		}
		if got := rows[c.ID]; got != want {
			t.Errorf("%s has %q lines for %s, the code has %d", thresholdsPage, got, c.ID, c.Fatal)
		}
	}
}

func constants(t *testing.T, file string) (names []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range parsed.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.CONST {
			continue
		}
		for _, spec := range decl.Specs {
			for _, n := range spec.(*ast.ValueSpec).Names {
				names = append(names, n.Name)
			}
		}
	}
	if len(names) == 0 {
		t.Errorf("%s has no constants", file)
	}
	return names
}

// Numbers that the package cluster judges by are on the same page.
func TestThresholdsPageOfCluster(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("cluster/events.go")
	if err != nil {
		t.Fatal(err)
	}
	rows := pageRows(t)
	for _, name := range []string{"sandboxRepeats", "sandboxPods"} {
		if !strings.Contains(string(source), name+" = "+rows[name]+"\n") || rows[name] == "" {
			t.Errorf("%s has %q for %s, cluster/events.go has another value", thresholdsPage, rows[name], name)
		}
	}
}
