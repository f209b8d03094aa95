// Package ubuntutest is a stand-in for Ubuntu's archive: a server on loopback
// whose signed indices have Ubuntu's shape (a release with its updates and
// security pockets, main and universe, metapackages for kernels, a base-files
// that says Ubuntu) and whose packages are Debian's.
//
// It shows that the profiles, the bootstrap and what is made of it work on an
// archive of that shape. It shows nothing about Ubuntu's own packages: whatever
// is built from it must say that it is a stand-in ([StandIn]).
package ubuntutest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature/signaturetest"
)

// StandIn is what a profile with this archive says in standIns.
const StandIn = "Ubuntu's archive (Debian's packages under Ubuntu's names)"

// Options say what the archive pretends to be, and of what it is made.
type Options struct {
	Codename string // noble
	Version  string // 24.04
	Arch     string // amd64

	// Debian's suite that the packages are of, its mirrors and keyring.
	Suite    string // trixie
	Mirror   string // http://deb.debian.org/debian
	Security string // http://deb.debian.org/debian-security
	Keyring  string // of this host

	// Needs are dependencies that the index adds to a package's own: what
	// Ubuntu has in that package and Debian in another.
	Needs map[string]string

	// Host runs apt and dpkg-deb.
	Host run.Runner
}

func debian(suite string, host run.Runner) Options {
	return Options{
		Arch: "amd64", Suite: suite, Mirror: "http://deb.debian.org/debian", Security: "http://deb.debian.org/debian-security",
		Keyring: "/usr/share/keyrings/debian-archive-keyring.gpg", Host: host,
	}
}

// Jammy is Ubuntu 22.04, made from Debian 12: no AppArmor profile for runc, and
// usrmerge makes links of /bin and its like.
func Jammy(host run.Runner) Options {
	o := debian("bookworm", host)
	o.Codename, o.Version = "jammy", "22.04"
	o.Needs = map[string]string{"libpam-systemd": "systemd-resolved"}
	return o
}

// Noble is Ubuntu 24.04, made from Debian 13, which is nearest to it in age:
// its AppArmor, too, labels runc.
func Noble(host run.Runner) Options {
	o := debian("trixie", host)
	o.Codename, o.Version = "noble", "24.04"
	return o
}

// Resolute is Ubuntu 26.04, made from what is to be Debian 14: a kernel later
// than 6.17 (opencontainers/runc#5403), and runc labelled in both its places.
func Resolute(host run.Runner) Options {
	o := debian("forky", host)
	o.Codename, o.Version = "resolute", "26.04"
	return o
}

// Archive is the stand-in. Close ends it.
type Archive struct {
	// URL is the archive's, http://127.0.0.1:PORT/ubuntu. The same archive
	// answers at Snapshots, with any moment for {snapshot}.
	URL       string
	Snapshots string
	// Keyring is the file with the key that signs it.
	Keyring string

	o      Options
	dir    string
	key    *signaturetest.Key
	files  map[string][]byte // by path below URL: indices, and packages of its own
	origin map[string]string // by path below URL: the address of a package of Debian
	needed map[string]bool   // packages that got what Options.Needs says
	debs   debs
	server *httptest.Server
}

// New makes an archive in dir, which takes the download of Debian's indices and
// of one package. They are verified by apt.
func New(ctx context.Context, dir string, o Options) (*Archive, error) {
	a := &Archive{o: o, dir: dir, Keyring: filepath.Join(dir, "stand-in.gpg"), files: map[string][]byte{}, origin: map[string]string{}, needed: map[string]bool{}}
	a.debs = debs{dir: dir, arch: o.Arch, host: o.Host, files: a.files}
	made := time.Now().Add(-time.Hour)
	var err error
	if a.key, err = signaturetest.NewKey("Stand-in for Ubuntu's archive", "stand-in@example.org", made, 0); err != nil {
		return nil, err
	}
	ring, err := a.key.Keyring(false)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(a.Keyring, ring, 0o644); err != nil {
		return nil, err
	}
	lists, err := a.fetch(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading Debian's archive: %w", err)
	}
	own, err := a.ownPackages(ctx, ring)
	if err != nil {
		return nil, fmt.Errorf("making Ubuntu's packages: %w", err)
	}
	if err := a.index(lists, own); err != nil {
		return nil, err
	}
	a.server = httptest.NewServer(a)
	a.URL, a.Snapshots = a.server.URL+"/ubuntu", a.server.URL+"/snapshot/{snapshot}"
	return a, nil
}

// Close ends the server.
func (a *Archive) Close() { a.server.Close() }

var snapshot = regexp.MustCompile(`^/snapshot/20[0-9]{6}T[0-9]{6}Z/`)

