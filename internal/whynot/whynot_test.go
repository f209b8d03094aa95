package whynot

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ask(t *testing.T, q Question, o Options) Reply {
	t.Helper()
	o.Now = now
	reply, err := Ask(t.Context(), q, o)
	must(t, err)
	return reply
}

func TestRules(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		q    Question
		want []string // weight, id and a part of the text
		code int
		not  []string // IDs that must be missing
	}{
		"the question of the README": {Question{Kubernetes: "1.37", Containerd: "1.7", OS: "ubuntu-24.04"}, []string{
			"careful kubelet-containerd-incompatible cannot ask it for the cgroup driver",
			"careful containerd-end-of-life since 2026-09-30",
			"careful apparmor-runc-signal-denied containerd 1.7.16 has the fix",
			"careful apparmor-unix-sockets-denied on kernels from 6.17 on",
			"careful containerd-vulnerable take 1.7.33 or later",
			"careful runc-older-than-tested tested with runc 1.1",
			"fine profile the profile ubuntu-24.04 is for ubuntu-24.04",
		}, exitcode.OK, []string{"runc-vulnerable", "runc-bpf-corruption"}},
		"what a profile has": {Question{Kubernetes: "1.37.2", Containerd: "2.3.7", Runc: "1.5.2", Kernel: "6.12", OS: "debian-13"}, []string{
			"fine kubelet-containerd-incompatible in containerd's own table, from 2.3.0 on",
			"fine runc-older-than-tested what containerd 2.3.7 is tested with",
			"fine profile the profile debian-13 is for debian-13",
		}, exitcode.OK, []string{"containerd-vulnerable", "runc-vulnerable", "apparmor-runc-signal-denied", "apparmor-unix-sockets-denied", "apparmor-exec-signal-denied", "kernel-too-old"}},
		"unknown pair": {Question{Kubernetes: "1.37", Containerd: "1.6"}, []string{"no kubelet-containerd-incompatible not known to run"}, exitcode.Failed, nil},
		"unknown versions": {Question{Kubernetes: "1.99", Containerd: "9.9", Runc: "9.9"}, []string{
			"no kubernetes nothing is known about Kubernetes 1.99", "no containerd nothing is known", "no runc nothing is known"}, exitcode.Failed, nil},
		"listed from a later patch": {Question{Kubernetes: "1.34", Containerd: "2.0.1"}, []string{"fine kubelet-containerd-incompatible does not list the pair"}, exitcode.OK, nil},
		"old runc":                  {Question{Containerd: "2.3", Runc: "1.3.0"}, []string{"no runc-older-than-tested runc 1.3.0 is older than 1.5", "careful runc-vulnerable take 1.3.3 or later"}, exitcode.Failed, nil},
		"runc without support":      {Question{Runc: "1.1.15"}, []string{"careful runc-unsupported no fixes", "careful runc-vulnerable never got the fixes of CVE-2025-31133"}, exitcode.OK, nil},
		"a fault on its kernel":     {Question{Runc: "1.5.1", Kernel: "6.17.4"}, []string{"no runc-bpf-corruption on kernel 6.17.4"}, exitcode.Failed, nil},
		"a fault on another kernel": {Question{Runc: "1.5.1", Kernel: "7.2"}, nil, exitcode.OK, []string{"runc-bpf-corruption"}},
		"a fault that was mended":   {Question{Runc: "1.5.2", Kernel: "6.17"}, nil, exitcode.OK, []string{"runc-bpf-corruption"}},
		"old kernel":                {Question{Kernel: "4.19"}, []string{"careful kernel-too-old older than 5.4"}, exitcode.OK, nil},
		"Kubernetes without fixes":  {Question{Kubernetes: "1.34"}, []string{"careful kubernetes-end-of-life since 2026-10-27"}, exitcode.OK, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reply := ask(t, test.q, Options{})
			for _, want := range test.want {
				weight, rest, _ := strings.Cut(want, " ")
				id, part, _ := strings.Cut(rest, " ")
				if !slices.ContainsFunc(reply.Answers, func(a Answer) bool {
					return string(a.Weight) == weight && a.ID == id && strings.Contains(a.Text, part) && a.Basis == Rule
				}) {
					t.Errorf("no answer %q in:\n%+v", want, reply.Answers)
				}
			}
			for _, a := range reply.Answers {
				if slices.Contains(test.not, a.ID) {
					t.Errorf("an answer too many: %+v", a)
				}
				if len(a.See) > 0 && a.Read == "" {
					t.Errorf("sources without a day: %+v", a)
				}
			}
			if got := exitcode.Of(reply.Err()); got != test.code {
				t.Errorf("exit code %d, want %d", got, test.code)
			}
		})
	}
}

