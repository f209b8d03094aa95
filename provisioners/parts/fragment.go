package parts

import (
	"encoding/json"
	"fmt"
	"path"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

// Fragment is the step that leaves a provisioner's manifest fragment in the
// image. With a nil fragment, that of a plan without components, the step only
// names it.
func Fragment(provisioner string, f *manifest.Fragment) (plan.Step, error) {
	file := &plan.File{Path: path.Join(manifest.FragmentDir, provisioner+".json"), Mode: 0o644}
	if f == nil {
		file.Component = "manifest fragment of " + provisioner
	} else {
		data, err := json.MarshalIndent(f, "", "  ")
		if err != nil {
			return plan.Step{}, fmt.Errorf("encoding the manifest fragment of %s: %w", provisioner, err)
		}
		file.Content = string(data) + "\n"
	}
	return plan.Step{Why: "the builder puts the image's manifest together from these", File: file}, nil
}
