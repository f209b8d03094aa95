//go:build integration && slow

package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/faults"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/oci"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

const (
	repository = "../../.."
	// imageVariable may name another image than the one that `make image` makes.
	// Its manifest lies beside it.
	imageVariable = "NODEIMAGE_TEST_IMAGE"
	// What one pod asks for, with the control plane beside it.
	clusterCPUs, clusterMemoryMiB = 4, 8192
	clusterDisk                   = 32 << 30
)

// Limits for an emulated machine on two busy processors; a good run is many
// times as fast.
const (
	readyLimit = 15 * time.Minute
	jobLimit   = 45 * time.Minute
)

// nodeImage is an image with its manifest.
type nodeImage struct {
	path, sum string
	profile   string // its name
	manifest  manifest.Manifest
}

// goodImage is the image that the cluster runs in and that pods look into.
func goodImage(t *testing.T) nodeImage {
	t.Helper()
	image := nodeImage{path: os.Getenv(imageVariable)}
	if image.path == "" {
		image.path = filepath.Join(repository, "build", "debian-13.qcow2")
	}
	data, err := os.ReadFile(manifest.PathOf(image.path))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("no image to make a cluster of: %v: run 'make image', or name one with %s", err, imageVariable)
	}
	if err == nil {
		err = json.Unmarshal(data, &image.manifest)
	}
	if err != nil {
		t.Fatal(err)
	}
	image.profile = image.manifest.Profile.Name
	if image.sum, err = machine.Digest(t.Context(), image.path); err != nil {
		t.Fatal(err)
	}
	return image
}

