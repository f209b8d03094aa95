package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"
)

// A spec that asks for the machine or the cluster may be the one that makes
// it, so its limit holds what that takes. The host of one run gave a third of
// what it gave before: the boot took 215 s, and "runs without swap", the only
// spec to run, had 180 s for it.
func TestSpecLimitsHoldTheirStages(t *testing.T) {
	t.Parallel()
	asks := map[string]string{
		"needMachine": "onMachine", "primaryFacts": "onMachine",
		"needCluster": "onCluster", "needPods": "onCluster", "needDeleted": "onCluster",
	}
	// What holds more than the key does.
	holds := map[string][]string{"onMachine": {"onMachine", "onCluster", "bootLimit"}, "onCluster": {"onCluster", "initLimit"}}
	files, err := filepath.Glob("spec_*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no specs: %v", err)
	}
	specs := 0
	for _, file := range files {
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || named(call.Fun) != "It" {
				return true
			}
			specs++
			limit := names(call.Args[:len(call.Args)-1])
			for name := range names(call.Args[len(call.Args)-1:]) {
				want, ok := asks[name]
				if ok && !anyOf(limit, holds[want]) {
					t.Errorf("%s: the spec asks %s and its SpecTimeout is not %s(…)", fset.Position(call.Pos()), name, want)
				}
			}
			return true
		})
	}
	if specs < 30 {
		t.Errorf("found only %d specs", specs)
	}
}

// names returns every function and constant that is named below the nodes.
func names(nodes []ast.Expr) map[string]bool {
	found := map[string]bool{}
	for _, n := range nodes {
		ast.Inspect(n, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok {
				if name := named(e); name != "" {
					found[name] = true
				}
			}
			return true
		})
	}
	return found
}

func named(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

func anyOf(have map[string]bool, want []string) bool {
	for _, w := range want {
		if have[w] {
			return true
		}
	}
	return false
}
