package component

// containerdRecipe builds what upstream's static release ships. Without cgo
// there is no btrfs snapshotter, which no node image uses.
func containerdRecipe(r release) recipe {
	stamps := []string{
		r.Module + "/version.Version=" + r.ModuleVersion,
		r.Module + "/version.Revision=" + r.Sum,
		r.Module + "/version.Package=" + r.Module,
	}
	tags := []string{"urfave_cli_no_docs", "static_build", "osusergo", "netgo"}
	return recipe{
		Builds: []build{
			{Binaries: under(r.Module+"/cmd", "containerd", "ctr"), Tags: tags, Stamps: stamps},
			{
				// One shim runs for each pod: without gRPC it takes less memory.
				Binaries: under(r.Module+"/cmd", "containerd-shim-runc-v2"),
				Tags:     append(tags[:len(tags):len(tags)], "no_grpc"),
				Stamps:   stamps,
			},
		},
		Probes: []probe{
			{"containerd", []string{"--version"}, []string{" " + r.ModuleVersion + " " + r.Sum}},
			{"ctr", []string{"--version"}, []string{" " + r.ModuleVersion}},
			{"containerd-shim-runc-v2", []string{"-v"}, []string{r.ModuleVersion}},
		},
	}
}
