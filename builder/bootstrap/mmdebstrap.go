package bootstrap

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

const (
	statusName  = "status"
	listsName   = "lists.tar"
	debsName    = "debs"
	kernelsName = "kernels"
)

// keepHook copies the .debs that apt downloaded, before mmdebstrap removes
// them, and the sums of kernels. $1 is the root, the rest is put in place of %s.
const keepHook = `mkdir -p %[1]s && find "$1/var/cache/apt/archives" -maxdepth 1 -name '*.deb' -exec cp -t %[1]s -- {} + && ` +
	`find "$1/boot" -maxdepth 1 -type f -name 'vmlinuz-*' -exec sha256sum -- {} + > %[2]s`

// excluded is what dpkg leaves out, now and on the running node. Copyright
// files stay: licences ask for it.
var excluded = [...]string{
	"path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright",
	"path-exclude=/usr/share/man/*", "path-exclude=/usr/share/info/*",
	"path-exclude=/usr/share/locale/*", "path-include=/usr/share/locale/locale.alias",
	"path-exclude=/usr/share/lintian/*", "path-exclude=/usr/share/doc-base/*",
}

// exclude tells dpkg so, between mmdebstrap's own unpacking of the essential
// packages and dpkg's, and empties the same places. With --dpkgopt mmdebstrap
// would start a Python program for each of those packages to leave the files out,
// which takes a quarter of all its time. Directories keep their times, so that
// nothing tells which way it was. $1 is the root.
func exclude() string {
	return `cfg="$1/etc/dpkg/dpkg.cfg.d" && stamp=$(mktemp "$1/XXXXXX") && touch -r "$cfg" "$stamp" && ` +
		`printf '%s\n' ` + run.Quote(excluded[:]) + ` >"$cfg/99mmdebstrap" && touch -r "$stamp" "$cfg" && ` +
		`for dir in ` + run.Quote(emptied()) + `; do ` +
		`if [ -d "$1$dir" ]; then touch -r "$1$dir" "$stamp" && find "$1$dir" -mindepth 1 -delete && touch -r "$stamp" "$1$dir" || exit 1; fi; ` +
		`done && rm -f "$stamp"`
}

// emptied are the directories that dpkg puts next to nothing in.
func emptied() (dirs []string) {
	for _, option := range excluded {
		if pattern, ok := strings.CutPrefix(option, "path-exclude="); ok {
			dirs = append(dirs, strings.TrimSuffix(pattern, "/*"))
		}
	}
	return dirs
}

// mergedUsr makes /bin, /lib and /sbin links into /usr before any package is
// unpacked. Releases whose base-files has no such links yet need it: their
// other way is the package usrmerge, which brings Perl. A profile asks for it
// by naming the package usr-is-merged.
const mergedUsr = "/usr/share/mmdebstrap/hooks/merged-usr"

// leftovers removes what mmdebstrap copies from this host, links to a previous
// kernel that there never was, and SSH host keys, which every machine is to
// make for itself. The owner of apt's directory for downloads depends on whether
// they came over a network; apt sets it when it uses it. $1 is the root.
const leftovers = `for f in resolv.conf hostname; do [ -L "$1/etc/$f" ] || rm -f "$1/etc/$f"; done; ` +
	`rm -f "$1/vmlinuz.old" "$1/initrd.img.old" "$1/boot/vmlinuz.old" "$1/boot/initrd.img.old" "$1"/etc/ssh/ssh_host_*_key "$1"/etc/ssh/ssh_host_*_key.pub && ` +
	`{ [ ! -d "$1/var/cache/apt/archives/partial" ] || chown 0:0 "$1/var/cache/apt/archives/partial"; }`

