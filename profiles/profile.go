// Package profiles loads, merges and checks node-image profiles.
//
// A profile is one YAML file that says everything an image is made from:
// operating system, archive, packages, kernel, component versions with their
// sources and sums, host settings, disk. It knows neither Packer nor QEMU.
//
// docs/profile-reference.md is made from the comments in this file. A field's
// comment ends with "Required.", "Optional." or "Default: X."; a test compares
// the last with what Load fills in.
package profiles

//go:generate go run ../internal/gen/profileref -o ../docs/profile-reference.md profile.go
//go:generate go run ../internal/gen/profiletable ../README.md

// APIVersion and Kind are the only ones this release reads.
const (
	APIVersion = "nodeimage.dev/v1alpha1"
	Kind       = "Profile"
)

// Profile is the effective description of one supported node image, after
// `extends` has been followed and defaults have been filled in.
type Profile struct {
	// The version of the file format, `nodeimage.dev/v1alpha1`, in each file of a chain. Required.
	APIVersion string `yaml:"apiVersion" json:"apiVersion"`
	// `Profile`, in each file of a chain. Required.
	Kind string `yaml:"kind" json:"kind"`
	// What the profile and the files built from it are called: lower-case
	// letters, digits, dots and hyphens, at most 63. Not inherited. Required.
	Name string `yaml:"name" json:"name"`
	// One line for people. Not inherited. Optional.
	Description string `yaml:"description,omitempty" json:"description,omitempty"`
	// The name of a base profile, looked up as NAME.yaml beside this file and
	// then among the built-in ones. Mappings merge key by key; lists and
	// single values of this file replace those of the base. Optional.
	Extends string `yaml:"extends,omitempty" json:"-"`
	// `true` for a profile that only serves as a base and cannot be built. Not inherited. Optional.
	Abstract bool `yaml:"abstract,omitempty" json:"-"`

	// The operating system. Required.
	OS OS `yaml:"os" json:"os"`
	// What the image begins as. Without it, the packages alone: they are
	// bootstrapped from the archive, and the disk is laid out anew. Optional.
	Base Base `yaml:"base,omitempty" json:"base,omitzero"`
	// Where distribution packages come from. Required.
	Archive Archive `yaml:"archive" json:"archive"`
	// Which distribution packages are installed. Required.
	Packages Packages `yaml:"packages" json:"packages"`
	// The kernel and its command line. Required.
	Kernel Kernel `yaml:"kernel" json:"kernel"`
	// Settings of the operating system. Optional.
	Host Host `yaml:"host" json:"host"`
	// Settings of containerd and runc. Optional.
	Runtime Runtime `yaml:"runtime" json:"runtime"`
	// Settings of kubeadm and the kubelet. Optional.
	Kubernetes Kubernetes `yaml:"kubernetes" json:"kubernetes"`
	// The pinned software beside the distribution, by name. All of these are
	// needed: `containerd`, `runc`, `cni-plugins`, `kubernetes`, `etcd`,
	// `coredns`, `pause`, and `kube-proxy-base`, the packages in kube-proxy's
	// image. kubeadm's images are assembled from them. `kube-apiserver`,
	// `kube-controller-manager`, `kube-scheduler` and `kube-proxy` may be pulled
	// from a registry instead, each by its digest; kube-proxy then needs no
	// `kube-proxy-base`. Where `kubernetes` is a release's files and one of the
	// four is not pulled, `control-plane` is what it is assembled from. `crictl` is optional. Required.
	Components map[string]Component `yaml:"components" json:"components"`
	// The finished disk. Required.
	Disk Disk `yaml:"disk" json:"disk"`
	// What is different for an architecture, by `os.arch`. It is merged over the
	// rest of the same file, as a file is over its base; a file that extends this
	// one has the last word. Optional.
	ByArch map[string]Difference `yaml:"byArch,omitempty" json:"-"`
	// What the image is made from that is not the real thing, each in a few
	// words: `Ubuntu's archive`. The manifest and every report of the suite
	// repeat it, and no gate lets such an image through. Optional.
	StandIns []string `yaml:"standIns,omitempty" json:"standIns,omitempty"`
	// What is known to go wrong on the profile's release and is wanted all the
	// same, by the IDs of the refusals: for an image that is to be seen red, such
	// as a known-bad cell of a matrix. Checks and specs still say it. Optional.
	KnownFaults []string `yaml:"knownFaults,omitempty" json:"knownFaults,omitempty"`
}

