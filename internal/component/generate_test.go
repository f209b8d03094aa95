package component

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/modfile"
)

func TestPinnedGoMod(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, component string
		rel             release
		upstream        string
		packages        []string
		want            string
	}{
		{
			"staging modules get the version they are published under",
			"kubernetes",
			release{Version: "1.37.2", Module: "k8s.io/kubernetes", ModuleVersion: "v1.37.2"},
			"module k8s.io/kubernetes\ngo 1.26.0\ngodebug default=go1.26\nrequire k8s.io/api v0.0.0\nreplace k8s.io/api => ./staging/src/k8s.io/api\nreplace k8s.io/sample => ./staging/src/k8s.io/sample\n",
			[]string{"k8s.io/kubernetes/cmd/kubeadm"},
			"module nodeimage.invalid/pin/kubernetes\n\ngo 1.26.0\n\ngodebug default=go1.26\n\nrequire k8s.io/kubernetes v1.37.2\n\ntool k8s.io/kubernetes/cmd/kubeadm\n\nreplace k8s.io/api => k8s.io/api v0.37.2\n\nreplace k8s.io/sample => k8s.io/sample v0.37.2\n",
		},
		{
			"a directory that is published at the required version is not replaced, a fork is",
			"containerd",
			release{Version: "1.7.18", Module: "github.com/containerd/containerd", ModuleVersion: "v1.7.18"},
			"module github.com/containerd/containerd\ngo 1.21\nrequire github.com/containerd/containerd/api v1.7.19\nreplace github.com/containerd/containerd/api => ./api\nreplace example.test/old v1.0.0 => example.test/fork v1.0.1\n",
			[]string{"github.com/containerd/containerd/cmd/ctr"},
			"module nodeimage.invalid/pin/containerd\n\ngo 1.21\n\nrequire github.com/containerd/containerd v1.7.18\n\ntool github.com/containerd/containerd/cmd/ctr\n\nreplace example.test/old v1.0.0 => example.test/fork v1.0.1\n",
		},
		{
			"etcd's programs are modules of one version",
			"etcd",
			release{Version: "3.7.0", Module: "go.etcd.io/etcd/server/v3", ModuleVersion: "v3.7.0"},
			"module go.etcd.io/etcd/server/v3\ngo 1.26\nrequire go.etcd.io/etcd/api/v3 v3.7.0\nreplace go.etcd.io/etcd/api/v3 => ../api\n",
			[]string{"go.etcd.io/etcd/etcdctl/v3", "go.etcd.io/etcd/server/v3"},
			"module nodeimage.invalid/pin/etcd\n\ngo 1.26\n\nrequire go.etcd.io/etcd/server/v3 v3.7.0\n\ntool go.etcd.io/etcd/etcdctl/v3\n\nrequire go.etcd.io/etcd/etcdctl/v3 v3.7.0\n\ntool go.etcd.io/etcd/server/v3\n",
		},
	} {
		upstream, err := modfile.Parse("go.mod", []byte(tt.upstream), nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := pinnedGoMod(tt.component, tt.rel, upstream, tt.packages)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		// Blank lines are the formatter's.
		if diff := cmp.Diff(strings.Fields(tt.want), strings.Fields(string(got))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// A module that exists only as a directory of upstream's repository cannot be
// had from a proxy.
func TestPinnedGoModUnpublished(t *testing.T) {
	t.Parallel()
	upstream, err := modfile.Parse("go.mod", []byte("module example.test/x\ngo 1.24\nrequire example.test/y v0.0.0\nreplace example.test/y => ../y\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	rel := release{Version: "1.5.2", Module: "example.test/x", ModuleVersion: "v1.5.2"}
	if _, err := pinnedGoMod("runc", rel, upstream, nil); err == nil || !strings.Contains(err.Error(), "replacing example.test/y") {
		t.Errorf("an unpublished module: %v", err)
	}
}

func TestGeneratePinRefuses(t *testing.T) {
	t.Parallel()
	for _, component := range []string{"docker", "pause"} {
		if _, err := GeneratePin(t.Context(), t.TempDir(), component, "", "1.0.0"); err == nil || !strings.Contains(err.Error(), "no pin can be made") {
			t.Errorf("%s: %v", component, err)
		}
	}
}
