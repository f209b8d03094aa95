package component

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
)

// release is the pinned upstream release that a recipe is made for.
type release struct {
	Version       string // 1.37.2
	Module        string // k8s.io/kubernetes
	ModuleVersion string // v1.37.2
	Sum           string // h1:…
}

// recipe says how a component is built from its Go module. It is data: the
// store's key covers all of it.
type recipe struct {
	Builds []build
	// C is compiled with gcc from files of the module, for what is not Go.
	C      *cProgram
	Probes []probe
}

// build is one call of go build.
type build struct {
	Binaries []binary
	Tags     []string
	// Stamps are the -X flags of the linker, package.variable=value.
	Stamps []string
	// CGO links against C libraries, named by StaticLibs (libseccomp.a): they
	// become part of the binary, so they become part of the store's key.
	CGO        bool
	StaticLibs []string
	BuildMode  string
	ExtLDFlags string
}

// binary is one main package and the name of the program made from it.
type binary struct {
	Name    string
	Package string
}

// cProgram is one static C program.
type cProgram struct {
	Name   string
	Source string // path in the module
	Flags  []string
}

// probe runs a built program and wants each of Want in what it prints. It
// shows that the version stamps arrived where the program reads them.
type probe struct {
	Name string
	Args []string
	Want []string
}

// recipes lists every component that can be built from a Go module.
func recipes() map[string]func(release) recipe {
	return map[string]func(release) recipe{
		"containerd":    containerdRecipe,
		"runc":          runcRecipe,
		"cni-plugins":   cniRecipe,
		"kubernetes":    kubernetesRecipe,
		"control-plane": controlPlaneRecipe,
		"etcd":          etcdRecipe,
		"coredns":       corednsRecipe,
		"pause":         pauseRecipe,
	}
}

// without is the recipe less some Go build tags, and less what only they make
// the programs print.
func (r recipe) without(tags []string) (recipe, error) {
	r.Builds, r.Probes = slices.Clone(r.Builds), slices.Clone(r.Probes)
	for _, tag := range tags {
		found := false
		for i, b := range r.Builds {
			found = found || slices.Contains(b.Tags, tag)
			r.Builds[i].Tags = slices.DeleteFunc(slices.Clone(b.Tags), func(t string) bool { return t == tag })
		}
		if !found {
			return r, fmt.Errorf("cannot be built without the tag %q, which its recipe does not have", tag)
		}
		for i, p := range r.Probes {
			r.Probes[i].Want = slices.DeleteFunc(slices.Clone(p.Want), func(w string) bool { return slices.Contains(tagLines()[tag], w) })
		}
	}
	return r, nil
}

// programs returns the names of everything the recipe makes, in order.
func (r recipe) programs() []string {
	var names []string
	for _, b := range r.Builds {
		for _, bin := range b.Binaries {
			names = append(names, bin.Name)
		}
	}
	if r.C != nil {
		names = append(names, r.C.Name)
	}
	return names
}

// packages returns every main package of the recipe, sorted.
func (r recipe) packages() []string {
	var paths []string
	for _, b := range r.Builds {
		for _, bin := range b.Binaries {
			paths = append(paths, bin.Package)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

func (r recipe) needsC() bool {
	return r.C != nil || slices.ContainsFunc(r.Builds, func(b build) bool { return b.CGO })
}

// argv is the go build command that writes into outDir. Of several main
// packages each becomes outDir/<last element>; a binary with another name is
// built alone.
func (b build) argv(outDir string, binaries []binary) []string {
	argv := []string{"go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false"}
	if b.BuildMode != "" {
		argv = append(argv, "-buildmode="+b.BuildMode)
	}
	if len(b.Tags) > 0 {
		argv = append(argv, "-tags="+strings.Join(b.Tags, ","))
	}
	// -s and -w leave debug/buildinfo in place, which validation reads.
	ldflags := []string{"-s", "-w"}
	for _, stamp := range b.Stamps {
		ldflags = append(ldflags, "-X", stamp)
	}
	if b.ExtLDFlags != "" {
		ldflags = append(ldflags, "-linkmode", "external", "-extldflags", b.ExtLDFlags)
	}
	argv = append(argv, "-ldflags="+strings.Join(ldflags, " "))
	if len(binaries) == 1 {
		return append(argv, "-o", outDir+"/"+binaries[0].Name, binaries[0].Package)
	}
	argv = append(argv, "-o", outDir+"/")
	for _, bin := range binaries {
		argv = append(argv, bin.Package)
	}
	return argv
}

// commands splits the build into as few go build commands as names allow:
// one for all packages that go build names as wanted, one for each other.
func (b build) commands(outDir string) [][]string {
	var plain []binary
	var argvs [][]string
	for _, bin := range b.Binaries {
		if defaultName(bin.Package) == bin.Name && len(b.Binaries) > 1 {
			plain = append(plain, bin)
			continue
		}
		argvs = append(argvs, b.argv(outDir, []binary{bin}))
	}
	if len(plain) > 0 {
		argvs = append([][]string{b.argv(outDir, plain)}, argvs...)
	}
	return argvs
}

// defaultName is the name that go build gives to the program of a package.
func defaultName(pkg string) string {
	elems := strings.Split(pkg, "/")
	last := elems[len(elems)-1]
	if len(elems) > 1 && len(last) > 1 && last[0] == 'v' && strings.Trim(last[1:], "0123456789") == "" {
		return elems[len(elems)-2]
	}
	return last
}

// under names one program for each of names, made from prefix/<name>.
func under(prefix string, names ...string) []binary {
	bins := make([]binary, len(names))
	for i, name := range names {
		bins[i] = binary{name, prefix + "/" + name}
	}
	return bins
}

// atLeast compares plain versions: 1.5.2 with 1.5.0.
func (r release) atLeast(version string) bool {
	return semver.Compare("v"+r.Version, "v"+version) >= 0
}
