package provisioners

import (
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/host"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/kubernetes"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/runtime"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/seal"
)

func TestPrepare(t *testing.T) {
	t.Parallel()
	for name, fresh := range map[string]func() packersdk.Provisioner{
		"host":       func() packersdk.Provisioner { return new(host.Provisioner) },
		"runtime":    func() packersdk.Provisioner { return new(runtime.Provisioner) },
		"kubernetes": func() packersdk.Provisioner { return new(kubernetes.Provisioner) },
		"seal":       func() packersdk.Provisioner { return new(seal.Provisioner) },
	} {
		for _, test := range []struct {
			name   string
			config map[string]any
			want   string
		}{
			{"good", map[string]any{"profile": "debian-13", "cache_directory": "/var/cache/x", "packer_build_name": "b"}, ""},
			{"no profile", nil, "profile: it is required"},
			{"unknown profile", map[string]any{"profile": "debian-99"}, "debian-99"},
			{"unknown option", map[string]any{"profile": "debian-13", "profil": "x"}, "profil"},
		} {
			t.Run(name+"/"+test.name, func(t *testing.T) {
				t.Parallel()
				err := fresh().Prepare(test.config)
				switch {
				case test.want == "" && err != nil:
					t.Errorf("Prepare = %v", err)
				case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
					t.Errorf("Prepare = %v, want an error with %q", err, test.want)
				case exitcode.Of(err) != exitcode.OK && exitcode.Of(err) != exitcode.Usage:
					t.Errorf("Prepare's exit code is %d, want %d", exitcode.Of(err), exitcode.Usage)
				}
			})
		}
		spec := fresh().ConfigSpec()
		for _, option := range []string{"profile", "cache_directory"} {
			if _, ok := spec[option]; !ok {
				t.Errorf("%s: the HCL2 spec has no %s", name, option)
			}
		}
	}
}
