package profiles

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// refusals change one thing in testdata/good.yaml. Each wants exactly these
// problems, without the file's name.
var refusals = []struct {
	name     string
	old, new string
	want     []string
}{
	{"unknown key", "    version: 1.5.2\n", "    verison: 1.5.2\n", []string{
		"60:5: components.runc.verison: unknown key; did you mean \"version\"?",
	}},
	{"unknown key, nothing near", "kind: Profile\n", "kind: Profile\nflavour: salt\n", []string{
		"3:1: flavour: unknown key; expected one of apiVersion, kind, name, description, extends, abstract, os, base, archive, packages, kernel, host, runtime, kubernetes, components, disk, byArch, standIns, knownFaults",
	}},
	{"unknown section with a near name", "runtime:\n", "runtimes:\n", []string{
		"34:1: runtimes: unknown key; did you mean \"runtime\"?",
	}},
	{"duplicate key", "  codename: trixie\n", "  codename: trixie\n  codename: noble\n", []string{
		"8:3: os.codename: duplicate key: first given in line 7",
	}},
	{"key that is a number", "    init: [systemd, systemd-sysv]", "    1: [systemd, systemd-sysv]", []string{
		"18:5: packages.include: found a key that is no string: expected a name; quote it: \"1\"",
	}},
	{"merge key", "    init: [systemd, systemd-sysv]", "    <<: {}", []string{
		"18:5: packages.include: found a key that is no string: expected a name",
	}},
	{"number for a string", "  version: \"13\"\n", "  version: 13\n", []string{
		"6:12: os.version: found the number 13, expected a string; quote it: \"13\"",
	}},
	{"fraction for a string", "  version: \"13\"\n", "  version: 24.04\n", []string{
		"6:12: os.version: found the number 24.04, expected a string; quote it: \"24.04\"",
	}},
	{"truth value for a string", "  rootLabel: root\n", "  rootLabel: true\n", []string{
		"97:14: disk.rootLabel: found the truth value true, expected a string; quote it: \"true\"",
	}},
	{"date for a string", "  rootLabel: root\n", "  rootLabel: 2026-11-23\n", []string{
		"97:14: disk.rootLabel: found the date 2026-11-23, expected a string; quote it: \"2026-11-23\"",
	}},
	{"nothing for a string", "  timeZone: Etc/UTC\n", "  timeZone:\n", []string{
		"31:12: host.timeZone: found nothing, expected a string",
	}},
	{"empty string", "  timeZone: Etc/UTC\n", "  timeZone: \"\"\n", []string{
		"31:13: host.timeZone: found an empty string, expected a string",
	}},
	{"string of its own tag", "  timeZone: Etc/UTC\n", "  timeZone: !zone Etc/UTC\n", []string{
		"31:13: host.timeZone: found a value tagged !zone, expected a string",
	}},
	{"list for a string", "  timeZone: Etc/UTC\n", "  timeZone: [Etc/UTC]\n", []string{
		"31:13: host.timeZone: found a list, expected a string",
	}},
	{"string for a list", "  modules: [overlay, br_netfilter]\n", "  modules: overlay\n", []string{
		"24:12: host.modules: found the string \"overlay\", expected a list",
	}},
	{"mapping for a list", "  modules: [overlay, br_netfilter]\n", "  modules: {overlay: true}\n", []string{
		"24:12: host.modules: found a mapping, expected a list",
	}},
	{"string for a mapping", "    net.ipv4.ip_forward: \"1\"\n", "    - net.ipv4.ip_forward\n", []string{
		"26:5: host.sysctls: found a list, expected a mapping",
	}},
	{"string for a section", "disk:\n  size: 8GiB\n  formats: [qcow2, raw]\n  espSize: 64MiB\n  rootLabel: root\n", "disk: 8GiB\n", []string{
		"93:7: disk: found the string \"8GiB\", expected a mapping",
	}},
	{"string for a number", "  maxConcurrentDownloads: 3\n", "  maxConcurrentDownloads: three\n", []string{
		"44:27: runtime.maxConcurrentDownloads: found the string \"three\", expected a whole number of at least 1",
	}},
	{"zero", "  maxConcurrentDownloads: 3\n", "  maxConcurrentDownloads: 0\n", []string{
		"44:27: runtime.maxConcurrentDownloads: found the number 0, expected a whole number of at least 1",
	}},
	{"string for a truth value", "kind: Profile\n", "kind: Profile\nabstract: yes\n", []string{
		"3:11: abstract: found the string \"yes\", expected true or false",
	}},
	{"anchor and alias", "  sources:\n    - uri: http://deb.debian.org/debian\n      suites: [trixie, trixie-updates]", "  sources:\n    - uri: http://deb.debian.org/debian\n      suites: &s [trixie]\n      components: [main]\n    - uri: http://deb.debian.org/more\n      suites: *s", []string{
		"13:15: archive.sources[0].suites: anchor &s: anchors and aliases are not read; write the value out, or put it into a base profile",
		"16:15: archive.sources[1].suites: alias *s: anchors and aliases are not read; write the value out, or put it into a base profile",
	}},
	{"second document", "  rootLabel: root\n", "  rootLabel: root\n---\nkind: Profile\n", []string{
		"98:1: second document: expected one profile a file",
	}},
	{"no YAML", "  formats: [qcow2, raw]\n", "  formats: [qcow2, raw\n", []string{
		"95: not YAML: did not find expected ',' or ']'",
	}},
	{"other API version", "nodeimage.dev/v1alpha1", "nodeimage.dev/v2", []string{
		"1:13: apiVersion: found the string \"nodeimage.dev/v2\", expected \"nodeimage.dev/v1alpha1\"",
	}},
	{"no API version", "apiVersion: nodeimage.dev/v1alpha1\n", "", []string{
		"1:1: apiVersion: missing: expected \"nodeimage.dev/v1alpha1\"",
	}},
	{"other kind", "kind: Profile", "kind: Compatibility", []string{
		"2:7: kind: found the string \"Compatibility\", expected \"Profile\"",
	}},
	{"no name", "name: good\n", "", []string{
		"1:1: name: missing: expected a name of lower-case letters, digits, dots and hyphens, at most 63",
	}},
	{"name with a slash", "name: good", "name: a/b", []string{
		"3:7: name: found \"a/b\", expected a name of lower-case letters, digits, dots and hyphens, at most 63",
	}},
	{"abstract", "kind: Profile\n", "kind: Profile\nabstract: true\n", []string{
		"3:11: abstract: this profile is only a base for others and cannot be built; name one that extends it",
	}},
	{"no section", "os:\n  distribution: debian\n  version: \"13\"\n  codename: trixie\n  arch: amd64\n", "", []string{
		"1:1: os.arch: missing: expected one of amd64, arm64",
		"1:1: os.codename: missing: expected a release's code name, such as trixie",
		"1:1: os.distribution: missing: expected one of debian, ubuntu",
		"1:1: os.version: missing: expected VERSION_ID of os-release, such as \"13\" or \"24.04\"",
	}},
	{"unknown distribution", "distribution: debian", "distribution: debain", []string{
		"5:17: os.distribution: found \"debain\", expected one of debian, ubuntu; did you mean \"debian\"?",
	}},
	{"unknown architecture", "  arch: amd64", "  arch: x86_64", []string{
		"8:9: os.arch: found \"x86_64\", expected one of amd64, arm64",
	}},
	{"code name in capitals", "codename: trixie", "codename: Trixie", []string{
		"7:13: os.codename: found \"Trixie\", expected a release's code name, such as trixie",
	}},
	{"version with a word", "version: \"13\"", "version: thirteen", []string{
		"6:12: os.version: found \"thirteen\", expected VERSION_ID of os-release, such as \"13\" or \"24.04\"",
	}},
	{"no code name", "  codename: trixie\n", "", []string{
		"4:1: os.codename: missing: expected a release's code name, such as trixie",
	}},
	{"relative keyring", "keyring: /usr/share/", "keyring: usr/share/", []string{
		"10:12: archive.keyring: found \"usr/share/keyrings/debian-archive-keyring.gpg\", expected the absolute path of a keyring file on the build host, without ., .. or a slash at the end",
	}},
	{"keyring path not clean", "keyring: /usr/share/", "keyring: /usr/../share/", []string{
		"10:12: archive.keyring: found \"/usr/../share/keyrings/debian-archive-keyring.gpg\", expected the absolute path of a keyring file on the build host, without ., .. or a slash at the end",
	}},
	{"no sources", "  sources:\n    - uri: http://deb.debian.org/debian\n      suites: [trixie, trixie-updates]\n      components: [main]\n", "", []string{
		"9:1: archive.sources: found none, expected at least one source",
	}},
	{"no sources in the list", "  sources:\n    - uri: http://deb.debian.org/debian\n      suites: [trixie, trixie-updates]\n      components: [main]\n", "  sources: []\n", []string{
		"11:12: archive.sources: found none, expected at least one source",
	}},
	{"scheme", "http://deb.debian.org/debian", "ftp://deb.debian.org/debian", []string{
		"12:12: archive.sources[0].uri: found \"ftp://deb.debian.org/debian\", expected a URI that starts with http:// or https:// or file://",
	}},
	{"no host", "http://deb.debian.org/debian", "http:///debian", []string{
		"12:12: archive.sources[0].uri: found \"http:///debian\", expected a host name",
	}},
	{"file with a host", "http://deb.debian.org/debian", "file://srv/debian", []string{
		"12:12: archive.sources[0].uri: found \"file://srv/debian\", expected file:// and an absolute path",
	}},
	{"password in a URI", "http://deb.debian.org/debian", "http://me:secret@deb.debian.org/debian", []string{
		"12:12: archive.sources[0].uri: found a user or password in the URI: it would end up in the image; use apt's auth.conf or a proxy",
	}},
	{"blank in a URI", "http://deb.debian.org/debian", "\"http://deb.debian.org/debian trixie\"", []string{
		"12:12: archive.sources[0].uri: found \"http://deb.debian.org/debian trixie\", expected a URI that starts with http:// or https:// or file://",
	}},
	{"no URI", "    - uri: http://deb.debian.org/debian\n      suites", "    - suites", []string{
		"12:7: archive.sources[0].uri: missing: expected a URI that starts with http:// or https:// or file://",
	}},
	{"no suite", "[trixie, trixie-updates]", "[]", []string{
		"13:15: archive.sources[0].suites: found none, expected at least one suite",
	}},
	{"suite with a blank", "[trixie, trixie-updates]", "[\"trixie main\"]", []string{
		"13:16: archive.sources[0].suites[0]: found \"trixie main\", expected the name of a suite, such as trixie-updates",
	}},
	{"suite twice", "[trixie, trixie-updates]", "[trixie, trixie]", []string{
		"13:24: archive.sources[0].suites[1]: found \"trixie\" twice: first as item 0",
	}},
	{"archive component", "components: [main]", "components: [Main]", []string{
		"14:20: archive.sources[0].components[0]: found \"Main\", expected the name of an archive component, such as main",
	}},
	{"variant", "variant: minbase", "variant: minbse", []string{
		"16:12: packages.variant: found \"minbse\", expected one of essential, apt, required, minbase, buildd, important, standard; did you mean \"minbase\"?",
	}},
	{"no packages", "    init: [systemd, systemd-sysv]\n    network: [systemd-resolved]\n", "    {}\n", []string{
		"18:5: packages.include: found none, expected at least one group of packages",
	}},
	{"package name", "[systemd, systemd-sysv]", "[systemd, systemd=257]", []string{
		"18:21: packages.include.init[1]: found \"systemd=257\", expected the name of a package",
	}},
	{"package twice", "[systemd, systemd-sysv]", "[systemd, systemd]", []string{
		"18:21: packages.include.init[1]: found \"systemd\" twice: first as item 0",
	}},
	{"group name", "    network: [", "    Network: [", []string{
		"19:5: packages.include.Network: group name: expected lower-case letters, digits and hyphens",
	}},
	{"no kernel", "  package: linux-image-amd64\n", "", []string{
		"20:1: kernel.package: missing: expected the name of a kernel package",
	}},
	{"kernel argument with a blank", "[\"console=ttyS0,115200n8\"]", "[\"console=tty0 quiet\"]", []string{
		"22:17: kernel.commandLine[0]: found \"console=tty0 quiet\", expected one argument without blanks, quotes, $ or \\",
	}},
	{"root argument", "[\"console=ttyS0,115200n8\"]", "[root=/dev/vda1]", []string{
		"22:17: kernel.commandLine[0]: found \"root=/dev/vda1\": the builder names the root file system by itself",
	}},
	{"module name", "[overlay, br_netfilter]", "[overlay, br_netfilter.ko]", []string{
		"24:22: host.modules[1]: found \"br_netfilter.ko\", expected the name of a kernel module",
	}},
	{"sysctl key", "net.ipv4.ip_forward: \"1\"", "ip_forward: \"1\"", []string{
		"26:5: host.sysctls.ip_forward: key: expected the name of a sysctl, such as net.ipv4.ip_forward",
	}},
	{"sysctl value with two lines", "net.ipv4.ip_forward: \"1\"", "net.ipv4.ip_forward: \"1\\nkernel.panic = 0\"", []string{
		"26:26: host.sysctls[\"net.ipv4.ip_forward\"]: found \"1\\nkernel.panic = 0\", expected a value of one line",
	}},
	{"sysctl number", "net.ipv4.ip_forward: \"1\"", "net.ipv4.ip_forward: 1", []string{
		"26:26: host.sysctls[\"net.ipv4.ip_forward\"]: found the number 1, expected a string; quote it: \"1\"",
	}},
	{"unit without a type", "[ssh.service]", "[ssh]", []string{
		"27:17: host.enableUnits[0]: found \"ssh\", expected the full name of a systemd unit, such as ssh.service",
	}},
	{"unit in two states", "disableUnits: [apt-daily.timer]", "disableUnits: [apt-daily.timer, ssh.service]", []string{
		"28:35: host.disableUnits[1]: found \"ssh.service\", which enableUnits names too: expected one state for a unit",
	}},
	{"journal size", "journalMaxUse: 256M", "journalMaxUse: 256MiB", []string{
		"30:18: host.journalMaxUse: found \"256MiB\", expected a size as journald.conf takes it, such as 256M",
	}},
	{"time zone", "timeZone: Etc/UTC", "timeZone: Etc UTC", []string{
		"31:13: host.timeZone: found \"Etc UTC\", expected a time zone, such as Etc/UTC",
	}},
	{"locale", "locale: C.UTF-8", "locale: english", []string{
		"32:11: host.locale: found \"english\", expected a locale, such as C.UTF-8",
	}},
	{"datasource", "[NoCloud, None]", "[Nocloud]", []string{
		"33:26: host.cloudInitDatasources[0]: found \"Nocloud\", expected one of AliYun, Akamai, AltCloud, Azure, Bigstep, CloudCIX, CloudSigma, CloudStack, ConfigDrive, DigitalOcean, Ec2, Exoscale, GCE, Hetzner, IBMCloud, LXD, MAAS, NWCS, NoCloud, None, OVF, OpenNebula, OpenStack, Oracle, RbxCloud, Scaleway, SmartOS, UpCloud, VMware, Vultr, WSL; did you mean \"NoCloud\"?",
	}},
	{"no datasource", "[NoCloud, None]", "[]", []string{
		"33:25: host.cloudInitDatasources: found none, expected at least one cloud-init datasource, such as NoCloud",
	}},
	{"cgroup driver", "cgroupDriver: systemd", "cgroupDriver: systemD", []string{
		"35:17: runtime.cgroupDriver: found \"systemD\", expected one of systemd, cgroupfs; did you mean \"systemd\"?",
	}},
	{"relative runc", "runcPath: /usr/local/sbin/runc", "runcPath: runc", []string{
		"36:13: runtime.runcPath: found \"runc\", expected the absolute path of the runc binary in the image, without ., .. or a slash at the end",
	}},
	{"CNI directory with a slash at the end", "/opt/cni/bin", "/opt/cni/bin/", []string{
		"37:14: runtime.cniBinDir: found \"/opt/cni/bin/\", expected the absolute path of the directory of the CNI plugins in the image, without ., .. or a slash at the end",
	}},
	{"CNI configuration at the root", "/etc/cni/net.d", "/", []string{
		"38:15: runtime.cniConfDir: found \"/\", expected the absolute path of the directory of the CNI configuration in the image, without ., .. or a slash at the end",
	}},
	{"default handler", "defaultHandler: runc", "defaultHandler: nvidia", []string{
		"39:19: runtime.defaultHandler: found \"nvidia\", expected the name of a handler: runc",
	}},
	{"no handler", "  handlers:\n    - name: runc\n      type: io.containerd.runc.v2\n", "  handlers: []\n", []string{
		"40:13: runtime.handlers: found none, expected at least one runtime handler",
	}},
	{"handler twice", "      type: io.containerd.runc.v2\n", "      type: io.containerd.runc.v2\n    - name: runc\n      type: io.containerd.runc.v2\n", []string{
		"43:13: runtime.handlers[1].name: found \"runc\" twice: expected a name of its own for each handler",
	}},
	{"handler without a type", "      type: io.containerd.runc.v2\n", "", []string{
		"41:7: runtime.handlers[0].type: missing: expected a shim's runtime type, such as io.containerd.runc.v2",
	}},
	{"handler of no shim", "io.containerd.runc.v2", "runc", []string{
		"42:13: runtime.handlers[0].type: found \"runc\", expected a shim's runtime type, such as io.containerd.runc.v2",
	}},
	{"handler of a removed shim", "io.containerd.runc.v2", "io.containerd.runc.v1", []string{
		"42:13: runtime.handlers[0].type: found \"io.containerd.runc.v1\", which containerd 2.0 removed: expected io.containerd.runc.v2",
	}},
	{"limit", "\"1024:524288\"", "unlimited", []string{
		"43:16: runtime.limitNoFile: found \"unlimited\", expected soft and hard limit, such as \"1024:524288\"",
	}},
	{"soft limit above the hard one", "\"1024:524288\"", "\"infinity:1024\"", []string{
		"43:16: runtime.limitNoFile: found \"infinity:1024\", expected a soft limit no higher than the hard one",
	}},
	{"image repository with a tag", "registry.k8s.io\n", "registry.k8s.io/pause:3.10\n", []string{
		"46:20: kubernetes.imageRepository: found \"registry.k8s.io/pause:3.10\", expected a registry and path without a tag, such as registry.k8s.io",
	}},
	{"image repository with a scheme", "registry.k8s.io\n", "https://registry.k8s.io\n", []string{
		"46:20: kubernetes.imageRepository: found \"https://registry.k8s.io\", expected a registry and path without a tag, such as registry.k8s.io",
	}},
	{"stub resolver", "/run/systemd/resolve/resolv.conf", "/run/systemd/resolve/stub-resolv.conf", []string{
		"47:15: kubernetes.resolvConf: found \"/run/systemd/resolve/stub-resolv.conf\", the stub of systemd-resolved, through which CoreDNS would ask itself: expected /run/systemd/resolve/resolv.conf",
	}},
	{"link to the stub resolver", "/run/systemd/resolve/resolv.conf", "/etc/resolv.conf", []string{
		"47:15: kubernetes.resolvConf: found \"/etc/resolv.conf\", the stub of systemd-resolved, through which CoreDNS would ask itself: expected /run/systemd/resolve/resolv.conf",
	}},
	{"unknown component", "  runc:\n", "  runcc:\n", []string{
		"59:3: components.runcc: unknown component; did you mean \"runc\"?",
	}},
	{"component of no near name", "  kube-proxy-base:\n", "  cri-o:\n    version: 1.37.0\n    source: deb\n    packages: [cri-o]\n  kube-proxy-base:\n", []string{
		"90:3: components.cri-o: unknown component; expected one of containerd, runc, cni-plugins, kubernetes, etcd, coredns, pause, kube-proxy-base, control-plane, kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy, crictl",
	}},
	{"component missing", "  kube-proxy-base:\n    source: deb\n    packages: [iptables, nftables]\n", "", []string{
		"48:1: components.kube-proxy-base: missing: expected the component kube-proxy-base with its version and source",
	}},
	{"component empty", "  kube-proxy-base:\n    source: deb\n    packages: [iptables, nftables]\n", "  kube-proxy-base:\n", []string{
		"90:19: components.kube-proxy-base: found nothing, expected a mapping",
	}},
	{"no source", "    version: 1.5.2\n    source: release\n", "    version: 1.5.2\n", []string{
		"59:3: components.runc.source: missing: expected one of gomod, deb, release, file",
	}},
	{"unknown source", "source: release", "source: relase", []string{
		"61:13: components.runc.source: found \"relase\", expected one of gomod, deb, release, file; did you mean \"release\"?",
	}},
	{"no version", "    version: 1.5.2\n", "", []string{
		"59:3: components.runc.version: missing: expected a version such as 1.37.2",
	}},
	{"version with v", "version: 1.5.2", "version: v1.5.2", []string{
		"60:14: components.runc.version: found \"v1.5.2\", expected a version such as 1.37.2, without v",
	}},
	{"version range", "version: 1.5.2", "version: 1.5.x", []string{
		"60:14: components.runc.version: found \"1.5.x\", expected a version such as 1.37.2",
	}},
	{"deb without packages", "    packages: [iptables, nftables]\n", "", []string{
		"90:3: components.kube-proxy-base.packages: found none, expected at least one package",
	}},
	{"deb with a sum", "    packages: [iptables, nftables]\n", "    packages: [iptables, nftables]\n    sum: h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE=\n", []string{
		"93:5: components.kube-proxy-base.sum: source deb does not use this key: remove it",
	}},
	{"gomod without module and sum", "    module: github.com/containerd/containerd/v2\n    sum: h1:7PGbgAVKE4ieQjFPv7+kwAv7f9dCtRpExZwjExHD/Fk=\n", "", []string{
		"54:3: components.containerd.module: missing: expected the path of a Go module, such as k8s.io/kubernetes",
		"54:3: components.containerd.sum: missing: expected the h1: sum of the Go checksum database, as go mod download -json prints it",
	}},
	{"sum cut short", "h1:7PGbgAVKE4ieQjFPv7+kwAv7f9dCtRpExZwjExHD/Fk=", "h1:7PGbgAVKE4ieQjFPv7", []string{
		"58:10: components.containerd.sum: found \"h1:7PGbgAVKE4ieQjFPv7\", expected the h1: sum of the Go checksum database, as go mod download -json prints it",
	}},
	{"sum of another kind", "h1:7PGbgAVKE4ieQjFPv7+kwAv7f9dCtRpExZwjExHD/Fk=", "sha256:7PGb", []string{
		"58:10: components.containerd.sum: found \"sha256:7PGb\", expected the h1: sum of the Go checksum database, as go mod download -json prints it",
	}},
	{"module path", "module: github.com/coredns/coredns", "module: coredns", []string{
		"80:13: components.coredns.module: found \"coredns\", expected the path of a Go module, such as k8s.io/kubernetes",
	}},
	{"module of another major version", "github.com/containerd/containerd/v2", "github.com/containerd/containerd/v3", []string{
		"57:13: components.containerd.module: found \"github.com/containerd/containerd/v3\", which cannot have version v2.3.7: expected a path that ends in the major version",
	}},
	{"module without its major version", "github.com/containerd/containerd/v2", "github.com/containerd/containerd", []string{
		"57:13: components.containerd.module: found \"github.com/containerd/containerd\", expected \"github.com/containerd/containerd/v2\" for version v2.3.7",
	}},
	{"module version", "moduleVersion: v1.37.2", "moduleVersion: 1.37.2", []string{
		"87:20: components.pause.moduleVersion: found \"1.37.2\", expected the version of a Go module, such as v1.37.2",
	}},
	{"two sums of one module", "    sum: h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE=\n    image: pause:3.10.2", "    sum: h1:7PGbgAVKE4ieQjFPv7+kwAv7f9dCtRpExZwjExHD/Fk=\n    image: pause:3.10.2", []string{
		"88:10: components.pause.sum: found another sum for k8s.io/kubernetes@v1.37.2 than components.kubernetes has",
	}},
	{"release without URL", "      - url: https://example.org/runc.{arch}\n        sha256", "      - sha256", []string{
		"63:9: components.runc.files[0].url: missing: expected a URI that starts with https:// or http://",
	}},
	{"release with a path", "      - url: https://example.org/runc.{arch}\n", "      - url: https://example.org/runc.{arch}\n        path: /srv/runc\n", []string{
		"64:9: components.runc.files[0].path: source release does not use this key: remove it",
	}},
	{"release whose sums are not known", "    files:\n      - url: https://example.org/runc.{arch}\n        sha256: {amd64: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}\n", "", []string{
		"60:14: components.runc.version: found \"1.5.2\", whose sums do not come with nodeimage: expected one of 1.1.12, 1.1.15, 1.2.9, 1.3.5, 1.3.6, 1.4.0, 1.4.1, 1.4.2, 1.4.3, or its files with their URLs and sums",
	}},
	{"release with no file", "    files:\n      - url: https://example.org/runc.{arch}\n        sha256: {amd64: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}\n", "    files: []\n", []string{
		"62:12: components.runc.files: found none, expected at least one file with its path and sha256",
	}},
	{"release with an unknown placeholder", "runc.{arch}", "runc.{os}.{arch}", []string{
		"63:14: components.runc.files[0].url: found the placeholder \"{os}\", expected {version} or {arch}",
	}},
	{"release without a sum for the architecture", "      - url: https://example.org/runc.{arch}\n        sha256: {amd64:", "      - url: https://example.org/runc.{arch}\n        sha256: {arm64:", []string{
		"64:9: components.runc.files[0].sha256.amd64: missing: expected the sha256 of the file for amd64",
	}},
	{"sum of an unknown architecture", "      - url: https://example.org/runc.{arch}\n        sha256: {", "      - url: https://example.org/runc.{arch}\n        sha256: {x86: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef, ", []string{
		"64:18: components.runc.files[0].sha256.x86: unknown architecture; expected one of amd64, arm64",
	}},
	{"sha256 cut short", "v{version}.tgz\n        sha256: {amd64: 0123456789abcdef", "v{version}.tgz\n        sha256: {amd64: 0123", []string{
		"70:25: components.cni-plugins.files[0].sha256.amd64: found \"01230123456789abcdef0123456789abcdef0123456789abcdef\", expected 64 lower-case hexadecimal digits",
	}},
	{"file with a relative path", "path: /srv/cni-plugins", "path: ./cni-plugins", []string{
		"69:15: components.cni-plugins.files[0].path: found \"./cni-plugins-{arch}-v{version}.tgz\", expected the absolute path of a file on the build host, without ., .. or a slash at the end",
	}},
	{"file without files", "    files:\n      - path: /srv/cni-plugins-{arch}-v{version}.tgz\n        sha256: {amd64: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}\n", "", []string{
		"65:3: components.cni-plugins.files: found none, expected at least one file with its path and sha256",
	}},
	{"archive with a name", "      - path: /srv/cni-plugins", "      - name: cni-plugins\n        path: /srv/cni-plugins", []string{
		"69:9: components.cni-plugins.files[0].name: an archive has no name: its programs have theirs",
	}},
	{"program in a directory", "      - url: https://example.org/runc", "      - name: bin/runc\n        url: https://example.org/runc", []string{
		"63:15: components.runc.files[0].name: found \"bin/runc\", expected the name of a program, such as runc",
	}},
	{"image of a component that is none", "    files:\n      - url: https://example.org/runc.{arch}\n", "    image: runc:1.5.2\n    files:\n      - url: https://example.org/runc.{arch}\n", []string{
		"62:5: components.runc.image: this component is no image of its own: remove the key",
	}},
	{"program from a registry", "source: release", "source: registry", []string{
		"61:13: components.runc.source: found \"registry\", expected one of gomod, deb, release, file",
	}},
	{"image by no digest", "    source: gomod\n    module: k8s.io/kubernetes\n    moduleVersion: v1.37.2\n    sum: h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE=\n", "    source: registry\n    digest: pause:3.10.2\n", []string{
		"86:13: components.pause.digest: found \"pause:3.10.2\", expected sha256: and 64 lower-case hexadecimal digits",
	}},
	{"control plane of another version", "  kube-proxy-base:\n", "  kube-apiserver:\n    version: 1.37.1\n    source: registry\n    digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n  kube-proxy-base:\n", []string{
		"91:14: components.kube-apiserver.version: found \"1.37.1\", expected \"1.37.2\", the version of kubernetes",
	}},
	{"nothing to make the control plane from", "version: 1.37.2\n    source: gomod\n    module: k8s.io/kubernetes\n    sum: h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE=\n  containerd", "version: 1.37.2\n    source: file\n    files:\n      - {path: /srv/kubeadm, sha256: {amd64: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}}\n  containerd", []string{
		"48:1: components.control-plane: missing: expected the component control-plane, from which the images kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy are assembled, or a component with source registry for each of them: the source file of kubernetes has only a node's programs",
	}},
	{"no image", "    image: pause:3.10.2\n", "", []string{
		"83:3: components.pause.image: missing: expected the image that kubeadm asks for, without repository: pause:TAG",
	}},
	{"image with a repository", "image: etcd:3.7.0-0", "image: registry.k8s.io/etcd:3.7.0-0", []string{
		"76:12: components.etcd.image: found \"registry.k8s.io/etcd:3.7.0-0\", expected the image that kubeadm asks for, without repository: etcd:TAG",
	}},
	{"unknown Kubernetes", "version: 1.37.2\n    source", "version: 1.99.0\n    source", []string{
		"50:14: components.kubernetes.version: found \"1.99.0\", whose minor version is not in the compatibility table; expected one of 1.34, 1.35, 1.36, 1.37",
	}},
	{"unknown containerd", "version: 2.3.7", "version: 2.99.0", []string{
		"55:14: components.containerd.version: found \"2.99.0\", whose branch is not in the compatibility table; expected one of 1.6, 1.7, 2.0, 2.1, 2.2, 2.3, 2.4",
	}},
	{"containerd unknown under this Kubernetes", "version: 2.3.7\n    source: gomod\n    module: github.com/containerd/containerd/v2", "version: 1.6.36\n    source: gomod\n    module: github.com/containerd/containerd", []string{
		"55:14: components.containerd.version: found \"1.6.36\", which is not known to run with Kubernetes 1.37.2; expected 2.3, 2.4 (recommended) or 2.0, 2.1, 2.2 (works) or 1.7 (fallback)",
	}},
	{"unknown runc", "version: 1.5.2", "version: 1.99.0", []string{
		"60:14: components.runc.version: found \"1.99.0\", whose branch is not in the compatibility table; expected 1.5",
	}},
	{"runc older than containerd wants", "version: 1.5.2", "version: 1.4.3", []string{
		"60:14: components.runc.version: found \"1.4.3\", older than what containerd 2.3.7 is tested with; expected 1.5",
	}},
	{"another etcd", "version: 3.7.0\n", "version: 3.6.8\n", []string{
		"72:14: components.etcd.version: found \"3.6.8\", but kubeadm 1.37.2 asks for \"3.7.0\"",
	}},
	{"another etcd image", "image: etcd:3.7.0-0", "image: etcd:3.7.0-1", []string{
		"76:12: components.etcd.image: found \"etcd:3.7.0-1\", but kubeadm 1.37.2 asks for \"etcd:3.7.0-0\"",
	}},
	{"another CoreDNS image", "image: coredns/coredns:v1.14.6", "image: coredns/coredns:v1.14.2", []string{
		"82:12: components.coredns.image: found \"coredns/coredns:v1.14.2\", but kubeadm 1.37.2 asks for \"coredns/coredns:v1.14.6\"",
	}},
	{"another pause", "version: 3.10.2\n", "version: 3.10.1\n", []string{
		"84:14: components.pause.version: found \"3.10.1\", but kubeadm 1.37.2 asks for \"3.10.2\"",
	}},
	{"Kubernetes patch of other images", "version: 1.37.2\n    source: gomod\n    module: k8s.io/kubernetes\n    sum: h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE=\n  containerd", "version: 1.34.1\n    source: gomod\n    module: k8s.io/kubernetes\n    sum: h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE=\n  containerd", []string{
		"72:14: components.etcd.version: found \"3.7.0\", but kubeadm 1.34.1 asks for \"3.6.4\"",
		"76:12: components.etcd.image: found \"etcd:3.7.0-0\", but kubeadm 1.34.1 asks for \"etcd:3.6.4-0\"",
		"78:14: components.coredns.version: found \"1.14.6\", but kubeadm 1.34.1 asks for \"1.12.1\"",
		"82:12: components.coredns.image: found \"coredns/coredns:v1.14.6\", but kubeadm 1.34.1 asks for \"coredns/coredns:v1.12.1\"",
		"84:14: components.pause.version: found \"3.10.2\", but kubeadm 1.34.1 asks for \"3.10.1\"",
		"89:12: components.pause.image: found \"pause:3.10.2\", but kubeadm 1.34.1 asks for \"pause:3.10.1\"",
	}},
	{"Kubernetes older than what is known of it", "version: 1.37.2\n    source: gomod\n    module: k8s.io/kubernetes\n    sum: h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE=\n  containerd", "version: 1.35.1\n    source: gomod\n    module: k8s.io/kubernetes\n    sum: h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE=\n  containerd", []string{
		"50:14: components.kubernetes.version: found \"1.35.1\", whose image tags are not in the compatibility table; expected 1.35.4 or later",
	}},
	{"size without i", "size: 8GiB", "size: 8GB", []string{
		"94:9: disk.size: size \"8GB\": expected a whole number and B, KiB, MiB, GiB or TiB, such as 8GiB",
	}},
	{"size too small", "size: 8GiB", "size: 2GiB", []string{
		"94:9: disk.size: found \"2GiB\", expected at least 4GiB",
	}},
	{"size too large", "size: 8GiB", "size: 99999999999TiB", []string{
		"94:9: disk.size: size \"99999999999TiB\": too large: expected less than 8388608TiB",
	}},
	{"size with a part of a MiB", "espSize: 64MiB", "espSize: 66000KiB", []string{
		"96:12: disk.espSize: found \"66000KiB\", expected a whole number of MiB: partitions are aligned to that",
	}},
	{"ESP too small", "espSize: 64MiB", "espSize: 32MiB", []string{
		"96:12: disk.espSize: found \"32MiB\", expected at least 33MiB",
	}},
	{"ESP too large", "espSize: 64MiB", "espSize: 4GiB", []string{
		"96:12: disk.espSize: found \"4GiB\", expected at most a quarter of disk.size (8GiB)",
	}},
	{"no size", "  size: 8GiB\n", "", []string{
		"93:1: disk.size: missing: expected a size such as 8GiB",
	}},
	{"format", "[qcow2, raw]", "[qcow, vdi]", []string{
		"95:13: disk.formats[0]: found \"qcow\", expected one of ova, qcow2, raw, vhd, vmdk; did you mean \"qcow2\"?",
		"95:19: disk.formats[1]: found \"vdi\", expected one of ova, qcow2, raw, vhd, vmdk; did you mean \"vhd\"?",
	}},
	{"format twice", "[qcow2, raw]", "[raw, raw]", []string{
		"95:18: disk.formats[1]: found \"raw\" twice: first as item 0",
	}},
	{"no format", "[qcow2, raw]", "[]", []string{
		"95:12: disk.formats: found none, expected at least one format, such as qcow2",
	}},
	{"label too long", "rootLabel: root", "rootLabel: root-of-a-node-image", []string{
		"97:14: disk.rootLabel: found 20 bytes, expected at most 16: ext4 keeps no more",
	}},
	{"label with a blank", "rootLabel: root", "rootLabel: my root", []string{
		"97:14: disk.rootLabel: found \"my root\", expected a label of letters, digits, dots, underscores and hyphens",
	}},
}

