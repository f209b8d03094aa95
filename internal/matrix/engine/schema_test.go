package engine_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix/engine"
)

// templates are the documents for people that use what engines are given.
const templates = "../../../docs/templates/matrix/"

// workflow is the project's own, which uses what github is given.
const workflow = "../../../.github/workflows/matrix.yml"

type object = map[string]any

// fault is a mistake in what an engine is given, and a part of what the engine
// has to say about it.
type fault struct {
	name string
	make func(doc any)
	want string
}

// Every engine takes what is printed for it, in the place where it goes, and
// refuses it with a mistake in it.
func TestSchemas(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		engine string
		check  func(t *testing.T, doc any) error
		faults []fault
	}{
		{"github", checkGitHub, []fault{
			{"a key that the workflow does not use", renames("shard", "part"), `property "shard" is not defined`},
			{"a list that is none", func(doc any) { doc.(object)["include"] = "all" }, "array of matrix combination"},
		}},
		{"gitlab", schema("gitlab.schema.json", asItIs), []fault{
			{"a misspelt key", renames("script", "scripts"), "scripts"},
			{"an unknown word", func(doc any) { at(doc, "collect").(object)["when"] = "finally" }, "when"},
			{"exit codes that are text", func(doc any) { at(doc, "cells amd64", "retry").(object)["exit_codes"] = []any{"75"} }, "exit_codes"},
			{"more retries than there are", func(doc any) { at(doc, "cells amd64", "retry").(object)["max"] = 3 }, "max"},
		}},
		{"buildkite", schema("buildkite.schema.json", asItIs), []fault{
			{"a misspelt key", renames("artifact_paths", "artefact_paths"), "steps/0"},
			{"a number that is text", func(doc any) { at(doc, "steps", 0).(object)["parallelism"] = "3" }, "parallelism"},
			{"more tries than there are", func(doc any) { at(doc, "steps", 0, "retry", "automatic", 0).(object)["limit"] = 11 }, "limit"},
		}},
		{"argo", checkArgo, []fault{
			{"a key that the workflow does not use", renames("shard", "part"), "item.shard"},
			{"no list", func(doc any) { clear(doc.([]any)) }, "item.shard"},
		}},
		{"tekton", checkTekton, []fault{
			{"a misspelt key", renames("params", "parameters"), "parameters"},
			{"a parameter that the task has not", func(doc any) {
				at(doc, "matrix", "include", 0, "params", 0).(object)["name"] = "part"
			}, "part"},
			{"a parameter without a value", func(doc any) { delete(at(doc, "matrix", "include", 0, "params", 0).(object), "value") }, "value"},
		}},
		{"kubernetes", checkKubernetes, []fault{
			{"a misspelt key", renames("backoffLimitPerIndex", "backoffLimitByIndex"), "backoffLimitByIndex"},
			{"another case", renames("completionMode", "CompletionMode"), "CompletionMode"},
			{"a number that is text", func(doc any) { at(doc, "items", 1, "spec").(object)["completions"] = "3" }, "completions"},
			{"an unknown kind", func(doc any) { at(doc, "items", 1).(object)["kind"] = "Jobs" }, "Jobs"},
		}},
	} {
		t.Run(tt.engine, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			text, err := engine.Document(tt.engine, o)
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.check(t, parse(t, text)); err != nil {
				t.Errorf("refused: %v", err)
			}
			for _, f := range tt.faults {
				doc := parse(t, text)
				f.make(doc)
				if err := tt.check(t, doc); err == nil || !strings.Contains(err.Error(), f.want) {
					t.Errorf("%s: got %v, want a refusal with %q", f.name, err, f.want)
				}
			}
			if tt.engine == "argo" || tt.engine == "tekton" || tt.engine == "github" {
				return // their workflows do not start without a job
			}
			for i := range o.Expanded.Plan.Cells {
				o.Expanded.Plan.Cells[i].Attested = &matrix.Attested{}
			}
			if text, err = engine.Document(tt.engine, o); err != nil {
				t.Fatal(err)
			}
			if err := tt.check(t, parse(t, text)); err != nil {
				t.Errorf("with nothing to run, refused: %v", err)
			}
		})
	}
}

// parse reads JSON as the schemas' validator takes it.
func parse(t *testing.T, text []byte) any {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// readYAML reads a document for people.
func readYAML(t *testing.T, path string) object {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc object
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// at goes down into a document: a string names a key, a number an element.
func at(doc any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			doc = doc.(object)[p]
		case int:
			doc = doc.([]any)[p]
		}
	}
	return doc
}

// renames gives a key another name wherever it stands.
func renames(from, to string) func(doc any) {
	var rename func(doc any)
	rename = func(doc any) {
		switch doc := doc.(type) {
		case []any:
			for _, v := range doc {
				rename(v)
			}
		case object:
			if v, ok := doc[from]; ok {
				delete(doc, from)
				doc[to] = v
			}
			for _, v := range doc {
				rename(v)
			}
		}
	}
	return rename
}

