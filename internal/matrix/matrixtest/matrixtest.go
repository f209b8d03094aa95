// Package matrixtest makes plans and results that look like real ones, for
// tests of what reads them. The same seed makes the same.
package matrixtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
)

// Start is when the first synthetic run began.
var Start = time.Date(2026, 11, 20, 6, 0, 0, 0, time.UTC)

// Tool is what synthetic plans are made by.
func Tool() matrix.Tool {
	return matrix.Tool{Version: "0.1.0-dev", SHA256: fmt.Sprintf("%064x", 0x7001)}
}

// Plan makes a plan of n cells: up to four profiles, then Kubernetes,
// containerd, runc and firmware vary. One cell in forty is known to be bad, at
// the least one if there are three.
func Plan(n int) matrix.Plan {
	p := matrix.Plan{Matrix: "synthetic", Tool: Tool()}
	profiles := []string{"debian-12", "debian-13", "ubuntu-22.04", "ubuntu-24.04"}
	firmware := []string{"secureboot", "bios"}
	for i := range n {
		k := i
		take := func(of int) int { v := k % of; k /= of; return v }
		c := matrix.Cell{Firmware: firmware[take(2)], Arch: "amd64"}
		c.Profile = profiles[take(len(profiles))]
		c.OS = c.Profile
		c.Containerd = []string{"1.7.28", "2.2.9", "2.3.7"}[take(3)]
		c.Kubernetes = []string{"1.34.3", "1.35.4", "1.36.4", "1.37.2"}[take(4)]
		c.Runc = fmt.Sprintf("1.%d.%d", 3+take(3), take(1000))
		c.ProfileSHA256 = sum("profile", c.Profile, c.Kubernetes, c.Containerd, c.Runc)
		c.Base = sum("base", c.OS)
		c.Suite = matrix.Suite{Stages: []matrix.Stage{matrix.StageValidate, matrix.StageE2E}, Soak: "5m0s"}
		if i%40 == 2 {
			c.KnownBad = &matrix.KnownBad{Cause: "cgroup-driver-mismatch", Stage: matrix.StageE2E,
				Tracker: "https://github.com/kubernetes/kubernetes/issues/110177", Reason: "the driver is cgroupfs", Expires: "2027-01-31"}
		}
		c.Identify(p.Tool)
		p.Cells = append(p.Cells, c)
	}
	p.Seal()
	return p
}

func sum(parts ...any) string {
	r := rand.New(rand.NewPCG(7, uint64(len(fmt.Sprint(parts...)))))
	h := uint64(14695981039346656037)
	for _, b := range []byte(fmt.Sprint(parts...)) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return fmt.Sprintf("%016x%016x%016x%016x", h, h^r.Uint64(), h^r.Uint64(), h^r.Uint64())
}

// Story says how a synthetic run of a cell went.
type Story string

// The stories. AsPlanned is green, or red for the known cause.
const (
	AsPlanned Story = "as-planned"
	Red       Story = "red"       // the suite calls the image bad and names a cause
	Unnamed   Story = "unnamed"   // red without a cause
	Offline   Story = "offline"   // red at the stage validate
	Green     Story = "green"     // whatever is expected
	Flaky     Story = "flaky"     // an infrastructure failure, then as planned
	NoVerdict Story = "noverdict" // infrastructure failures alone
)