func readGood(t *testing.T) string {
	t.Helper()
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(good)
}

// refused loads text as a file of its own and returns what is wrong with it.
func refused(t *testing.T, text string) []string {
	t.Helper()
	file := t.TempDir() + "/x.yaml"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Load(file)
	if err == nil {
		return nil
	}
	if p != nil {
		t.Errorf("Load returned a profile and an error")
	}
	if code := exitcode.Of(err); code != exitcode.Usage {
		t.Errorf("exit code %d, expected %d", code, exitcode.Usage)
	}
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatalf("%T: expected Problems: %v", err, err)
	}
	var out []string
	for _, p := range problems {
		line, ok := strings.CutPrefix(p.String(), file+":")
		if !ok {
			t.Errorf("%s: expected the file's name in front", p)
		}
		out = append(out, line)
	}
	return out
}

func TestGoodProfileIsAccepted(t *testing.T) {
	t.Parallel()
	if got := refused(t, readGood(t)); got != nil {
		t.Fatalf("testdata/good.yaml:\n%s", strings.Join(got, "\n"))
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	good := readGood(t)
	names := map[string]bool{}
	for _, tt := range refusals {
		if names[tt.name] || len(tt.want) == 0 {
			t.Fatalf("%s: expected a name of its own and a problem", tt.name)
		}
		names[tt.name] = true
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if n := strings.Count(good, tt.old); n != 1 {
				t.Fatalf("%q is %d times in testdata/good.yaml, expected once", tt.old, n)
			}
			if diff := cmp.Diff(tt.want, refused(t, strings.Replace(good, tt.old, tt.new, 1))); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
