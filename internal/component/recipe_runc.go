package component

// runcRecipe builds the static, position-independent program of upstream's
// `make static`, less libpathrs, which Debian does not have; runc then uses
// its own path resolution in Go. Without seccomp no container of Kubernetes
// starts, so the probe wants the line that only a build with it prints.
func runcRecipe(r release) recipe {
	var stamps []string
	if !r.atLeast("1.5.0") {
		stamps = []string{"main.version=" + r.Version} // later ones embed it
	}
	return recipe{
		Builds: []build{{
			Binaries:   []binary{{"runc", r.Module}},
			Tags:       []string{"seccomp", "urfave_cli_no_docs", "netgo", "osusergo"},
			Stamps:     stamps,
			CGO:        true,
			StaticLibs: []string{"libseccomp.a", "libc.a"},
			BuildMode:  "pie",
			ExtLDFlags: "-static-pie",
		}},
		Probes: []probe{{"runc", []string{"--version"}, append([]string{"runc version " + r.Version + "\n"}, tagLines()["seccomp"]...)}},
	}
}

// tagLines is what programs print only if they were built with a tag.
func tagLines() map[string][]string {
	return map[string][]string{"seccomp": {"\nlibseccomp: "}}
}
