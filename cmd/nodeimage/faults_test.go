package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/child"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// said runs the command line.
func said(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := newRoot(&out, &errs)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestFaultsList(t *testing.T) {
	t.Parallel()
	text, err := said(t, "faults", "list")
	if err != nil || !strings.Contains(text, "b2-apparmor-runc-elsewhere") || !strings.Contains(text, "green") {
		t.Errorf("%v\n%s", err, text)
	}
	text, err = said(t, "faults", "list", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var list []listed
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list) < 40 || len(list[0].Stages) == 0 {
		t.Errorf("%d faults, %v", len(list), err)
	}
}

func TestFaultsRunRefuses(t *testing.T) {
	t.Parallel()
	image := t.TempDir()
	for want, args := range map[string][]string{
		"name faults, or give --all":           {"--image", image},
		"no image was named":                   {"--all"},
		"a directory with --output":            {"--all", "--stage", "e2e", "--image", image},
		"--witness is for the stage e2e":       {"--all", "--witness", "--image", image},
		`no fault is called "nonsense"`:        {"nonsense", "--image", image},
		"is not declared for the stage e2e":    {"machine-id-baked-in", "--stage", "e2e", "--image", image, "-o", filepath.Join(image, "out")},
		"no built-in profile":                  {"--all", "--image", image, "--profile", "none"},
		"no such file":                         {"swap-on", "--image", filepath.Join(image, "none")},
		"expected one of validate, e2e":        {"--all", "--stage", "boot"},
		"name faults, or give --all, not both": nil,
	} {
		if args == nil {
			want, args = "name faults, or give --all", []string{"swap-on", "--all", "--image", image}
		}
		if _, err := said(t, append([]string{"faults", "run"}, args...)...); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want bad input with %q", args, err, want)
		}
	}
}

// What the booted stage hands to the process that it starts must be what that
// takes for the same options.
func TestSuiteArguments(t *testing.T) {
	t.Parallel()
	args := child.Args(e2e.Options{Image: "i.qcow2", OutputDir: "o", LabelFilter: "!soak", Specs: []string{"boots, under", "-x"},
		Firmware: []machine.Firmware{machine.UEFI}, Accel: machine.AccelTCG, Witness: true, WitnessUntil: "Pod sandbox changed, it", FailFast: true,
		Soak: time.Minute, Slack: 7 * time.Second, CPUs: 3, MemoryMiB: 2048}, "debian-13")
	cmd, _, err := newRoot(nil, nil).Find(args[:1])
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(args[1:]); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"output": "o", "label-filter": "!soak", "spec": `["boots, under",-x]`, "firmware": "[uefi]", "accel": "tcg", "witness": "true", "fail-fast": "true", "profile": "debian-13", "format": "json",
		"soak": "1m0s", "witness-until": "Pod sandbox changed, it", "slack": "7s", "cpus": "3", "memory": "2048",
	} {
		if got := cmd.Flag(name).Value.String(); got != want {
			t.Errorf("--%s is %q, want %q", name, got, want)
		}
	}
	if rest := cmd.Flags().Args(); len(rest) != 1 || rest[0] != "i.qcow2" {
		t.Errorf("arguments %q", rest)
	}
}

func TestDiagnose(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range map[string]string{
		"bundle/summary.json":                  `{"verdict":"failed","image":"x\u001b[31m.qcow2","specs":[{"name":"node image ends a pod","state":"failed"},{"name":"node image boots","state":"passed"}]}`,
		"bundle/evidence/diagnosis-lines.json": `[{"source":"event","text":"kube-system/x SandboxChanged: Pod sandbox changed, it will be killed and re-created."},{"source":"journal","text":"plugin/loop: Loop (127.0.0.1:1 -> :53)"}]`,
	} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bundle.tar")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := said(t, "diagnose", file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"failed: node image ends a pod", "cause: coredns-resolver-loop (certain)", "cause: cgroup-driver-mismatch (possible)", "to tell it apart: look at a container's", "fix: "} {
		if !strings.Contains(text, want) {
			t.Errorf("the diagnosis lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") || strings.Contains(text, "boots") {
		t.Errorf("an escape of the bundle's reaches the terminal, or a spec that passed is listed:\n%q", text)
	}
	text, err = said(t, "diagnose", file, "--format", "json")
	var d diagnosis
	if err != nil || json.Unmarshal([]byte(text), &d) != nil || len(d.Causes) != 2 || d.Causes[0].ID != "coredns-resolver-loop" || d.Verdict != e2e.Failed {
		t.Errorf("%v\n%s", err, text)
	}
	if _, err := said(t, "diagnose", filepath.Join(t.TempDir(), "none")); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("no bundle: %v", err)
	}
}