// Run makes the result of one run of a cell, the nth of a series: later ones
// start later, and from time to time a package is newer.
func Run(c matrix.Cell, story Story, nth int) matrix.Result {
	r := rand.New(rand.NewPCG(uint64(nth)+1, uint64(len(c.Name))))
	at := func(base, spread float64) float64 { return float64(int((base+spread*r.Float64())*10)) / 10 }
	start := Start.AddDate(0, 0, nth).Add(time.Duration(r.IntN(3600)) * time.Second)
	out := matrix.Result{
		Cell: c, Run: fmt.Sprintf("run-%03d", nth), Tool: Tool(), Started: start, Verdict: matrix.Passed,
		Host:  matrix.Host{Name: "worker-1", CPUs: 4, MemoryMiB: 16384, Accel: "kvm"},
		Image: matrix.Image{File: c.Profile + ".qcow2", SHA256: sum("image", c.ImageKey, nth/3), Size: 640 << 20},
		Versions: matrix.Versions{
			Kernel:     fmt.Sprintf("6.12.%d-1", 40+nth/3),
			Components: map[string]string{"kubernetes": c.Kubernetes, "containerd": c.Containerd, "runc": c.Runc, "cni-plugins": "1.9.1"},
			Packages:   len(packages(c, nth)),
		},
		Stages: []matrix.StageResult{
			{Stage: matrix.StageBuild, Attempts: 1, Seconds: at(38, 10), Log: "build.log"},
			{Stage: matrix.StageValidate, Attempts: 1, Seconds: at(2, 1), Log: "validate.log"},
			{Stage: matrix.StageE2E, Attempts: 1, Seconds: at(420, 120), Log: "e2e.log"},
			{Stage: matrix.StageAttest, Attempts: 1, Seconds: at(4, 1), Log: "attest.log"},
		},
		Checks: []matrix.Check{{ID: "containerd-end-of-life", Outcome: "warn", Got: "containerd " + c.Containerd, File: "/usr/local/bin/containerd"}},
	}
	if story == AsPlanned || story == Flaky {
		if story == Flaky {
			out.Infrastructure = append(out.Infrastructure, matrix.InfraFailure{Stage: matrix.StageE2E, Attempt: 1, Message: "the virtual machine never started: qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory"})
			out.Stages[2].Attempts = 2
		}
		story = Green
		if c.KnownBad != nil {
			story = Red
		}
	}
	for i, name := range specs {
		out.Specs = append(out.Specs, matrix.Spec{Name: name, State: "passed", Seconds: at(float64(i%7), 9)})
	}
	switch story {
	case Red, Unnamed:
		out.Verdict, out.Red = matrix.Failed, matrix.StageE2E
		out.Stages[2].Code = 1
		out.Specs[5].State = "failed"
		out.Specs[5].Message = "every container's process: expected <string>: /system.slice/kubepods-burstable-pod2f.slice:cri-containerd:9c1 to be below kubepods.slice"
		for i := 6; i < 9; i++ {
			out.Specs[i] = matrix.Spec{Name: specs[i], State: "blocked", Message: "blocked: cgroup driver is systemd in the real cgroup path of every container's process"}
		}
		if story == Red {
			id := "cgroup-driver-mismatch"
			if c.KnownBad != nil {
				id = c.KnownBad.Cause
			}
			out.Causes = []matrix.Cause{{ID: id, Title: "The kubelet and containerd use different cgroup drivers", Certain: true,
				Evidence: "/system.slice/kubepods-burstable-pod2f.slice:cri-containerd:9c1", Fix: "set SystemdCgroup = true for every runc handler"}}
		}
	case Offline:
		out.Verdict, out.Red = matrix.Failed, matrix.StageValidate
		out.Stages = out.Stages[:2]
		out.Stages[1].Code = 1
		out.Specs, out.Host.Accel = nil, ""
		out.Checks = append(out.Checks, matrix.Check{ID: "cgroup-driver-mismatch", Outcome: "fail", Got: "SystemdCgroup = false: cgroupfs", Want: "systemd", File: "/etc/containerd/config.toml"})
		out.Causes = []matrix.Cause{{ID: "cgroup-driver-mismatch", Certain: true, Evidence: "/etc/containerd/config.toml: SystemdCgroup = false"}}
	case NoVerdict:
		out.Verdict, out.Reason = matrix.None, "the virtual machine never started"
		out.Stages = out.Stages[:3]
		out.Stages[2].Code, out.Stages[2].Attempts = 75, 3
		out.Specs = nil
		for i := range 3 {
			out.Infrastructure = append(out.Infrastructure, matrix.InfraFailure{Stage: matrix.StageE2E, Attempt: i + 1, Message: "the virtual machine never started"})
		}
	}
	for _, s := range out.Specs {
		switch s.State {
		case "passed":
			out.Counts.Passed++
		case "failed":
			out.Counts.Failed++
		case "blocked":
			out.Counts.Blocked++
		}
	}
	for _, s := range out.Stages {
		out.Seconds += s.Seconds
	}
	return out
}

