package validate

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// fixtures lists each check's broken and good nodes; the functions are in the
// checks' own test files.
func fixtures() map[string][]fixture {
	return map[string][]fixture{
		"cgroup-driver-mismatch":             cgroupDriverMismatchFixtures(),
		"containerd-config-refused":          containerdConfigRefusedFixtures(),
		"containerd-cri-broken":              containerdCRIBrokenFixtures(),
		"containerd-cri-disabled":            containerdCRIDisabledFixtures(),
		"containerd-config-keys-ignored":     containerdConfigKeysIgnoredFixtures(),
		"containerd-legacy-systemd-cgroup":   containerdLegacySystemdCgroupFixtures(),
		"containerd-handler-broken":          containerdHandlerBrokenFixtures(),
		"containerd-handler-without-options": containerdHandlerWithoutOptionsFixtures(),
		"containerd-config-version-old":      containerdConfigVersionOldFixtures(),
		"containerd-dropins-not-read":        containerdDropinsNotReadFixtures(),
		"pause-image-mismatch":               pauseImageMismatchFixtures(),
		"cni-plugins-missing":                cniPluginsMissingFixtures(),
		"cni-config-present":                 cniConfigPresentFixtures(),
		"runc-missing":                       runcMissingFixtures(),
		"runc-without-seccomp":               runcWithoutSeccompFixtures(),
		"runtime-installed-twice":            runtimeInstalledTwiceFixtures(),
		"containerd-not-enabled":             containerdNotEnabledFixtures(),
		"containerd-kill-mode":               containerdKillModeFixtures(),
		"containerd-delegate-missing":        containerdDelegateMissingFixtures(),
		"containerd-tasks-limited":           containerdTasksLimitedFixtures(),
		"containerd-oom-killable":            containerdOOMKillableFixtures(),
		"containerd-not-restarted":           containerdNotRestartedFixtures(),
		"containerd-nofile-limit":            containerdNoFileLimitFixtures(),
		"apparmor-runc-signal-denied":        apparmorRuncSignalDeniedFixtures(),
		"apparmor-unix-sockets-denied":       apparmorUnixSocketsDeniedFixtures(),
		"apparmor-exec-signal-denied":        apparmorExecSignalDeniedFixtures(),
		"apparmor-runc-profile-disabled":     apparmorRuncProfileDisabledFixtures(),
		"apparmor-not-used":                  apparmorNotUsedFixtures(),
		"apparmor-userns-unrestricted":       apparmorUsernsUnrestrictedFixtures(),
		"containerd-apparmor-disabled":       containerdAppArmorDisabledFixtures(),
		"kubelet-containerd-incompatible":    kubeletContainerdIncompatibleFixtures(),
		"runc-bpf-corruption":                runcBPFCorruptionFixtures(),
		"containerd-vulnerable":              containerdVulnerableFixtures(),
		"runc-vulnerable":                    runcVulnerableFixtures(),
		"containerd-end-of-life":             containerdEndOfLifeFixtures(),
		"runc-unsupported":                   runcUnsupportedFixtures(),
		"kubernetes-end-of-life":             kubernetesEndOfLifeFixtures(),
		"runc-older-than-tested":             runcOlderThanTestedFixtures(),
		"cni-plugins-old":                    cniPluginsOldFixtures(),
		"kernel-too-old":                     kernelTooOldFixtures(),
		"kubelet-not-enabled":                kubeletNotEnabledFixtures(),
		"kubelet-flag-removed":               kubeletFlagRemovedFixtures(),
		"kubelet-config-broken":              kubeletConfigBrokenFixtures(),
		"kubelet-config-keys-ignored":        kubeletConfigKeysIgnoredFixtures(),
		"kubelet-resolv-conf-loop":           kubeletResolvConfLoopFixtures(),
		"kubelet-runtime-endpoint-wrong":     kubeletRuntimeEndpointWrongFixtures(),
		"kubelet-kernel-defaults":            kubeletKernelDefaultsFixtures(),
		"kubernetes-version-skew":            kubernetesVersionSkewFixtures(),
		"cgroup-v1-boot":                     cgroupV1BootFixtures(),
		"kernel-module-missing":              kernelModuleMissingFixtures(),
		"overlay-not-loaded":                 overlayNotLoadedFixtures(),
		"swap-enabled":                       swapEnabledFixtures(),
		"ip-forward-disabled":                ipForwardDisabledFixtures(),
		"br-netfilter-not-loaded":            brNetfilterNotLoadedFixtures(),
		"bridge-nf-call-disabled":            bridgeNfCallDisabledFixtures(),
		"inotify-limits-low":                 inotifyLimitsLowFixtures(),
		"iptables-missing":                   iptablesMissingFixtures(),
		"iptables-legacy":                    iptablesLegacyFixtures(),
		"networkd-flushes-routes":            networkdFlushesRoutesFixtures(),
		"unattended-upgrades-active":         unattendedUpgradesActiveFixtures(),
		"needrestart-restarts-runtime":       needrestartRestartsRuntimeFixtures(),
		"time-not-synchronized":              timeNotSynchronizedFixtures(),
		"packages-not-held":                  packagesNotHeldFixtures(),
		"packages-broken":                    packagesBrokenFixtures(),
		"container-cgroup-misplaced":         containerCgroupMisplacedFixtures(),
		"cri-driver-mismatch":                criDriverMismatchFixtures(),
		"containerd-dump-differs":            containerdDumpDiffersFixtures(),
		"containerd-replaced":                containerdReplacedFixtures(),
		"apparmor-profile-not-loaded":        apparmorProfileNotLoadedFixtures(),
		"kernel-setting-lost":                kernelSettingLostFixtures(),
		"swap-in-use":                        swapInUseFixtures(),
		"cgroup-v1-in-use":                   cgroupV1InUseFixtures(),
		"cluster-state-present":              clusterStatePresentFixtures(),
		"machine-id-present":                 machineIDPresentFixtures(),
		"ssh-host-keys-present":              sshHostKeysPresentFixtures(),
		"authorized-keys-present":            authorizedKeysPresentFixtures(),
		"known-password":                     knownPasswordFixtures(),
		"sudo-without-password":              sudoWithoutPasswordFixtures(),
		"private-keys-present":               privateKeysPresentFixtures(),
		"credentials-present":                credentialsPresentFixtures(),
		"machine-secret-present":             machineSecretPresentFixtures(),
		"random-seed-present":                randomSeedPresentFixtures(),
		"cloud-init-state-present":           cloudInitStatePresentFixtures(),
		"dhcp-leases-present":                dhcpLeasesPresentFixtures(),
		"hostname-fixed":                     hostnameFixedFixtures(),
		"ssh-root-login":                     sshRootLoginFixtures(),
		"world-writable":                     worldWritableFixtures(),
		"setuid-unexpected":                  setuidUnexpectedFixtures(),
		"shell-history-present":              shellHistoryPresentFixtures(),
		"logs-present":                       logsPresentFixtures(),
		"temporary-files-present":            temporaryFilesPresentFixtures(),
		"package-cache-present":              packageCachePresentFixtures(),
		"preloaded-image-missing":            preloadedImageMissingFixtures(),
		"preloaded-image-incomplete":         preloadedImageIncompleteFixtures(),
		"preloaded-image-packed":             preloadedImagePackedFixtures(),
		"preloaded-image-unpinned":           preloadedImageUnpinnedFixtures(),
		"profile-os-differs":                 profileOSDiffersFixtures(),
		"profile-version-differs":            profileVersionDiffersFixtures(),
		"profile-package-missing":            profilePackageMissingFixtures(),
		"profile-runtime-differs":            profileRuntimeDiffersFixtures(),
		"profile-sysctl-differs":             profileSysctlDiffersFixtures(),
		"profile-module-not-loaded":          profileModuleNotLoadedFixtures(),
		"profile-unit-differs":               profileUnitDiffersFixtures(),
	}
}

