package component

import "path"

// cniRecipe builds every plugin that upstream's release ships.
func cniRecipe(r release) recipe {
	plugins := r.Module + "/plugins"
	bins := under(plugins+"/main", "bridge", "dummy", "host-device", "ipvlan", "loopback", "macvlan", "ptp", "tap", "vlan")
	bins = append(bins, under(plugins+"/ipam", "dhcp", "host-local", "static")...)
	bins = append(bins, under(plugins+"/meta", "bandwidth", "firewall", "portmap", "sbr", "tuning", "vrf")...)
	recipe := recipe{Builds: []build{{
		Binaries: bins,
		Stamps:   []string{r.Module + "/pkg/utils/buildversion.BuildVersion=" + r.ModuleVersion},
	}}}
	for _, bin := range bins {
		// A plugin that is started without CNI_COMMAND says what it is.
		recipe.Probes = append(recipe.Probes, probe{bin.Name, nil, []string{"CNI " + path.Base(bin.Package) + " plugin " + r.ModuleVersion}})
	}
	return recipe
}