var specs = []string{
	"boot boots under UEFI with Secure Boot",
	"boot has no failed units",
	"boot grows its root file system to the disk",
	"kubeadm init succeeds without preflight errors",
	"kubeadm brings every pod of the control plane up",
	"cgroup driver is systemd in the real cgroup path of every container's process",
	"kube-proxy stays up, and the control plane with it, over 5m0s",
	"pod termination ends a pod that handles SIGTERM within its grace period",
	"pod termination ends a pod that ignores SIGTERM after its grace period",
	"pod termination never fails to kill a pod",
	"service reaches a pod through its cluster IP",
	"reboot comes back with the same pods",
}

func packages(c matrix.Cell, nth int) []manifest.Package {
	var list []manifest.Package
	for i := range 60 {
		version := fmt.Sprintf("1.%d-1", i)
		if i == nth%60 || i == (nth/3)%60 {
			version = fmt.Sprintf("1.%d-1+deb%d", i, nth/3)
		}
		list = append(list, manifest.Package{Name: fmt.Sprintf("package-%02d", i), Version: version, Arch: c.Arch, SHA256: sum("deb", i, version)})
	}
	return append(list, manifest.Package{Name: "linux-image-" + c.Arch, Version: fmt.Sprintf("6.12.%d-1", 40+nth/3), Arch: c.Arch, SHA256: sum("kernel", nth/3)})
}

// Write puts a result with some of its evidence into a folder of results.
func Write(dir string, r matrix.Result) error {
	folder := matrix.CellDir(dir, r.Cell.ID)
	m := manifest.Manifest{
		Schema: manifest.SchemaVersion, Profile: manifest.Profile{Name: r.Cell.Profile, SHA256: r.Cell.ProfileSHA256},
		Tool: manifest.Tool{Name: "nodeimage", Version: r.Tool.Version}, Packages: packages(r.Cell, runNumber(r)),
		Images: []manifest.DiskImage{{File: r.Image.File, Format: "qcow2", SHA256: r.Image.SHA256, Size: r.Image.Size}},
	}
	for _, name := range slices.Sorted(maps.Keys(r.Versions.Components)) {
		m.Components = append(m.Components, manifest.Component{Name: name, Version: r.Versions.Components[name], Source: "gomod"})
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	files := map[string]string{
		matrix.ManifestFile: string(text),
		matrix.ProfileFile:  "apiVersion: nodeimage.dev/v1alpha1\nkind: Profile\nname: " + r.Cell.Profile + "\n",
	}
	for _, s := range r.Stages {
		files[s.Log] = fmt.Sprintf("    0.0s  %s of %s\n%7.1fs  done\n", s.Stage, r.Cell.Name, s.Seconds)
	}
	if len(r.Specs) > 0 {
		files[matrix.E2EDir+"/evidence/console.log"] = "[    0.000000] Linux version " + r.Versions.Kernel + "\nDebian GNU/Linux 13 node ttyS0\nnode login: \n"
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(files[name]), 0o644); err != nil {
			return err
		}
		r.Evidence = append(r.Evidence, matrix.File{Path: name, Size: int64(len(files[name]))})
	}
	return r.Write(dir)
}

func runNumber(r matrix.Result) (n int) {
	_, _ = fmt.Sscanf(r.Run, "run-%d", &n) // Run's own form
	return n
}