// OS identifies the distribution as /etc/os-release of the image will.
type OS struct {
	// The os-release ID: `debian` or `ubuntu`. Required.
	Distribution string `yaml:"distribution" json:"distribution"`
	// The os-release VERSION_ID, in quotes: `"13"`, `"24.04"`. Required.
	Version string `yaml:"version" json:"version"`
	// The release's code name: `trixie`, `noble`. Required.
	Codename string `yaml:"codename" json:"codename"`
	// The architecture by its Debian name: `amd64` or `arm64`. Required.
	Arch string `yaml:"arch" json:"arch"`
}

// Difference is what an architecture has in place of what the file says. Each of
// its sections has the keys of the profile's own section of that name.
type Difference struct {
	// Where distribution packages come from. Optional.
	Archive Archive `yaml:"archive,omitempty" json:"archive,omitzero"`
	// What the image begins as. Optional.
	Base Base `yaml:"base,omitempty" json:"base,omitzero"`
	// Which distribution packages are installed. Optional.
	Packages Packages `yaml:"packages,omitempty" json:"packages,omitzero"`
	// The kernel and its command line. Optional.
	Kernel Kernel `yaml:"kernel,omitempty" json:"kernel,omitzero"`
	// Settings of the operating system. Optional.
	Host Host `yaml:"host,omitempty" json:"host,omitzero"`
	// The pinned software beside the distribution, by name. Optional.
	Components map[string]Component `yaml:"components,omitempty" json:"components,omitzero"`
	// The finished disk. Optional.
	Disk Disk `yaml:"disk,omitempty" json:"disk,omitzero"`
}

// Base is what an image begins as when it is not bootstrapped.
type Base struct {
	// An image that the distribution made. Required.
	CloudImage CloudImage `yaml:"cloudImage,omitempty" json:"cloudImage,omitzero"`
}

// CloudImage is a dated image of the distribution, whose partitions, boot loader,
// shim and kernel are kept: qcow2, raw or VHD, told by its content, with a GUID
// partition table and an ext4 root, and with its /boot either in the root or in an ext4
// partition of its own. The packages that it lacks are installed from `archive`;
// `kernel.package` has to be in it. `disk.size` is what it grows to;
// `disk.espSize`, `disk.rootLabel` and `packages.variant` say nothing about it.
type CloudImage struct {
	// Where the image is: `http://` or `https://`, with the image's date in the
	// path. An address that leads to another image tomorrow, as those with
	// `current` or `latest` do, is refused. Required.
	URL string `yaml:"url" json:"url"`
	// The sha256 of the file at `url`. Required.
	SHA256 string `yaml:"sha256" json:"sha256"`
	// The signed list of sums beside the image, which has to name the same sha256.
	// Required for Ubuntu, which signs one. Debian signs none of its cloud
	// images': there `sha256` alone is what the image is held to. Optional.
	Sums SignedSums `yaml:"sums,omitempty" json:"sums,omitzero"`
}

// SignedSums is a file as sha256sum writes it, with a detached OpenPGP signature.
type SignedSums struct {
	// Where the list is: `http://` or `https://`, dated as the image's is. Its
	// signature is there, too, with `.gpg` at the end. Required.
	URL string `yaml:"url" json:"url"`
	// Absolute path, on the build host, of the keyring that it has to be signed
	// by. Ubuntu's is /usr/share/keyrings/ubuntu-cloudimage-keyring.gpg, of the
	// package `ubuntu-keyring`. Required.
	Keyring string `yaml:"keyring" json:"keyring"`
	// The fingerprint of the one key of the keyring that counts, in 40 or 64
	// upper-case hexadecimal digits. Optional.
	Signer string `yaml:"signer,omitempty" json:"signer,omitempty"`
}

