// Command packer-plugin-nodeimage is the Packer plugin: it registers the
// components of this project and nothing else. The command line is in
// cmd/nodeimage.
package main

//go:generate .ci/docs

import (
	"fmt"
	"os"

	"github.com/hashicorp/packer-plugin-sdk/plugin"

	"github.com/nodeimage/packer-plugin-nodeimage/builder"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/version"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/host"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/kubernetes"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/runtime"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/seal"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/postprocessor"
)

func main() {
	set := plugin.NewSet()
	set.RegisterBuilder(plugin.DEFAULT_NAME, new(builder.Builder))
	set.RegisterProvisioner("host", new(host.Provisioner))
	set.RegisterProvisioner("runtime", new(runtime.Provisioner))
	set.RegisterProvisioner("kubernetes", new(kubernetes.Provisioner))
	set.RegisterProvisioner("seal", new(seal.Provisioner))
	set.RegisterPostProcessor("validate", new(postprocessor.PostProcessor))
	set.SetVersion(version.Plugin())
	if err := set.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
