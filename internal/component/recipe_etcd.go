package component

// etcdRecipe builds the three programs of the upstream image. The server, its
// client and its offline tool are modules of one version.
func etcdRecipe(r release) recipe {
	return recipe{
		Builds: []build{{
			Binaries: []binary{
				{"etcd", "go.etcd.io/etcd/server/v3"},
				{"etcdctl", "go.etcd.io/etcd/etcdctl/v3"},
				{"etcdutl", "go.etcd.io/etcd/etcdutl/v3"},
			},
			Stamps: []string{"go.etcd.io/etcd/api/v3/version.GitSHA=" + r.Sum},
		}},
		Probes: []probe{
			{"etcd", []string{"--version"}, []string{"etcd Version: " + r.Version + "\n", "Git SHA: "}},
			{"etcdctl", []string{"version"}, []string{"etcdctl version: " + r.Version + "\n"}},
			{"etcdutl", []string{"version"}, []string{"etcdutl version: " + r.Version + "\n"}},
		},
	}
}