// asItIs leaves a schema that refuses unknown keys itself.
func asItIs(any) {}

// strict makes a schema refuse keys that it does not name, as these servers do
// when they decode. What a schema leaves open on purpose stays open.
func strict(schema any) {
	switch s := schema.(type) {
	case []any:
		for _, v := range s {
			strict(v)
		}
	case object:
		_, names := s["properties"].(object)
		_, says := s["additionalProperties"]
		if open, _ := s["x-kubernetes-preserve-unknown-fields"].(bool); names && !says && !open {
			s["additionalProperties"] = false
		}
		for _, v := range s {
			strict(v)
		}
	}
}

// schema returns a check against a schema in testdata/schemas.
func schema(file string, change func(any)) func(*testing.T, any) error {
	return func(t *testing.T, doc any) error {
		t.Helper()
		text, err := os.ReadFile(filepath.Join("testdata", "schemas", file))
		if err != nil {
			t.Fatal(err)
		}
		parsed := parse(t, text)
		change(parsed)
		c := jsonschema.NewCompiler()
		if err := c.AddResource("file:///"+file, parsed); err != nil {
			t.Fatal(err)
		}
		s, err := c.Compile("file:///" + file)
		if err != nil {
			t.Fatal(err)
		}
		// Through JSON, so that numbers from YAML are the validator's.
		again, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		return s.Validate(parse(t, again))
	}
}

// checkGitHub puts the matrix into our own workflow, where it comes from a job
// otherwise, so that the linter knows what ${{ matrix.KEY }} can be.
func checkGitHub(t *testing.T, doc any) error {
	t.Helper()
	text, err := os.ReadFile(workflow)
	if err != nil {
		t.Fatal(err)
	}
	value, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	const dynamic = "matrix: ${{ fromJSON(needs.plan.outputs.matrix) }}"
	if strings.Count(string(text), dynamic) != 1 {
		t.Fatalf("%s: expected one %q", workflow, dynamic)
	}
	text = []byte(strings.Replace(string(text), dynamic, "matrix: "+string(value), 1))
	linter, err := actionlint.NewLinter(&bytes.Buffer{}, &actionlint.LinterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := linter.Lint("<stdin>", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) > 0 {
		return fmt.Errorf("%v", found)
	}
	return nil
}

var item = regexp.MustCompile(`\{\{item\.(\w+)\}\}`)

// checkArgo hands the list to the workflow for people, in which each element
// has to have what the workflow takes of it.
func checkArgo(t *testing.T, doc any) error {
	t.Helper()
	w := readYAML(t, templates+"argo.yaml")
	step := at(w, "spec", "templates", 0, "steps", 1, 0).(object)
	if step["withParam"] == nil {
		t.Fatal("the step cells does not fan out")
	}
	used, err := json.Marshal(step)
	if err != nil {
		t.Fatal(err)
	}
	list, ok := doc.([]any)
	if !ok || len(list) == 0 {
		return fmt.Errorf("expected a list, found %v", doc)
	}
	for _, m := range item.FindAllStringSubmatch(string(used), -1) {
		for _, element := range list {
			o, _ := element.(object)
			if _, ok := o[m[1]].(string); !ok {
				return fmt.Errorf("item.%s is not in %v", m[1], element)
			}
		}
	}
	// What withParam's text is read into.
	delete(step, "withParam")
	step["withItems"] = list
	return schema("argo.schema.json", strict)(t, w)
}

// checkTekton puts the matrix into the pipeline for people, whose task has to
// declare every parameter, and no more.
func checkTekton(t *testing.T, doc any) error {
	t.Helper()
	p := readYAML(t, templates+"tekton.yaml")
	task := at(p, "spec", "tasks", 0).(object)
	for key, value := range doc.(object) {
		task[key] = value
	}
	if err := schema("tekton.schema.json", strict)(t, p); err != nil {
		return err
	}
	// Parts that Tekton leaves out of its schema and checks by code.
	var declared []string
	for _, param := range at(task, "taskSpec", "params").([]any) {
		declared = append(declared, param.(object)["name"].(string))
	}
	for _, combination := range at(task, "matrix", "include").([]any) {
		var given []string
		for _, param := range at(combination, "params").([]any) {
			if _, ok := at(param, "value").(string); !ok {
				return fmt.Errorf("%v: expected a text as value", param)
			}
			given = append(given, at(param, "name").(string))
		}
		if slices.Sort(given); !slices.Equal(given, slices.Sorted(slices.Values(declared))) {
			return fmt.Errorf("parameters %v, and the task has %v", given, declared)
		}
	}
	return nil
}

// checkKubernetes decodes every object as the API server does when it is asked
// to be strict about fields.
func checkKubernetes(t *testing.T, doc any) error {
	t.Helper()
	decoder := kjson.NewSerializerWithOptions(kjson.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, kjson.SerializerOptions{Strict: true})
	for _, o := range at(doc, "items").([]any) {
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := runtime.Decoder(decoder).Decode(text, nil, nil); err != nil {
			return err
		}
	}
	return nil
}