// withFault is the image with a fault in it, which no manifest tells of.
func (i nodeImage) withFault(t *testing.T, dir, id string) nodeImage {
	t.Helper()
	all, err := faults.All()
	if err != nil {
		t.Fatal(err)
	}
	selected, err := faults.Select(all, []string{id})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	disk, err := target.Open(t.Context(), i.path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = disk.Close() }()
	changes, err := faults.Plan(t.Context(), disk, selected[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	large, red := filepath.Join(dir, "large.qcow2"), i
	if err := (faults.Maker{Host: run.Host{}, Store: s}).Make(t.Context(), disk, changes, large); err != nil {
		t.Fatal(err)
	}
	// An emulated network card carries half as much.
	red.path = filepath.Join(dir, id+".qcow2")
	if out, code := command(t, dir, "qemu-img", "convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", large, red.path); code != 0 {
		t.Fatalf("qemu-img: exit code %d: %s", code, out)
	}
	if err := os.Remove(large); err != nil {
		t.Fatal(err)
	}
	if red.sum, err = machine.Digest(t.Context(), red.path); err != nil {
		t.Fatal(err)
	}
	return red
}

// manifestText is the manifest of a build that had made these bytes.
func (i nodeImage) manifestText(t *testing.T) []byte {
	t.Helper()
	m := i.manifest
	m.Images = []manifest.DiskImage{{File: i.profile + ".qcow2", Format: "qcow2", SHA256: i.sum}}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// command runs a program in dir and returns what it printed and its exit code.
func command(t *testing.T, dir string, argv ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir = dir
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Logf("%s: %v\n%s", run.Quote(argv), err, said.String())
	}
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// buildProgram makes nodeimage, which needs no library.
func buildProgram(t *testing.T, dir string) string {
	t.Helper()
	program := filepath.Join(dir, "nodeimage")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./cmd/nodeimage")
	cmd.Dir, cmd.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// inCluster is a cluster of one node, which reaches no network.
type inCluster struct {
	*machine.Machine
	client kubernetes.Interface
}

// startCluster boots an image and makes a cluster of it.
func startCluster(t *testing.T, image string) *inCluster {
	t.Helper()
	ctx := t.Context()
	began := time.Now()
	m, err := machine.Start(ctx, machine.Options{
		Image: image, Dir: filepath.Join(t.TempDir(), "machine"), DiskSize: clusterDisk, CPUs: clusterCPUs, MemoryMiB: clusterMemoryMiB,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Kill() })
	c := &inCluster{Machine: m}
	c.output(t, nil, "sh", "-c", "systemctl is-system-running --wait || true")
	if err := machine.Quieten(ctx, m); err != nil {
		t.Fatal(err)
	}
	// What is promised below must not be there by chance: a processor may
	// offer virtualization within.
	c.output(t, nil, "sh", "-c", "modprobe -r kvm_intel kvm_amd kvm; rm -f /dev/kvm")
	version, err := cluster.Version(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	slow := m.Report().Accel == machine.AccelTCG
	if text, err := cluster.Init(ctx, m, cluster.Plan{KubernetesVersion: version, CPUs: clusterCPUs, MemoryMiB: clusterMemoryMiB, Slow: slow}, io.Discard); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if c.client, err = cluster.Connect(ctx, m); err != nil {
		t.Fatal(err)
	}
	c.poll(t, readyLimit, func(ctx context.Context) error {
		node, err := cluster.TheNode(ctx, c.client)
		if err != nil {
			return err
		}
		return cluster.NodeReady(node)
	})
	if err := cluster.WaitServiceAccount(ctx, c.client, corev1.NamespaceDefault); err != nil {
		t.Fatal(err)
	}
	t.Logf("a cluster after %s (%s)", time.Since(began).Round(time.Second), m.Report().AccelReason)
	return c
}

// output runs a command in the machine.
func (c *inCluster) output(t *testing.T, stdin io.Reader, argv ...string) string {
	t.Helper()
	res, err := c.Run(t.Context(), run.Cmd{Argv: argv, Stdin: stdin})
	if err != nil {
		t.Fatal(err)
	}
	return res.Stdout
}

func (c *inCluster) kubectl(t *testing.T, stdin io.Reader, args ...string) string {
	t.Helper()
	return c.output(t, stdin, append([]string{"kubectl", "--kubeconfig", cluster.AdminConfig}, args...)...)
}

func (c *inCluster) apply(t *testing.T, objects string) {
	t.Helper()
	t.Log(c.kubectl(t, strings.NewReader(objects), "apply", "--filename", "-"))
}

func (c *inCluster) poll(t *testing.T, limit time.Duration, try func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, fmt.Errorf("gave up after %s", limit))
	defer cancel()
	if err := cluster.Poll(ctx, 3*time.Second, try); err != nil {
		t.Fatalf("%v\n%s", err, c.state(t))
	}
}

// state is what a person would look at first.
func (c *inCluster) state(t *testing.T) string {
	t.Helper()
	res, err := c.Run(t.Context(), run.Cmd{Argv: []string{"sh", "-c", `export KUBECONFIG="$1"; kubectl get jobs,pods -o wide; kubectl describe jobs,pods; ` +
		`for p in $(kubectl get pods -o name); do echo "== $p"; kubectl logs "$p" | tail -n 20; done`, "sh", cluster.AdminConfig}})
	return fmt.Sprintf("%s\n%s (%v)", res.Stdout, res.Stderr, err)
}

// volume is a claim that the only node shares with itself.
const volume = `apiVersion: v1
kind: PersistentVolume
metadata: {name: results}
spec:
  storageClassName: ""
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteMany]
  hostPath: {path: ` + claimDir + `, type: DirectoryOrCreate}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: ` + claim + `, namespace: default}
spec:
  storageClassName: ""
  volumeName: results
  accessModes: [ReadWriteMany]
  resources: {requests: {storage: 10Gi}}
`

// importImage makes a container image of nodeimage and of programs of this host
// with their libraries, and gives it to the node.
func (c *inCluster) importImage(t *testing.T, name, nodeimage string, programs ...string) {
	t.Helper()
	spec := oci.Spec{Name: name, Arch: "amd64", Env: []string{oci.PathEnv}, Entries: []oci.Entry{
		{Path: "/usr/local/bin/nodeimage", Kind: oci.File, Mode: 0o755, Source: nodeimage},
		{Path: "/tmp", Kind: oci.Dir, Mode: 0o1777},
		{Path: "/var/tmp", Kind: oci.Dir, Mode: 0o1777},
	}}
	files := map[string]string{} // by path in the image
	for _, p := range programs {
		found, err := exec.LookPath(p)
		if err != nil {
			t.Fatal(err)
		}
		files[path.Join("/usr/bin", p)] = found
		out, code := command(t, "", "ldd", found)
		if code != 0 {
			t.Fatalf("ldd %s: exit code %d", found, code)
		}
		for _, m := range regexp.MustCompile(`(?m)(/\S+) \(0x`).FindAllStringSubmatch(out, -1) {
			files[m[1]] = m[1]
		}
	}
	for at, from := range files {
		source, err := filepath.EvalSymlinks(from)
		if err != nil {
			t.Fatal(err)
		}
		spec.Entries = append(spec.Entries, oci.Entry{Path: at, Kind: oci.File, Mode: 0o755, Source: source})
	}
	archive := filepath.Join(t.TempDir(), "image.tar")
	written, err := oci.Write(t.Context(), spec, archive)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	c.send(t, archive, "ctr", "--namespace", "k8s.io", "images", "import", "-")
	t.Logf("the container image, %d MiB, imported in %s", written.Size>>20, time.Since(began).Round(time.Second))
}

// send runs a command in the machine whose input is a file.
func (c *inCluster) send(t *testing.T, file string, argv ...string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // only read
	c.output(t, f, argv...)
}

// put leaves an image for the cell of an index, as a run that was ended does.
func (c *inCluster) put(t *testing.T, p plan, index int, image nodeImage) {
	t.Helper()
	cell := p.Cells[index]
	if image.manifest.Profile.SHA256 != cell.ProfileSHA256 {
		t.Fatalf("%s was built from another profile %s (sha256 %s) than there is now (%s): run 'make image'", image.path, image.profile, image.manifest.Profile.SHA256, cell.ProfileSHA256)
	}
	// Each image goes over the wire once.
	first := path.Join(claimDir, image.sum+".qcow2")
	if c.output(t, nil, "sh", "-c", `mkdir -p "$2"; [ ! -e "$1" ] || echo there`, "sh", first, claimDir) == "" {
		began := time.Now()
		c.send(t, image.path, "sh", "-c", `cat >"$1.part" && mv "$1.part" "$1"`, "sh", first)
		t.Logf("an image carried in %s", time.Since(began).Round(time.Second))
	}
	dir := path.Join(claimDir, p.job, fmt.Sprint(index), "images", cell.ImageKey)
	c.output(t, nil, "sh", "-c", `mkdir -p "$2" && ln "$1" "$2/$3.qcow2"`, "sh", first, dir, image.profile)
	if err := c.WriteFile(t.Context(), path.Join(dir, image.profile+".manifest.json"), 0o644, bytes.NewReader(image.manifestText(t))); err != nil {
		t.Fatal(err)
	}
}

// advertise promises one of a resource, as a device plugin does.
func (c *inCluster) advertise(t *testing.T, resource string) {
	t.Helper()
	c.patchCapacity(t, "add", resource, `,"value":"1"`)
	c.poll(t, readyLimit, func(ctx context.Context) error {
		node, err := cluster.TheNode(ctx, c.client)
		if err != nil {
			return err
		}
		if n := node.Status.Allocatable[corev1.ResourceName(resource)]; n.Value() != 1 {
			return fmt.Errorf("the node has %s of %s to give", n.String(), resource)
		}
		return nil
	})
}

// takeBack takes it away again.
func (c *inCluster) takeBack(t *testing.T, resource string) {
	t.Helper()
	c.patchCapacity(t, "remove", resource, "")
}

func (c *inCluster) patchCapacity(t *testing.T, op, resource, value string) {
	t.Helper()
	node, err := cluster.TheNode(t.Context(), c.client)
	if err != nil {
		t.Fatal(err)
	}
	patch := fmt.Sprintf(`[{"op":%q,"path":"/status/capacity/%s"%s}]`, op, strings.ReplaceAll(resource, "/", "~1"), value)
	c.kubectl(t, nil, "patch", "node", node.Name, "--subresource=status", "--type=json", "--patch", patch)
}

// pods are those of a job.
func (c *inCluster) pods(ctx context.Context, job string) ([]corev1.Pod, error) {
	list, err := c.client.CoreV1().Pods(corev1.NamespaceDefault).List(ctx, metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name=" + job})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// waitForPods waits until the scheduler says why of every pod of the job.
func (c *inCluster) waitForPods(t *testing.T, job, why string) {
	t.Helper()
	c.poll(t, readyLimit, func(ctx context.Context) error {
		pods, err := c.pods(ctx, job)
		if err != nil {
			return err
		}
		if len(pods) == 0 {
			return fmt.Errorf("job %s has no pod", job)
		}
		for _, p := range pods {
			if !slices.ContainsFunc(p.Status.Conditions, func(x corev1.PodCondition) bool {
				return x.Type == corev1.PodScheduled && x.Status == corev1.ConditionFalse && strings.Contains(x.Message, why)
			}) {
				return fmt.Errorf("pod %s is %s, %+v: want it to wait for %q", p.Name, p.Status.Phase, p.Status.Conditions, why)
			}
		}
		return nil
	})
}

// waitForJob waits until a job is over, and returns how it ended.
func (c *inCluster) waitForJob(t *testing.T, name string) ending {
	t.Helper()
	began := time.Now()
	var job *batchv1.Job
	c.poll(t, jobLimit, func(ctx context.Context) (err error) {
		if job, err = c.client.BatchV1().Jobs(corev1.NamespaceDefault).Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		if _, over := jobOver(job); !over {
			return fmt.Errorf("job %s goes on", name)
		}
		return nil
	})
	pods, err := c.pods(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	e, err := endingOf(job, pods)
	if err != nil {
		t.Fatalf("%v\n%s", err, c.state(t))
	}
	t.Logf("job %s was over after %s: %+v", name, time.Since(began).Round(time.Second), e)
	return e
}

// fetch brings the results of a job here, and no images.
func (c *inCluster) fetch(t *testing.T, job string) string {
	t.Helper()
	dir := t.TempDir()
	archive := filepath.Join(dir, "results.tar")
	f, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Run(t.Context(), run.Cmd{Argv: []string{"tar", "-C", path.Join(claimDir, job), "--exclude=./*/images", "-cf", "-", "."}, Stdout: f})
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if out, code := command(t, dir, "tar", "--no-same-owner", "-xf", archive); code != 0 {
		t.Fatalf("tar: exit code %d: %s", code, out)
	}
	return dir
}