// Argv is mmdebstrap's command line: sources is a deb822 file, out the tar it
// makes, and scratch gets dpkg's status and apt's lists, which are not in the
// tar.
func Argv(p *profiles.Profile, sources, out, scratch string) []string {
	argv := []string{
		"mmdebstrap", "--mode=root", "--format=tar",
		// An image needs no devices: the kernel fills /dev. And only root of
		// this host could unpack them.
		"--skip=output/dev",
		"--variant=" + p.Packages.Variant,
		"--architectures=" + p.OS.Arch,
		"--keyring=" + p.Archive.Keyring,
		`--aptopt=APT::Install-Recommends "false"`,
		`--aptopt=Acquire::Languages "none"`,
		`--aptopt=Acquire::Retries "3"`,
		// A mirror that stops answering shall not hold a build for long.
		`--aptopt=Acquire::http::Timeout "60"`,
		`--aptopt=Acquire::https::Timeout "60"`,
		// The lists are read after apt has verified them; uncompressed.
		`--aptopt=Acquire::GzipIndexes "false"`,
	}
	list := p.PackageList()
	if slices.Contains(list, "usr-is-merged") {
		argv = append(argv, "--hook-dir="+mergedUsr)
	}
	if len(list) > 0 {
		argv = append(argv, "--include="+strings.Join(p.Pinned(list), ","))
	}
	return append(argv,
		"--extract-hook="+exclude(),
		"--skip=essential/unlink", // keepHook wants these too
		"--essential-hook="+putOff,
		"--customize-hook="+catchUp,
		"--customize-hook="+leftovers,
		"--customize-hook="+fmt.Sprintf(keepHook, run.Quote([]string{filepath.Join(scratch, debsName)}), run.Quote([]string{filepath.Join(scratch, kernelsName)})),
		"--customize-hook="+run.Quote([]string{"download", "/var/lib/dpkg/status", filepath.Join(scratch, statusName)}),
		"--customize-hook="+run.Quote([]string{"tar-out", "/var/lib/apt/lists", filepath.Join(scratch, listsName)}),
		p.OS.Codename, out, sources)
}

// inMemory wraps argv so that it works in a tmpfs of size bytes on dir, which
// takes a third off the time where disks are slow. It is to be wrapped in
// [run.Isolated]: the mount is gone with the namespace.
func inMemory(dir string, size int64, argv []string) []string {
	return append([]string{
		"sh", "-c", `mount -t tmpfs -o "mode=0700,size=$1" bootstrap "$2" && shift 2 && exec "$@"`, "sh",
		strconv.FormatInt(size, 10), dir,
	}, argv...)
}

// environment of mmdebstrap. Kernel packages make no initramfs with INITRD=No:
// it is made once, after the provisioners had their say.
//
// The rest makes the result the same at any time and for any caller: mmdebstrap
// and what it installs let no time after SOURCE_DATE_EPOCH into it, Python and
// Perl hash without a random seed. It is all that there is, see alone.
func environment(tmp string, epoch time.Time) []string {
	return []string{
		"LC_ALL=C.UTF-8",
		"TMPDIR=" + tmp, "INITRD=No", "DEBIAN_FRONTEND=noninteractive",
		fmt.Sprintf("SOURCE_DATE_EPOCH=%d", epoch.Unix()), "PYTHONHASHSEED=0", "PERL_HASH_SEED=0",
		"TZ=UTC", "LANG=C.UTF-8", "LANGUAGE=", "HOME=/root", "USER=root", "LOGNAME=root",
	}
}

// alone runs argv with that environment and, of the caller's, only what leads to
// programs and to the archive: mmdebstrap hands its own on to the scripts of all
// packages. With PYTHONDONTWRITEBYTECODE, Python's leave other files.
func alone(environment, argv []string) []string {
	callers := run.FromEnvironment(append([]string{"PATH"}, run.Proxies()...)...)
	return slices.Concat([]string{"env", "-i"}, callers, environment, argv)
}

// Sources renders sources as deb822 stanzas. For one without a keyring, apt
// uses those of the system that reads the file. Snapshots are out of date by
// nature, and say so in Valid-Until.
func Sources(sources []profiles.ArchiveSource, snapshots bool) string {
	var stanzas []string
	for _, s := range sources {
		stanza := fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n",
			s.URI, strings.Join(s.Suites, " "), strings.Join(s.Components, " "))
		if s.Keyring != "" {
			stanza += "Signed-By: " + s.Keyring + "\n"
		}
		if snapshots {
			stanza += "Check-Valid-Until: no\n"
		}
		stanzas = append(stanzas, stanza)
	}
	return strings.Join(stanzas, "\n")
}