func TestChecks(t *testing.T) {
	t.Parallel()
	all := fixtures()
	for _, c := range Catalogue() {
		for _, f := range all[c.ID] {
			t.Run(c.ID+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				f.test(t, c)
			})
		}
	}
}

// Every check has a fixture that turns it red with a place, and a good one;
// one file and one test file; and a text for explain.
func TestCatalogueIsWhole(t *testing.T) {
	t.Parallel()
	for _, p := range problems(Catalogue()) {
		t.Error(p)
	}
	all := fixtures()
	for _, p := range unproven(Catalogue(), all) {
		t.Error(p)
	}
	files := map[string]bool{}
	for _, c := range Catalogue() {
		base := "check_" + strings.ReplaceAll(c.ID, "-", "_")
		for _, name := range []string{base + ".go", base + "_test.go"} {
			files[name] = true
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s: %v", c.ID, err)
			}
		}
	}
	entries, err := os.ReadDir(".")
	must(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "check_") && !files[e.Name()] {
			t.Errorf("%s belongs to no check of the catalogue", e.Name())
		}
	}
}

// unproven names the checks that no fixture turns red, or none keeps green.
func unproven(catalogue []Check, all map[string][]fixture) []string {
	var found []string
	for _, c := range catalogue {
		red, green := false, false
		for _, f := range all[c.ID] {
			if len(f.want) == 0 {
				green = true
			}
			for _, w := range f.want {
				if (w.outcome == Fail || w.outcome == Warn) && (w.file != "" || w.key != "") {
					red = true
				}
			}
		}
		if !red {
			found = append(found, c.ID+": no fixture turns it red with a file or key")
		}
		if !green {
			found = append(found, c.ID+": no fixture keeps it green")
		}
	}
	for id := range all {
		if !slices.ContainsFunc(catalogue, func(c Check) bool { return c.ID == id }) {
			found = append(found, fmt.Sprintf("%s: has fixtures and is not in the catalogue", id))
		}
	}
	return found
}

// The two tests above must be able to fail.
func TestMetaTestsSeeRed(t *testing.T) {
	t.Parallel()
	broken := Check{ID: "Not Kebab", References: []string{"nowhere"}, Scope: "some"}
	if got := problems([]Check{broken, broken}); len(got) < 10 {
		t.Errorf("a check without anything has only these problems: %q", got)
	}
	sound := Catalogue()[0]
	if got := unproven([]Check{sound}, map[string][]fixture{sound.ID: {{name: "green"}}}); len(got) != 1 {
		t.Errorf("a check without a red fixture: %q", got)
	}
	if got := unproven([]Check{sound}, map[string][]fixture{sound.ID: {{want: []expect{{outcome: Fail, key: "k"}}}}}); len(got) != 1 {
		t.Errorf("a check without a good fixture: %q", got)
	}
	if got := unproven(nil, map[string][]fixture{"gone": nil}); len(got) != 1 {
		t.Errorf("fixtures without a check: %q", got)
	}
}

// The good node passes the whole catalogue.
func TestGoodNode(t *testing.T) {
	t.Parallel()
	report, err := judge(t.Context(), fixture{}.open(t), Catalogue(), nil)
	must(t, err)
	for _, f := range report.Findings {
		if f.Outcome == Fail || f.Outcome == Warn {
			t.Errorf("%s: %s", f.ID, show([]Finding{f}))
		}
	}
	if report.Verdict != Passed || report.Err() != nil {
		t.Errorf("verdict %s, want pass", report.Verdict)
	}
}