func TestBadQuestions(t *testing.T) {
	t.Parallel()
	for _, q := range []Question{{}, {Kubernetes: "new"}, {Containerd: "1"}, {Runc: "../x"}, {Kernel: "six"}, {OS: "ubuntu"}, {OS: "Ubuntu-24.04"}} {
		if _, err := Ask(t.Context(), q, Options{Now: now}); exitcode.Of(err) != exitcode.Usage {
			t.Errorf("%+v: %v, want bad input", q, err)
		}
	}
	if _, err := Ask(t.Context(), Question{Runc: "1.5"}, Options{Now: now, Dir: "/nonexistent/file"}); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("no folder: %v", err)
	}
}

func TestEvidence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, err := attest.GenerateKey(attest.Ed25519)
	must(t, err)
	other, err := attest.GenerateKey(attest.Ed25519)
	must(t, err)
	sum := sha256.Sum256([]byte("image"))
	write := func(name string, r attest.TestResult, signer *attest.PrivateKey) {
		t.Helper()
		s, err := r.Statement(attest.Subject{Name: "node.qcow2", SHA256: hex.EncodeToString(sum[:])}, now)
		must(t, err)
		data, err := attest.Seal(t.Context(), s, signer)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, name+attest.BundleSuffix), data, 0o644))
	}
	node := attest.Node{OS: "debian-13", Kernel: "6.12.48+deb13-amd64", Pins: map[string]string{"kubernetes": "1.37.2", "containerd": "2.3.7", "runc": "1.5.2"}}
	good := attest.TestResult{Suite: attest.SuiteE2E, Result: attest.Passed, Passed: []string{"a", "b"}, Finished: now, Soak: time.Minute, Node: node}
	bad := attest.TestResult{Suite: attest.SuiteE2E, Result: attest.Failed, Failed: []string{"c", "d", "e", "f", "g"}, Finished: now, Node: node}
	bad.Node.OS = "debian-12"
	standIn := good
	standIn.StandIns = []string{"machine"}
	write("good", good, key)
	write("bad", bad, key)
	write("foreign", bad, other)
	write("standin", standIn, key)
	must(t, os.WriteFile(filepath.Join(dir, "broken"+attest.BundleSuffix), []byte("{"), 0o644))

	signed := Options{Dir: dir, Keys: []attest.PublicKey{key.Public()}}
	find := func(r Reply, file string) (Answer, bool) {
		i := slices.IndexFunc(r.Answers, func(a Answer) bool { return a.Basis == Evidence && strings.HasPrefix(a.ID, file) })
		if i < 0 {
			return Answer{}, false
		}
		return r.Answers[i], true
	}
	r := ask(t, Question{Kubernetes: "1.37", Containerd: "2.3.7", OS: "debian-13", Kernel: "6.12"}, signed)
	if a, ok := find(r, "good"); !ok || a.Weight != Fine || !strings.Contains(a.Text, "signed by "+key.Public().Fingerprint()[:12]) || !strings.Contains(a.Text, "2 specs passed") {
		t.Errorf("the good run: %+v", a)
	}
	if a, ok := find(r, "standin"); !ok || a.Weight != Unknown || !strings.Contains(a.Text, "not on the real thing") {
		t.Errorf("the run with a stand-in: %+v", a)
	}
	if _, ok := find(r, "bad"); ok {
		t.Error("a run of another system was taken for one of this")
	}
	if a, ok := find(r, dir); !ok || !strings.Contains(a.Text, "2 bundles were left out") {
		t.Errorf("what was left out: %+v", a)
	}
	r = ask(t, Question{Kubernetes: "1.37", OS: "debian-12"}, signed)
	if a, ok := find(r, "bad"); !ok || a.Weight != No || !strings.Contains(a.Text, "failed: c, d, e, 2 more") || exitcode.Of(r.Err()) != exitcode.Failed {
		t.Errorf("the bad run: %+v, %v", a, r.Err())
	}
	r = ask(t, Question{Kubernetes: "1.37", OS: "debian-12"}, Options{Dir: dir})
	if a, ok := find(r, "foreign"); !ok || !strings.Contains(a.Text, "unverified") {
		t.Errorf("without a key: %+v", a)
	}
	r = ask(t, Question{Kubernetes: "1.3"}, signed)
	if a, ok := find(r, dir); !ok || !strings.Contains(a.Text, "no run over an image of this combination") {
		t.Errorf("1.3 is not 1.37: %+v", r.Answers)
	}
	var text strings.Builder
	must(t, r.WriteText(&text))
	if !strings.Contains(text.String(), "evidence") || !strings.Contains(text.String(), "rule") {
		t.Errorf("text does not say where answers come from:\n%s", text.String())
	}
}
