package kubernetes

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

// kubeadm prints one list of images.
type kubeadm struct {
	t   *testing.T
	out string
	err error
}

func (k kubeadm) Run(_ context.Context, cmd run.Cmd) (run.Result, error) {
	k.t.Helper()
	want := "/usr/bin/kubeadm config images list --kubernetes-version v1.37.2 --image-repository registry.k8s.io"
	if got := run.Quote(cmd.Argv); got != want {
		k.t.Errorf("unexpected command %s, want %s", got, want)
	}
	return run.Result{Stdout: k.out}, k.err
}

func debian13(t *testing.T) *profiles.Profile {
	t.Helper()
	p, err := profiles.Load("debian-13")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// printed by kubeadm v1.37.2.
const printed = `registry.k8s.io/kube-apiserver:v1.37.2
registry.k8s.io/kube-controller-manager:v1.37.2
registry.k8s.io/kube-scheduler:v1.37.2
registry.k8s.io/kube-proxy:v1.37.2
registry.k8s.io/coredns/coredns:v1.14.6
registry.k8s.io/pause:3.10.2
registry.k8s.io/etcd:3.7.0-0
`

func TestImageNames(t *testing.T) {
	t.Parallel()
	if got := strings.Join(ImageNames(debian13(t)), "\n") + "\n"; got != printed {
		t.Errorf("ImageNames:\n%swant what kubeadm prints:\n%s", got, printed)
	}
}

func TestVerifyNames(t *testing.T) {
	t.Parallel()
	all := strings.Fields(printed)
	for _, test := range []struct {
		name string
		out  string
		have []string
		want string
		code int
	}{
		{"the same", printed, all, "", exitcode.OK},
		{"in another order", printed, append(slices.Clone(all[3:]), all[:3]...), "", exitcode.OK},
		{"one missing", printed, all[:6], "wants image registry.k8s.io/etcd:3.7.0-0", exitcode.Failed},
		{"other version", strings.Replace(printed, "pause:3.10.2", "pause:3.11", 1), all, "pause:3.11", exitcode.Failed},
		{"one too many", printed, append(slices.Clone(all), "registry.k8s.io/extra:1"), "extra:1 is preloaded", exitcode.Failed},
		{"nothing printed", "", all, "names no image", exitcode.Failed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var images []component.Image
			for _, name := range test.have {
				images = append(images, component.Image{Name: name})
			}
			err := VerifyNames(t.Context(), kubeadm{t: t, out: test.out}, debian13(t), images)
			if got := exitcode.Of(err); got != test.code {
				t.Errorf("exit code %d, want %d (%v)", got, test.code, err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestVerifyNamesKubeadmFails(t *testing.T) {
	t.Parallel()
	broken := &run.Error{Where: "guest", Err: errors.New("exit status 2"), Result: run.Result{ExitCode: 2}}
	if err := VerifyNames(t.Context(), kubeadm{t: t, err: broken}, debian13(t), nil); exitcode.Of(err) != exitcode.Failed {
		t.Errorf("a kubeadm that fails gives %v, want a verdict", err)
	}
	lost := &run.Error{Where: "guest", Err: exitcode.Transient(errors.New("connection lost"))}
	if err := VerifyNames(t.Context(), kubeadm{t: t, err: lost}, debian13(t), nil); exitcode.Of(err) != exitcode.Infrastructure {
		t.Errorf("a lost machine gives %v, want no verdict", err)
	}
}

func TestKubeletResolvConf(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{"/run/systemd/resolve/resolv.conf": false, "/etc/resolv.conf": false, "/etc/upstream.conf": true} {
		p := debian13(t)
		p.Kubernetes.ResolvConf = path
		made, err := Plan(p, nil)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(made.Steps, func(s plan.Step) bool { return s.File != nil && s.File.Path == "/etc/default/kubelet" })
		if got := strings.Contains(made.Steps[i].File.Content, "--resolv-conf="+path); got != want {
			t.Errorf("resolvConf %s: the kubelet is told so: %t, want %t", path, got, want)
		}
	}
}
