// Package containerd says what a containerd of a given version makes of the
// configuration in an image: not what the files say, but what is in effect.
//
// The same file means different things to different releases. Releases 1.x
// replace the whole CRI section by a drop-in's, 2.x merge them; a version 3
// file was ignored in silence by 1.7.16 and is refused by 1.7.17; 2.0 to 2.2
// migrate only where the merged version is old, 2.3 migrates each file. The
// rules here follow the sources of each release and are compared with what
// the real binaries print by `containerd config dump`.
package containerd

import (
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// DefaultPath is the file that containerd reads when its command line names none.
const DefaultPath = "/etc/containerd/config.toml"

// The runtime types whose options carry SystemdCgroup.
const (
	TypeRuncV1  = "io.containerd.runc.v1" // 1.x only
	TypeRuncV2  = "io.containerd.runc.v2"
	TypeLinuxV1 = "io.containerd.runtime.v1.linux" // 1.x only
)

// A Driver manages the containers' cgroups.
type Driver string

// The drivers that a kubelet and a runtime have to agree on.
const (
	Systemd  Driver = "systemd"
	Cgroupfs Driver = "cgroupfs"
)

// Setting is one effective value and where it comes from.
type Setting[T any] struct {
	Value T
	// Key is the key as written in the file, empty for a built-in default.
	Key string
	Pos source.Position
}

// Config is the effective configuration.
type Config struct {
	Version Version // of the binary
	// Extrapolated is set for releases outside of those whose code was
	// read; the rules of the nearest one were taken.
	Extrapolated bool
	// Path is the main file, and Present says that it exists. Without it
	// containerd runs on defaults and reads no drop-in.
	Path    string
	Present bool
	// FileVersion is what the main file says (0 if it says nothing),
	// Schema the newest version that the binary knows.
	FileVersion Setting[int]
	Schema      int
	// Files are the files that were read, in the order they were merged.
	Files []File

	// Refusal says why containerd does not start. The rest of the Config is
	// then what had been read until then.
	Refusal *Fault
	// CRIFault says why containerd starts without its CRI plugin.
	CRIFault *Fault
	// CRIDisabled is the entry of disabled_plugins that turns the CRI off.
	CRIDisabled *Setting[string]

	// Handlers by name. DefaultHandler names the one for pods without a
	// RuntimeClass.
	Handlers       map[string]*Handler
	DefaultHandler Setting[string]
	// LegacySystemdCgroup is systemd_cgroup of the CRI section, which no containerd since 1.4 obeys for runc.
	LegacySystemdCgroup *Setting[bool]
	SandboxImage        Setting[string]
	CNIBinDirs          Setting[[]string]
	CNIConfDir          Setting[string]
	DisableAppArmor     Setting[bool]
	RegistryConfigPath  Setting[string]
	Snapshotter         Setting[string]

	DisabledPlugins []Setting[string]
	RequiredPlugins []Setting[string]
	Root            Setting[string] // persistent data
	State           Setting[string]
	Address         Setting[string] // gRPC socket
	Imports         []Setting[string]

	// Values are all keys of the merged files with their text, by dotted key:
	// those that have an effect, whether or not they are modelled above.
	Values map[string]Setting[string]
	// Ignored are the keys that have no effect.
	Ignored []Ignored
	// Log is what containerd logs about its configuration when it starts.
	Log []LogLine
}

// File is one configuration file that was read.
type File struct {
	Path    string
	Version int // as written, 0 without
}

// Fault is something containerd does not accept.
type Fault struct {
	Text string // as containerd words it
	Key  string
	Pos  source.Position
}

// Ignored is a key without effect.
type Ignored struct {
	Key    string
	Pos    source.Position
	Reason string
	// Logged says that containerd warns about it.
	Logged bool
}

// LogLine is a warning that containerd logs.
type LogLine struct {
	Text string
	Key  string
	Pos  source.Position
}

// Handler is one CRI runtime handler.
type Handler struct {
	Name string
	// Pos is where a file defines the handler; the default position for the
	// built-in runc.
	Pos  source.Position
	Key  string
	Type Setting[string]
	// BinaryName is runc's path or name, empty for the shim's default ("runc" in PATH).
	BinaryName Setting[string]
	// HasOptions is false for a handler without an options table. Then
	// containerd 2 cannot tell the kubelet its driver and moves on to the next one.
	HasOptions    bool
	SystemdCgroup CgroupSetting
	// PodFault says why no pod can start with this handler, empty if they can.
	PodFault string
}

// CgroupSetting is the key that decides about the cgroup driver of one handler.
type CgroupSetting struct {
	// Written is the value as `containerd config dump` shows it, nil if the
	// handler has none, and Type its TOML type: "true" in quotes is a
	// string, and no driver.
	Written any
	Type    string
	Key     string
	Pos     source.Position
	// Effective is what the shim is told.
	Effective bool
}

// IsRunc reports whether the handler's options are runc's.
func (h *Handler) IsRunc() bool {
	return h.Type.Value == TypeRuncV2 || h.Type.Value == TypeRuncV1
}

// Driver is the driver that pods of this handler get, "" where the runtime
// has a way of its own (Kata, gVisor).
func (h *Handler) Driver() Driver {
	switch {
	case h.IsRunc() && h.SystemdCgroup.Effective:
		return Systemd
	case h.IsRunc(), h.Type.Value == TypeLinuxV1:
		return Cgroupfs
	}
	return ""
}