// Archive is where packages come from.
type Archive struct {
	// Absolute path, on the build host, of the keyring that every source's
	// Release file must be signed by, unless the source names its own. Required.
	Keyring string `yaml:"keyring" json:"keyring"`
	// Build from the archive as it was at this moment, such as
	// `20261101T000000Z`. Every source then needs its `snapshotURI`. The image's
	// own sources.list stays that of the living archive. Optional.
	Snapshot string `yaml:"snapshot,omitempty" json:"snapshot,omitempty"`
	// At least one source. Together they are also the image's own
	// sources.list. Required.
	Sources []ArchiveSource `yaml:"sources" json:"sources"`
}

// ArchiveSource is one deb822 stanza.
type ArchiveSource struct {
	// The mirror: `http://`, `https://` or `file://`, without user and password. Required.
	URI string `yaml:"uri" json:"uri"`
	// Suites, such as `trixie-updates`. At least one. Required.
	Suites []string `yaml:"suites" json:"suites"`
	// Archive components, such as `main`. At least one. Required.
	Components []string `yaml:"components" json:"components"`
	// Absolute path, on the build host, of this source's own keyring, which is
	// copied into the image. Optional.
	Keyring string `yaml:"keyring,omitempty" json:"keyring,omitempty"`
	// The fingerprint of the one key that may have signed the source's Release
	// files, in 40 or 64 upper-case hexadecimal digits: for an archive that is not
	// the distribution's, whose keyring came from wherever it did. Optional.
	Signer string `yaml:"signer,omitempty" json:"signer,omitempty"`
	// Where the source's past states are, with `{snapshot}` for the moment. Optional.
	SnapshotURI string `yaml:"snapshotURI,omitempty" json:"snapshotURI,omitempty"`
}

// Packages lists the distribution packages beside the essential set.
type Packages struct {
	// mmdebstrap's variant: `essential`, `apt`, `required`, `minbase`,
	// `buildd`, `important` or `standard`. Default: `minbase`.
	Variant string `yaml:"variant" json:"variant"`
	// Groups of packages, so that a profile can replace one group and keep the
	// others. The names of the groups are free. Packages that are only
	// recommended by these are not installed. Required.
	Include map[string][]string `yaml:"include" json:"include"`
}

// Kernel selects the kernel package and its command line.
type Kernel struct {
	// The kernel's package, such as `linux-image-amd64`. Required.
	Package string `yaml:"package" json:"package"`
	// Arguments, one an item, without blanks and quotes. `root=` is the
	// builder's own. Default: none.
	CommandLine []string `yaml:"commandLine" json:"commandLine"`
}

// Host holds the operating-system settings a Kubernetes node needs.
type Host struct {
	// Kernel modules loaded at each boot. Default: none.
	Modules []string `yaml:"modules" json:"modules"`
	// Kernel parameters set at each boot. Values are strings, in quotes:
	// `net.ipv4.ip_forward: "1"`. Default: none.
	Sysctls map[string]string `yaml:"sysctls" json:"sysctls"`
	// systemd units that start at boot, by full name: `ssh.service`. Default: none.
	EnableUnits []string `yaml:"enableUnits" json:"enableUnits"`
	// systemd units that do not start by themselves. Default: none.
	DisableUnits []string `yaml:"disableUnits" json:"disableUnits"`
	// systemd units that nothing can start. Default: none.
	MaskUnits []string `yaml:"maskUnits" json:"maskUnits"`
	// How much disk the journal may take: journald's SystemMaxUse, in bytes or
	// with K, M, G or T. Default: `256M`.
	JournalMax string `yaml:"journalMaxUse" json:"journalMaxUse"`
	// Time zone. Default: `Etc/UTC`.
	TimeZone string `yaml:"timeZone" json:"timeZone"`
	// Locale. Default: `C.UTF-8`.
	Locale string `yaml:"locale" json:"locale"`
	// Where cloud-init looks for a node's keys and configuration, in this
	// order. Default: `NoCloud`, `None`.
	Datasources []string `yaml:"cloudInitDatasources" json:"cloudInitDatasources"`
}

