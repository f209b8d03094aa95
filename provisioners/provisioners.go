// Package provisioners names the project's Packer provisioners in the order
// in which an image needs them.
package provisioners

import (
	"errors"
	"fmt"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/host"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/kubernetes"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/parts"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/runtime"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/seal"
)

// Plans are the plans of all provisioners for a profile, in the order in which
// they are carried out. With a nil set they name component files instead of
// holding them, and need neither network nor root.
func Plans(p *profiles.Profile, set *parts.Set) ([]plan.Plan, error) {
	var made []plan.Plan
	var problems []error
	for _, of := range []func(*profiles.Profile, *parts.Set) (plan.Plan, error){host.Plan, runtime.Plan, kubernetes.Plan, seal.Plan} {
		one, err := of(p, set)
		if err != nil {
			problems = append(problems, fmt.Errorf("profile %s: %w", p.Name, err))
			continue
		}
		made = append(made, one)
	}
	return made, errors.Join(problems...)
}
