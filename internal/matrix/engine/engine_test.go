package engine_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix/engine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix/matrixtest"
)

var update = flag.Bool("update", false, "write the golden files")

// shipped is the matrix that comes with the project.
const shipped = "../../../docs/templates/matrix/matrix.yaml"

func options(t *testing.T) engine.Options {
	t.Helper()
	m, err := matrix.Load(shipped)
	if err != nil {
		t.Fatal(err)
	}
	e, err := m.Expand(t.Context(), matrixtest.Tool(), matrix.NoBases)
	if err != nil {
		t.Fatal(err)
	}
	return engine.Options{
		Matrix: m, Expanded: e, MatrixFile: "matrix.yaml", TicketFile: "ticket.json", Shards: 3, Retries: 2,
		Kubernetes: engine.KubernetesOptions{Namespace: "images", Image: "registry.example.org/nodeimage@sha256:" + strings.Repeat("0", 64), Claim: "results", Parallelism: 2, KVM: "devices.kubevirt.io/kvm"},
	}
}

// What each engine gets is kept, so that the engines' own schemas can be held
// against the very text (see TestSchemas). IDs change with every profile, so
// they are not kept.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, e := range engine.Engines() {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			got, err := engine.Document(e.Name, o)
			if err != nil {
				t.Fatal(err)
			}
			sum := o.Expanded.Plan.SHA256
			got = bytes.ReplaceAll(got, []byte(sum), []byte("PLAN"))
			got = bytes.ReplaceAll(got, []byte(sum[:16]), []byte("0123456789abcdef"))
			got = bytes.ReplaceAll(got, []byte(sum[:12]), []byte("0123456789ab"))
			if e.Name == "kubernetes" {
				got = withoutData(t, got)
			}
			file := filepath.Join("testdata", e.Name+".json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s; if it is meant, run 'go test ./internal/matrix/engine -update' (-golden +got):\n%s", file, diff)
			}
		})
	}
}

// withoutData leaves the files out of the ConfigMap; they are tested below.
func withoutData(t *testing.T, data []byte) []byte {
	t.Helper()
	var list map[string]any
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	for key := range list["items"].([]any)[0].(map[string]any)["data"].(map[string]any) {
		list["items"].([]any)[0].(map[string]any)["data"].(map[string]any)[key] = ""
	}
	out, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

// A pod that has the ConfigMap's files plans the same cells and takes the ticket.
func TestConfigMapIsThePlan(t *testing.T) {
	t.Parallel()
	o := options(t)
	data, err := engine.Document("kubernetes", o)
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	var config corev1.ConfigMap
	var job batchv1.Job
	if err := json.Unmarshal(data, &list); err != nil || len(list.Items) != 2 {
		t.Fatalf("%d items, %v", len(list.Items), err)
	}
	for i, into := range []any{&config, &job} {
		dec := json.NewDecoder(bytes.NewReader(list.Items[i]))
		dec.DisallowUnknownFields()
		if err := dec.Decode(into); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	for _, item := range job.Spec.Template.Spec.Volumes[0].ConfigMap.Items {
		if err := os.WriteFile(filepath.Join(dir, item.Path), []byte(config.Data[item.Key]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := matrix.Load(filepath.Join(dir, "matrix.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := m.Expand(t.Context(), matrixtest.Tool(), matrix.NoBases)
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := matrix.ReadTicket(filepath.Join(dir, "ticket.json"))
	if err != nil {
		t.Fatal(err)
	}
	if cells, err := ticket.Check(e.Plan); err != nil || len(cells) != len(o.Expanded.Plan.Cells) {
		t.Errorf("%d cells, %v", len(cells), err)
	}
}

// A node need not give KVM out to have images looked at.
func TestOnlyABootAsksForKVM(t *testing.T) {
	t.Parallel()
	for _, booted := range []bool{true, false} {
		o := options(t)
		if !booted {
			for i := range o.Expanded.Plan.Cells {
				o.Expanded.Plan.Cells[i].Suite.Stages = []matrix.Stage{matrix.StageValidate}
			}
		}
		data, err := engine.Document("kubernetes", o)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), o.Kubernetes.KVM) != booted || strings.Contains(string(data), `"kvm"`) != booted {
			t.Errorf("booted %v: the job asks for KVM or not:\n%s", booted, data)
		}
	}
}

// The shards of all jobs are all cells that are wanted.
func TestJobsAreAllCells(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Expanded.Plan.Cells[0].Attested = &matrix.Attested{}
	for _, shards := range []int{0, 1, 2, 100} {
		o.Shards = shards
		data, err := engine.Document("argo", o)
		if err != nil {
			t.Fatal(err)
		}
		var jobs []engine.Job
		if err := json.Unmarshal(data, &jobs); err != nil {
			t.Fatal(err)
		}
		cells := 0
		for _, j := range jobs {
			cells += j.Cells
			if j.Cells == 0 {
				t.Errorf("%d shards: one has no cell", shards)
			}
			if _, err := matrix.ParseShard(j.Shard); err != nil {
				t.Error(err)
			}
		}
		if want := len(o.Expanded.Plan.Cells) - 1; cells != want {
			t.Errorf("%d shards: %d cells, want %d", shards, cells, want)
		}
	}
}

func TestNothingToRun(t *testing.T) {
	t.Parallel()
	o := options(t)
	for i := range o.Expanded.Plan.Cells {
		o.Expanded.Plan.Cells[i].Attested = &matrix.Attested{}
	}
	for name, want := range map[string]string{"github": `"include": []`, "argo": "[]", "buildkite": `"steps": []`, "gitlab": "nothing to run", "kubernetes": "ConfigMap"} {
		got, err := engine.Document(name, o)
		if err != nil || !strings.Contains(string(got), want) || strings.Contains(string(got), `"Job"`) {
			t.Errorf("%s: %s, %v; want %s and no job", name, got, err, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, engine string
		change       func(*engine.Options)
		want         string
	}{
		{"unknown", "jenkins", nil, `no engine is called "jenkins"`},
		{"no image", "kubernetes", func(o *engine.Options) { o.Kubernetes.Image = "" }, "--image"},
		{"no claim", "kubernetes", func(o *engine.Options) { o.Kubernetes.Claim = "" }, "--results-claim"},
		{"a path with a command in it", "gitlab", func(o *engine.Options) { o.MatrixFile = "m.yaml; true" }, "stands in the commands"},
		{"too many", "github", func(o *engine.Options) { o.Shards, o.Expanded.Plan = 300, matrixtest.Plan(600) }, "takes 256 jobs at most and there are 300"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			if tt.change != nil {
				tt.change(&o)
			}
			if _, err := engine.Document(tt.engine, o); exitcode.Of(err) != exitcode.Usage || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}
