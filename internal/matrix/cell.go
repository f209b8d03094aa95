// Package matrix plans, runs and collects a compatibility matrix: profiles,
// each with several versions of Kubernetes, containerd and runc, under several
// firmwares. What is to be run, what was run and what came of it are values
// that any machine can read and merge; whose machines run it is not known here.
package matrix

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// Cell is one combination that is built and judged.
type Cell struct {
	// ID is the sha256, in hexadecimal, of all that the verdict depends on:
	// the effective profile with its pins, the base, the suite's settings and
	// the tool. Name is for people, and the same whenever the combination is.
	ID   string `json:"id"`
	Name string `json:"name"`

	Profile    string `json:"profile"` // as the matrix names it, without a directory
	OS         string `json:"os"`      // ID and VERSION_ID of os-release: debian-13
	Kubernetes string `json:"kubernetes"`
	Containerd string `json:"containerd"`
	Runc       string `json:"runc"`
	Arch       string `json:"arch"`     // amd64, arm64
	Firmware   string `json:"firmware"` // of package machine

	// ProfileSHA256 is the Hash of the effective profile, Base the digest of
	// the archive's state, "" where it was not asked for. ImageKey is the same
	// for cells that boot the same image.
	ProfileSHA256 string `json:"profileSHA256"`
	Base          string `json:"base,omitempty"`
	ImageKey      string `json:"imageKey"`
	Suite         Suite  `json:"suite"`

	// KnownBad says that the cell must be red, and why; nil for one that must
	// be green.
	KnownBad *KnownBad `json:"knownBad,omitempty"`
	// Attested names the signed verdict that makes a run unnecessary, nil
	// without one.
	Attested *Attested `json:"attested,omitempty"`
}

// Suite is how a cell is judged.
type Suite struct {
	// Stages are those that are run after the build, in order.
	Stages      []Stage `json:"stages"`
	Soak        string  `json:"soak,omitempty"`        // a duration, "" for the suite's own
	LabelFilter string  `json:"labelFilter,omitempty"` // in Ginkgo's language
}

// Stage is a part of a cell's run.
type Stage string

// The stages, in their order.
const (
	StageBuild    Stage = "build"
	StageValidate Stage = "validate"
	StageE2E      Stage = "e2e"
	StageAttest   Stage = "attest"
)

// KnownBad says that a cell is red for a reason that is being worked on.
type KnownBad struct {
	// Cause is the ID of the check or of the suite's cause that must be named,
	// Stage where: validate or e2e.
	Cause   string        `json:"cause"`
	Stage   Stage         `json:"stage"`
	Tracker string        `json:"tracker"` // https address
	Reason  string        `json:"reason,omitempty"`
	Expires profiles.Date `json:"expires"` // the last day that it counts, in UTC
}

// Expired tells whether the entry counted only until before today.
func (k KnownBad) Expired(today profiles.Date) bool { return k.Expires < today }

// Attested is a signed verdict about a cell's ID.
type Attested struct {
	File    string  `json:"file"` // the bundle's base name
	SHA256  string  `json:"sha256"`
	Image   string  `json:"image"` // sha256 of the image that it is about
	Key     string  `json:"key"`   // fingerprint of who signed
	Verdict Verdict `json:"verdict"`
}

// Tool is the program that plans and runs.
type Tool struct {
	Version string `json:"version"`
	// SHA256 of the executable stands for its code: between releases the
	// version does not change.
	SHA256 string `json:"sha256"`
}

// Booted tells whether a machine has to run the cell's image.
func (c Cell) Booted() bool { return slices.Contains(c.Suite.Stages, StageE2E) }

// name puts the combination into one line.
func (c Cell) name() string {
	return strings.Join([]string{c.Profile, "kubernetes-" + c.Kubernetes, "containerd-" + c.Containerd, "runc-" + c.Runc, c.Arch, c.Firmware}, "/")
}

// Identify sets the cell's name, image key and ID from the rest of it. What is
// expected of a cell and what was attested are no part of it.
func (c *Cell) Identify(tool Tool) {
	c.Name = c.name()
	c.ImageKey = digest("image", c.ProfileSHA256, c.Base, tool)
	c.ID = digest("cell/1", c.ImageKey, c.Arch, c.Firmware, c.Suite)
}

// digest is the sha256, in hexadecimal, of values' JSON.
func digest(parts ...any) string {
	data, err := json.Marshal(parts)
	if err != nil {
		// Strings, lists and structs of them.
		panic(fmt.Sprintf("digest: %v", err))
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// PlanSchema is the version of the Plan document.
const PlanSchema = "nodeimage.dev/matrix-plan/v1"

// Plan is every cell of a matrix, in the order in which shards take them:
// those of one image together.
type Plan struct {
	Schema string `json:"schema"`
	Matrix string `json:"matrix"` // its name
	Tool   Tool   `json:"tool"`
	// SHA256 is over all IDs, names and expectations: machines with the same
	// plan have the same.
	SHA256 string `json:"sha256"`
	Cells  []Cell `json:"cells"`
}

// digest is over what every cell is and what is expected of it; what was
// attested in the meantime changes no plan.
func (p Plan) digest() string {
	type line struct {
		ID, Name string
		KnownBad *KnownBad
	}
	lines := make([]line, len(p.Cells))
	for i, c := range p.Cells {
		lines[i] = line{c.ID, c.Name, c.KnownBad}
	}
	return digest("plan/1", p.Matrix, lines)
}

// Seal sorts the cells as shards take them and sets schema and digest.
func (p *Plan) Seal() {
	p.Schema = PlanSchema
	slices.SortFunc(p.Cells, order)
	p.SHA256 = p.digest()
}

// Find returns the cell whose ID begins with prefix. It is an error if none
// does, or several do.
func (p Plan) Find(prefix string) (Cell, error) {
	var found []Cell
	for _, c := range p.Cells {
		if prefix != "" && strings.HasPrefix(c.ID, prefix) || c.Name == prefix {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return Cell{}, fmt.Errorf("no cell of the plan has an ID that begins with %q; 'nodeimage matrix plan' lists them", prefix)
	default:
		return Cell{}, fmt.Errorf("%d cells of the plan have an ID that begins with %q; give more of it", len(found), prefix)
	}
}

// order sorts cells as shards take them.
func order(a, b Cell) int {
	return cmp.Or(strings.Compare(a.ImageKey, b.ImageKey), strings.Compare(a.ID, b.ID))
}