// explain classifies a failure of mmdebstrap by what apt and dpkg said.
func explain(err error, archive profiles.Archive, mirrors fetch.Mirrors) error {
	var runErr *run.Error
	if !errors.As(err, &runErr) {
		return err
	}
	said := runErr.Result.Stderr + runErr.Result.Stdout
	lower := strings.ToLower(said)
	has := func(texts ...string) bool {
		for _, text := range texts {
			if strings.Contains(lower, text) {
				return true
			}
		}
		return false
	}
	sources := archive.Effective()
	names := make([]string, len(sources))
	for i, s := range sources {
		names[i] = askedAt(s.URI, mirrors)
	}
	mirror := strings.Join(names, ", ")
	switch {
	case has("no space left on device", "disk quota exceeded", "you don't have enough free space"):
		return exitcode.Transient(fmt.Errorf("the disk is full: no space left on device while bootstrapping (%s)", evidence(said, "space")))
	case has("no_pubkey", "badsig", "expkeysig", "revkeysig", "is not signed", "signatures were invalid", "couldn't be verified", "not live until", "missing key"):
		return exitcode.BadInput(fmt.Errorf("the archive %s is not signed by a key of %s: %s: check archive.keyring of the profile, and whether the mirror can be trusted",
			mirror, strings.Join(archive.Keyrings(), ", "), evidence(said, "no_pubkey", "sig", "signed", "verified", "key")))
	case has("release file for", "is expired"):
		return exitcode.Transient(fmt.Errorf("the archive %s is out of date: %s: use a mirror that is kept up to date, and check this host's clock",
			mirror, evidence(said, "release file for", "is expired")))
	case has("unable to locate package", "has no installation candidate", "unmet dependencies", "couldn't find any package"):
		return exitcode.BadInput(fmt.Errorf("packages of the profile cannot be installed from %s: %s",
			mirror, evidence(said, "unable to locate", "candidate", "depends", "couldn't find")))
	case has("failed to fetch", "unable to fetch", "temporary failure resolving", "could not connect", "could not resolve",
		"connection failed", "connection timed out", "hash sum mismatch", "unexpected size", "error reading from server",
		// mmdebstrap's own words for an apt that failed and named no package and no signature.
		"apt download failed", "apt-get update --error-on=any"):
		return network(fmt.Errorf("downloading from the archive %s failed: %s: try again later, or name another mirror, by NODEIMAGE_MIRRORS for this build or in archive.sources of the profile for the image as well",
			mirror, reasons(said)))
	}
	return fmt.Errorf("bootstrapping: %w", err)
}

// evidence returns the first line of said that has one of the lower-case
// texts, tried in order.
func evidence(said string, texts ...string) string {
	for _, text := range texts {
		for line := range strings.Lines(said) {
			if strings.Contains(strings.ToLower(line), text) {
				return strings.TrimSpace(line)
			}
		}
	}
	return strings.TrimSpace(said)
}

// maxReasons is how many of apt's reasons an error carries: a mirror that is
// down has one for each of some hundred packages.
const maxReasons = 3

// reasons returns why apt could not fetch what it wanted, in its own words: the
// lines that name a file, or else all that look like errors.
func reasons(said string) string {
	var files, others []string
	add := func(list *[]string, line string) {
		if !slices.Contains(*list, line) {
			*list = append(*list, line)
		}
	}
	lines := strings.Split(said, "\n")
	for i, line := range lines {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "E: Failed to fetch "), strings.HasPrefix(line, "W: Failed to fetch "):
			add(&files, line)
		case strings.HasPrefix(line, "Err:"):
			// The reason stands on the next line, indented.
			if i+1 < len(lines) && strings.HasPrefix(lines[i+1], " ") {
				line += ": " + strings.TrimSpace(lines[i+1])
			}
			add(&others, line)
		case strings.HasPrefix(line, "E: mmdebstrap failed to run"), strings.HasPrefix(line, "E: Unable to fetch some archives"):
		case strings.HasPrefix(line, "E: "), strings.HasPrefix(line, "W: "):
			add(&others, line)
		}
	}
	// What apt says at the end repeats the Err: lines with the whole address.
	list := files
	if len(list) == 0 {
		list = others
	}
	if len(list) == 0 {
		return strings.TrimSpace(said)
	}
	more := ""
	if n := len(list) - maxReasons; n > 0 {
		list, more = list[:maxReasons], fmt.Sprintf(" (and %d more)", n)
	}
	return strings.Join(list, "; ") + more
}

// lineWriter calls emit with each line, without its end.
type lineWriter struct {
	emit func(string)
	rest []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		w.emit(strings.TrimRight(string(w.rest[:i]), "\r"))
		w.rest = w.rest[i+1:]
	}
}
