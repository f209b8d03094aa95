// Package plan describes what is to be done to a machine as data: a Plan can
// be printed, compared with a golden file and hashed. An executor carries it
// out over any Packer communicator; carrying it out twice changes nothing.
package plan

import "fmt"

// Plan is an ordered list of steps under the name of its provisioner.
type Plan struct {
	Name  string `json:"name"`
	Steps []Step `json:"steps"`
}

// Step is one thing to do. Exactly one of the pointers is set.
type Step struct {
	// Why says in a phrase what the step is for, with an upstream reference
	// where a fault is behind it.
	Why       string     `json:"why"`
	File      *File      `json:"file,omitempty"`
	Directory *Directory `json:"directory,omitempty"`
	Link      *Link      `json:"link,omitempty"`
	Unit      *Unit      `json:"unit,omitempty"`
	Remove    *Remove    `json:"remove,omitempty"`
	Command   *Command   `json:"command,omitempty"`
	// Last is set for a removal of what the login itself may work by, as its
	// rule for sudo: it comes at the end of a plan, and the machine is asked
	// nothing after it.
	Last bool `json:"last,omitempty"`
}

// File is a regular file with exact content, owned by root. The content is
// either Content or what Component names; neither means an empty file.
type File struct {
	Path    string `json:"path"`
	Mode    Mode   `json:"mode"`
	Content string `json:"content,omitempty"`
	// Component says in words which pinned file this is, as in
	// "containerd 2.3.7: ctr". A plan made from a profile alone knows no more
	// than that: it can be printed and compared, but not carried out.
	Component string `json:"component,omitempty"`
	// Source is Component's file on this host; SHA256 is its digest, so that
	// plans hash by content and not by where a cache lies.
	Source string `json:"-"`
	SHA256 string `json:"sha256,omitempty"`
}

// Mode is the permission bits of a file or directory. It is printed the way
// people write it, in octal.
type Mode uint32

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%04o", uint32(m)), nil }

// Directory is a directory with a mode; parents are made 0755.
type Directory struct {
	Path string `json:"path"`
	Mode Mode   `json:"mode"`
}

// Link is a symbolic link.
type Link struct {
	Path   string `json:"path"`
	Target string `json:"target"`
}

// UnitState is what a systemd unit shall be at boot.
type UnitState string

// The states a unit can be put in; none of them starts it now.
const (
	UnitEnabled  UnitState = "enabled"
	UnitDisabled UnitState = "disabled"
	UnitMasked   UnitState = "masked"
)

// Unit sets a systemd unit's state offline (systemctl --root or in place).
type Unit struct {
	Name  string    `json:"name"`
	State UnitState `json:"state"`
}

// Remove deletes paths; shell globs in the last element are allowed. Absent
// paths are no error.
type Remove struct {
	Paths []string `json:"paths"`
}

// Command runs argv. It must be guarded: unless `Unless` exits 0 before it.
// A command without a guard is run each time and must itself be idempotent,
// which Idempotent asserts.
type Command struct {
	Argv       []string          `json:"argv"`
	Env        map[string]string `json:"env,omitempty"`
	Unless     []string          `json:"unless,omitempty"`
	Idempotent bool              `json:"idempotent,omitempty"`
	// Stage holds files that are there only while Argv runs, not for Unless.
	// The executor picks their directory and passes it in the environment
	// variable StageVariable; their paths are base names in it.
	Stage []File `json:"stage,omitempty"`
}

// StageVariable names the environment variable that tells a Command where its
// Stage files are.
const StageVariable = "NODEIMAGE_STAGE"
