package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// Options that mean nothing together are refused, all at once, before anything
// is reached or written.
func TestE2EHostOptions(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"neither":             {nil, []string{"no image was named, and no host"}},
		"both":                {[]string{"node.qcow2", "--host", "admin@node"}, []string{"image node.qcow2 and host admin@node: expected one of them"}},
		"a host's for images": {[]string{"node.qcow2", "--allow-reboot", "--identity", "k"}, []string{"--identity needs --host", "--allow-reboot needs --host"}},
		"a machine for hosts": {[]string{"--host", "admin@node", "--cpus", "4", "--arch", "arm64", "--firmware", "bios"}, []string{"--arch is about", "--cpus is about a machine that is booted", "--firmware is about"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append(test.args, "-o", filepath.Join(t.TempDir(), "out"))
			_, err := runVerb(t, newE2E(), args...)
			if exitcode.Of(err) != exitcode.Usage {
				t.Errorf("exit code %d", exitcode.Of(err))
			}
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not said in %v", want, err)
				}
			}
		})
	}
}
