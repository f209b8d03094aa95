package pipeline

import (
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

// Description is what `nodeimage plan` prints.
type Description struct {
	// Profile is the effective one; SHA256 is the digest that manifests record.
	Profile *profiles.Profile `json:"profile"`
	SHA256  string            `json:"profileSHA256"`
	Plans   []plan.Plan       `json:"plans"`
}

// Describe loads a profile and makes its plans without building or changing
// anything, without root and without network.
func Describe(profile string) (Description, error) {
	p, err := profiles.Load(profile)
	if err != nil {
		return Description{}, err
	}
	plans, err := provisioners.Plans(p, nil)
	if err != nil {
		return Description{}, err
	}
	return Description{Profile: p, SHA256: p.Hash(), Plans: plans}, nil
}