// ServeHTTP implements http.Handler.
func (a *Archive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutPrefix(r.URL.Path, "/ubuntu/")
	if prefix := snapshot.FindString(r.URL.Path); prefix != "" {
		name, ok = strings.TrimPrefix(r.URL.Path, prefix), true
	}
	switch {
	case !ok:
		http.NotFound(w, r)
	case a.origin[name] != "":
		http.Redirect(w, r, a.origin[name], http.StatusFound)
	case a.files[name] != nil:
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.files[name]))
	default:
		http.NotFound(w, r)
	}
}

// Profile is the text of a profile that is base with this archive in place of
// Ubuntu's, and with further sources. more is added to it.
func (a *Archive) Profile(name, base, more string, sources ...string) string {
	source := func(suites ...string) string {
		return fmt.Sprintf("    - {uri: %q, snapshotURI: %q, suites: [%s], components: [main, universe]}\n", a.URL, a.Snapshots, strings.Join(suites, ", "))
	}
	return fmt.Sprintf("apiVersion: nodeimage.dev/v1alpha1\nkind: Profile\nname: %s\nextends: %s\n", name, base) +
		"archive:\n  keyring: " + a.Keyring + "\n  sources:\n" + source(a.o.Codename, a.o.Codename+"-updates") + source(a.o.Codename+"-security") + strings.Join(sources, "") + more
}

// run runs a program with a private apt configuration.
func (a *Archive) run(ctx context.Context, dir string, argv ...string) error {
	_, err := a.o.Host.Run(ctx, run.Cmd{Argv: argv, Dir: dir, Env: []string{"APT_CONFIG=" + filepath.Join(a.dir, "apt", "apt.conf")}})
	return err
}

// fetch has apt read Debian's indices, and returns them by pocket.
func (a *Archive) fetch(ctx context.Context) (map[string][]byte, error) {
	apt := filepath.Join(a.dir, "apt")
	var errs []error
	for _, sub := range []string{"lists/partial", "archives/partial", "empty"} {
		errs = append(errs, os.MkdirAll(filepath.Join(apt, sub), 0o755))
	}
	sources := ""
	for _, s := range a.pockets() {
		sources += fmt.Sprintf("deb [arch=%s signed-by=%s] %s %s main\n", a.o.Arch, a.o.Keyring, s.mirror, s.suite)
	}
	var config strings.Builder
	for _, setting := range [][2]string{
		{"APT::Architecture", a.o.Arch}, {"APT::Architectures", a.o.Arch}, {"APT::Sandbox::User", "root"},
		{"Acquire::Languages", "none"}, {"Acquire::GzipIndexes", "false"}, {"Acquire::Retries", "3"},
		// A mirror may be of a past day: a release to come says until when it is valid.
		{"Acquire::Check-Valid-Until", "false"},
		{"Dir::State", apt}, {"Dir::State::status", apt + "/status"}, {"Dir::Cache", apt}, {"Dir::Etc::sourcelist", apt + "/sources.list"},
		{"Dir::Etc::sourceparts", apt + "/empty"}, {"Dir::Etc::parts", apt + "/empty"}, {"Dir::Etc::preferencesparts", apt + "/empty"},
	} {
		fmt.Fprintf(&config, "%s %q;\n", setting[0], setting[1])
	}
	errs = append(errs,
		os.WriteFile(filepath.Join(apt, "sources.list"), []byte(sources), 0o644),
		os.WriteFile(filepath.Join(apt, "status"), nil, 0o644),
		os.WriteFile(filepath.Join(apt, "apt.conf"), []byte(config.String()), 0o644))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if err := a.run(ctx, apt, "apt-get", "--quiet=2", "update"); err != nil {
		return nil, err
	}
	lists := map[string][]byte{}
	for _, s := range a.pockets() {
		name := strings.ReplaceAll(strings.TrimPrefix(s.mirror, "http://")+"/dists/"+s.suite+"/main/binary-"+a.o.Arch+"/Packages", "/", "_")
		data, err := os.ReadFile(filepath.Join(apt, "lists", name))
		if errors.Is(err, fs.ErrNotExist) && s.pocket != "" {
			err = nil // apt fetches no list that is empty
		}
		if err != nil {
			return nil, err
		}
		lists[s.pocket] = data
	}
	return lists, nil
}

// pocket is a part of the archive: "" for the release, "-updates", "-security".
type pocket struct{ pocket, mirror, suite string }

func (a *Archive) pockets() []pocket {
	return []pocket{
		{"", a.o.Mirror, a.o.Suite},
		{"-updates", a.o.Mirror, a.o.Suite + "-updates"},
		{"-security", a.o.Security, a.o.Suite + "-security"},
	}
}
