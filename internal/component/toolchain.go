package component

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// toolchain is what this host compiles with.
type toolchain struct {
	goVersion string // go1.26.8
	hostArch  string // what this host runs by itself
	goArch    string // what is compiled for
	// fetch is the part of the user's configuration of the go command that
	// says how modules are fetched and where they are kept. It cannot change
	// what is built: the pins' sums see to that.
	fetch map[string]string
	gcc   string            // first line of what the C compiler's --version prints, empty until asked for
	libs  map[string]string // sha256 by name of static libraries
}

// fetchSettings are taken over from the user's go env; all others are fixed.
func fetchSettings() []string {
	return []string{"GOPROXY", "GONOPROXY", "GOPRIVATE", "GOINSECURE", "GOAUTH", "GOVCS", "GOMODCACHE", "GOCACHE", "GOPATH", "GOROOT"}
}

// passedOn are the variables of this process that compilers get to see:
// where programs and homes are and how the network is reached.
func passedOn() []string {
	return []string{
		"PATH", "HOME", "NETRC", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"http_proxy", "https_proxy", "no_proxy", "all_proxy",
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
	}
}

// toolchain asks the go command once for what it is.
func (m *Maker) toolchain(ctx context.Context) (*toolchain, error) {
	m.toolsMu.Lock()
	defer m.toolsMu.Unlock()
	if m.tools != nil {
		return m.tools, nil
	}
	t, err := askGo(ctx, m.runner)
	if err != nil {
		return nil, err
	}
	t.goArch = m.profile.OS.Arch
	m.tools = t
	return t, nil
}

// askGo asks the go command for what it is and how it fetches. What it compiles
// for is this host, until somebody says otherwise.
func askGo(ctx context.Context, runner run.Runner) (*toolchain, error) {
	argv := append([]string{"go", "env", "-json", "GOVERSION", "GOHOSTARCH"}, fetchSettings()...)
	// In the root directory there is no go.mod or go.work to switch toolchains for.
	result, err := runner.Run(ctx, run.Cmd{Argv: argv, Env: []string{"GOTOOLCHAIN=local", "GOFLAGS=", "GOWORK=off"}, Dir: "/"})
	if err != nil {
		return nil, missingTool(err, "go", "install Go (https://go.dev/dl/) or put it into PATH")
	}
	settings := map[string]string{}
	if err := json.Unmarshal([]byte(result.Stdout), &settings); err != nil {
		return nil, fmt.Errorf("reading the answer of go env: %w", err)
	}
	t := &toolchain{goVersion: settings["GOVERSION"], hostArch: settings["GOHOSTARCH"], goArch: settings["GOHOSTARCH"], fetch: map[string]string{}, libs: map[string]string{}}
	if t.goVersion == "" || t.hostArch == "" {
		return nil, fmt.Errorf("go env names no GOVERSION or GOHOSTARCH: %s", result.Stdout)
	}
	for _, name := range fetchSettings() {
		t.fetch[name] = settings[name]
	}
	return t, nil
}

// compilerParts returns what C code of the recipe depends on: the compiler,
// and each static library by content, whatever package it came in.
func (m *Maker) compilerParts(ctx context.Context, t *toolchain, libs []string) ([]any, error) {
	m.toolsMu.Lock()
	defer m.toolsMu.Unlock()
	if t.gcc == "" {
		result, err := m.runner.Run(ctx, run.Cmd{Argv: []string{t.cc(), "--version"}})
		if err != nil {
			return nil, missingTool(err, t.cc(), "install "+t.cPackages())
		}
		t.gcc, _, _ = strings.Cut(result.Stdout, "\n")
	}
	parts := []any{t.gcc}
	for _, lib := range libs {
		if t.libs[lib] == "" {
			result, err := m.runner.Run(ctx, run.Cmd{Argv: []string{t.cc(), "-print-file-name=" + lib}})
			if err != nil {
				return nil, err
			}
			path := strings.TrimSpace(result.Stdout)
			if !filepath.IsAbs(path) {
				return nil, exitcode.BadInput(fmt.Errorf("%s finds no static library %s: %s", t.cc(), lib, t.libPackages()))
			}
			file, err := describe(path)
			if err != nil {
				return nil, err
			}
			t.libs[lib] = file.SHA256
		}
		parts = append(parts, lib+"="+t.libs[lib])
	}
	return parts, nil
}

// triplets are the names that GNU tools have for architectures.
func triplets() map[string]string {
	return map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
}

func (t *toolchain) cross() bool { return t.goArch != t.hostArch }

// cc is the C compiler. A native one keeps the name by which it stands in the
// store's keys and the commands.
func (t *toolchain) cc() string {
	if t.cross() {
		return triplets()[t.goArch] + "-gcc"
	}
	return "gcc"
}

// cPackages are the Debian packages that the C compiler and its libc are in.
func (t *toolchain) cPackages() string {
	if t.cross() {
		return "gcc-" + strings.ReplaceAll(triplets()[t.goArch], "_", "-") + " and libc6-dev-" + t.goArch + "-cross"
	}
	return "gcc and libc6-dev"
}

// libPackages says how to get at the static libraries.
func (t *toolchain) libPackages() string {
	if t.cross() {
		return fmt.Sprintf("install libc6-dev-%[1]s-cross and, after dpkg --add-architecture %[1]s and apt-get update, libseccomp-dev:%[1]s", t.goArch)
	}
	return "install its -dev package (libseccomp-dev, libc6-dev)"
}

// missingTool explains the error of a program that is not installed.
func missingTool(err error, name, remedy string) error {
	var failed *run.Error
	if errors.As(err, &failed) && failed.Result.ExitCode == 127 || errors.Is(err, os.ErrNotExist) {
		return exitcode.BadInput(fmt.Errorf("%s is needed for components and was not found: %s: %w", name, remedy, err))
	}
	return err
}

// command returns argv to be run with nothing in its environment but what is
// listed here, so that no setting of the user ends up in a binary.
func (t *toolchain) command(b build, tmp string, argv []string) []string {
	env := map[string]string{
		"LC_ALL":       "C.UTF-8",
		"TMPDIR":       tmp,
		"GOTMPDIR":     tmp,
		"GOENV":        "off",
		"GOFLAGS":      "",
		"GO111MODULE":  "on",
		"GOWORK":       "off",
		"GOTOOLCHAIN":  "local",
		"GOSUMDB":      "off", // the pins hold every sum
		"GOOS":         "linux",
		"GOARCH":       t.goArch,
		"GOAMD64":      "v1",
		"GOARM64":      "v8.0",
		"CGO_ENABLED":  "0",
		"GOTELEMETRY":  "off",
		"GOEXPERIMENT": "",
	}
	if b.CGO {
		env["CGO_ENABLED"] = "1"
		env["CC"] = t.cc()
		env["CGO_CFLAGS"] = "-O2"
		env["CGO_LDFLAGS"] = "-O2"
		if t.cross() {
			// Or pkg-config would answer for this host's libraries.
			env["PKG_CONFIG_LIBDIR"] = "/usr/lib/" + triplets()[t.goArch] + "/pkgconfig:/usr/share/pkgconfig"
		}
	}
	for name, value := range t.fetch {
		if value != "" {
			env[name] = value
		}
	}
	for _, name := range passedOn() {
		if value, ok := os.LookupEnv(name); ok {
			env[name] = value
		}
	}
	out := []string{"env", "-i"}
	names := make([]string, 0, len(env))
	for name := range env {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		out = append(out, name+"="+env[name])
	}
	return append(out, argv...)
}