// Runtime configures containerd and runc.
type Runtime struct {
	// Who manages cgroups, for every runc handler: `systemd`. `cgroupfs`
	// beside kubeadm's kubelet is a fault (kubernetes/kubernetes#110177) and
	// is accepted only so that the fault can be shown. Default: `systemd`.
	CgroupDriver string `yaml:"cgroupDriver" json:"cgroupDriver"`
	// Where runc is installed; with `source: deb`, where its package has it, as
	// /usr/bin/runc of Docker's containerd.io. /usr/sbin/runc and /usr/bin/runc get the label
	// of AppArmor 4's `runc` profile, which containerd before 1.7.18 does not
	// let signal containers (containerd/containerd#10542).
	// Default: `/usr/local/sbin/runc`.
	RuncPath string `yaml:"runcPath" json:"runcPath"`
	// The directory of the CNI plugins. Default: `/opt/cni/bin`.
	CNIBinDir string `yaml:"cniBinDir" json:"cniBinDir"`
	// The directory of the CNI configuration. Default: `/etc/cni/net.d`.
	CNIConfDir string `yaml:"cniConfDir" json:"cniConfDir"`
	// The handler of pods that name no RuntimeClass; one of `handlers`. Default: `runc`.
	DefaultHandler string `yaml:"defaultHandler" json:"defaultHandler"`
	// CRI runtime handlers. Default: one called `runc` of type `io.containerd.runc.v2`.
	Handlers []Handler `yaml:"handlers" json:"handlers"`
	// LimitNOFILE of containerd.service, and so of every container:
	// `"SOFT:HARD"`. Default: `1024:524288`.
	NoFile string `yaml:"limitNoFile" json:"limitNoFile"`
	// Layers of one image that are pulled at the same time, at least 1. Default: `3`.
	MaxConcurrentDownloads int `yaml:"maxConcurrentDownloads" json:"maxConcurrentDownloads"`
}

// Handler is one CRI runtime handler.
type Handler struct {
	// What a RuntimeClass calls it. Required.
	Name string `yaml:"name" json:"name"`
	// The shim's runtime type, such as `io.containerd.runc.v2`. Required.
	Type string `yaml:"type" json:"type"`
}

// Kubernetes configures what kubeadm, the kubelet and the preload need.
type Kubernetes struct {
	// kubeadm's imageRepository, the prefix of all preloaded images. Default: `registry.k8s.io`.
	ImageRepository string `yaml:"imageRepository" json:"imageRepository"`
	// The resolv.conf that the kubelet hands to pods: never the stub of
	// systemd-resolved, through which CoreDNS would ask itself
	// (coredns/coredns#2087). Default: `/run/systemd/resolve/resolv.conf`.
	ResolvConf string `yaml:"resolvConf" json:"resolvConf"`
}

// SourceKind says where a component's bytes come from.
type SourceKind string

// The sources a component may have.
const (
	SourceGoModule SourceKind = "gomod"    // built from a Go module
	SourceDeb      SourceKind = "deb"      // installed from the profile's archive
	SourceRelease  SourceKind = "release"  // an upstream release file
	SourceFile     SourceKind = "file"     // a file on the build host
	SourceRegistry SourceKind = "registry" // a container image in a registry
)

