package component

// corednsRecipe builds CoreDNS with the plugins of upstream's release.
func corednsRecipe(r release) recipe {
	return recipe{
		Builds: []build{{
			Binaries: []binary{{"coredns", r.Module}},
			Tags:     []string{"grpcnotrace"},
			Stamps:   []string{r.Module + "/coremain.GitCommit=" + r.Sum},
		}},
		Probes: []probe{{"coredns", []string{"-version"}, []string{"CoreDNS-" + r.Version + "\n", r.Sum}}},
	}
}
