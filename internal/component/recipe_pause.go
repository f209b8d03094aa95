package component

// pauseRecipe builds the sandbox's first process, one C file of the Kubernetes
// source with a version of its own. It becomes a process of every pod, hence
// the static link.
func pauseRecipe(r release) recipe {
	return recipe{
		C: &cProgram{
			Name:   "pause",
			Source: "build/pause/linux/pause.c",
			Flags:  []string{"-Os", "-Wall", "-Werror", "-static", "-s", "-DVERSION=v" + r.Version},
		},
		Probes: []probe{{"pause", []string{"-v"}, []string{"pause.c v" + r.Version + "\n"}}},
	}
}