// Component is one pinned piece of software that is not part of the base system.
type Component struct {
	// The version as upstream writes it without a leading v: `1.37.2`. For
	// `deb` the package's version. kube-proxy-base has none; kube-apiserver and
	// its like have that of kubernetes. Required.
	Version string `yaml:"version,omitempty" json:"version,omitempty"`
	// Where it comes from: `gomod`, `deb`, `release`, `file` or, for a container
	// image, `registry`. A key that the source does not use is refused. Required.
	Source SourceKind `yaml:"source" json:"source"`
	// For `gomod`, required: the path of the Go module. pause, one C file,
	// lives in `k8s.io/kubernetes`. Optional.
	Module string `yaml:"module,omitempty" json:"module,omitempty"`
	// For `gomod`: the module's version where it is not "v" and `version`, as
	// with pause 3.10.2 from k8s.io/kubernetes v1.37.2. Optional.
	ModuleVersion string `yaml:"moduleVersion,omitempty" json:"moduleVersion,omitempty"`
	// For `gomod`, required: the `h1:` sum of the Go checksum database, as
	// `go mod download -json` prints it. Optional.
	Sum string `yaml:"sum,omitempty" json:"sum,omitempty"`
	// For etcd, coredns and pause, required: the container image that kubeadm
	// asks for, without repository: `etcd:3.7.0-0`. Optional.
	Image string `yaml:"image,omitempty" json:"image,omitempty"`
	// For `deb`, required: packages from the profile's archive. Those of
	// kube-proxy-base go into kube-proxy's image, all others into the root
	// file system. Optional.
	Packages []string `yaml:"packages,omitempty" json:"packages,omitempty"`
	// For `deb`: the sha256, by architecture, that the archive has to list for the
	// first package in this version. Optional.
	SHA256 map[string]string `yaml:"sha256,omitempty" json:"sha256,omitempty"`
	// For `release` and `file`: the files that the component's programs are in.
	// A release whose sums come with nodeimage (profiles/releases.yaml) needs
	// none here; for `file`, required. Optional.
	Files []ReleaseFile `yaml:"files,omitempty" json:"files,omitempty"`
	// For `registry`, required: `sha256:` and the digest of the image, or of the
	// index that has one for each architecture. Optional.
	Digest string `yaml:"digest,omitempty" json:"digest,omitempty"`
}

// ReleaseFile is one file of a `release` or `file` component: a program, or an
// archive of them (.tar.gz, .tgz, .tar.zst).
type ReleaseFile struct {
	// What a program is called in the image. It is the last element of `url` or
	// `path` unless this says otherwise. An archive has none. Optional.
	Name string `yaml:"name,omitempty" json:"name,omitempty"`
	// For `release`, required: where the file is. `{version}` and `{arch}` stand
	// for the component's version and the profile's architecture. Optional.
	URL string `yaml:"url,omitempty" json:"url,omitempty"`
	// For `file`, required: absolute path on the build host, with the same
	// placeholders. Optional.
	Path string `yaml:"path,omitempty" json:"path,omitempty"`
	// The file's sha256 by architecture, the profile's own at least. Required.
	SHA256 map[string]string `yaml:"sha256" json:"sha256"`
}

// Disk describes the finished disk.
type Disk struct {
	// Virtual size: a whole number of MiB, at least `4GiB`. The root file
	// system grows to a larger disk at the first boot. Required.
	Size string `yaml:"size" json:"size"`
	// Which files are written: `qcow2`, `raw`, `vhd` (fixed, as Azure wants
	// it), `vmdk` (stream-optimized) and `ova` (amd64 only). Default: `qcow2`.
	Formats []string `yaml:"formats" json:"formats"`
	// Size of the EFI system partition: at least `33MiB`, the smallest FAT32,
	// and at most a quarter of the disk. Default: `64MiB`.
	ESPSize string `yaml:"espSize" json:"espSize"`
	// ext4 label and GPT partition name of the root file system, at most 16
	// bytes. Default: `nodeimage-root`.
	RootLabel string `yaml:"rootLabel" json:"rootLabel"`
}
