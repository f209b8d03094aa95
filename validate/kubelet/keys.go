package kubelet

import (
	"sort"
	"strings"
)

// topKeys are the fields of KubeletConfiguration v1beta1 in 1.34 to 1.37.
func topKeys() map[string]bool {
	set := map[string]bool{"apiVersion": true, "kind": true}
	for _, k := range strings.Fields(`enableServer staticPodPath podLogsDir syncFrequency fileCheckFrequency httpCheckFrequency staticPodURL
		staticPodURLHeader address port readOnlyPort tlsCertFile tlsPrivateKeyFile tlsCipherSuites tlsCurvePreferences
		tlsMinVersion rotateCertificates serverTLSBootstrap authentication authorization registryPullQPS registryBurst
		imagePullCredentialsVerificationPolicy preloadedImagesVerificationAllowlist eventRecordQPS eventBurst
		enableDebuggingHandlers enableContentionProfiling healthzPort healthzBindAddress oomScoreAdj clusterDomain
		clusterDNS streamingConnectionIdleTimeout nodeStatusUpdateFrequency nodeStatusReportFrequency
		nodeLeaseDurationSeconds imageMinimumGCAge imageMaximumGCAge imageGCHighThresholdPercent
		imageGCLowThresholdPercent volumeStatsAggPeriod kubeletCgroups systemCgroups cgroupRoot cgroupsPerQOS
		cgroupDriver cpuManagerPolicy singleProcessOOMKill cpuManagerPolicyOptions cpuManagerReconcilePeriod
		memoryManagerPolicy topologyManagerPolicy topologyManagerScope topologyManagerPolicyOptions qosReserved
		runtimeRequestTimeout hairpinMode maxPods podCIDR podPidsLimit resolvConf runOnce cpuCFSQuota
		cpuCFSQuotaPeriod nodeStatusMaxImages maxOpenFiles contentType kubeAPIQPS kubeAPIBurst serializeImagePulls
		maxParallelImagePulls evictionHard evictionSoft evictionSoftGracePeriod evictionPressureTransitionPeriod
		evictionMaxPodGracePeriod evictionMinimumReclaim mergeDefaultEvictionSettings podsPerCore
		enableControllerAttachDetach protectKernelDefaults makeIPTablesUtilChains iptablesMasqueradeBit
		iptablesDropBit featureGates failSwapOn memorySwap containerLogMaxSize containerLogMaxFiles
		containerLogMaxWorkers containerLogMonitorInterval configMapAndSecretChangeDetectionStrategy systemReserved
		kubeReserved reservedSystemCPUs showHiddenMetricsForVersion systemReservedCgroup kubeReservedCgroup
		enforceNodeAllocatable allowedUnsafeSysctls defaultPodSysctls volumePluginDir providerID
		kernelMemcgNotification logging enableSystemLogHandler enableSystemLogQuery shutdownGracePeriod
		shutdownGracePeriodCriticalPods shutdownGracePeriodByPodPriority crashLoopBackOff reservedMemory
		enableProfilingHandler enableDebugFlagsHandler seccompDefault memoryThrottlingFactor memoryReservationPolicy
		registerWithTaints registerNode tracing localStorageCapacityIsolation containerRuntimeEndpoint
		imageServiceEndpoint failCgroupV1 userNamespaces`) {
		set[k] = true
	}
	return set
}

// addedKeys are those that 1.34 does not have yet.
func addedKeys() map[string]bool {
	return map[string]bool{"tlsCurvePreferences": true, "defaultPodSysctls": true, "memoryReservationPolicy": true}
}

// unknownKeys records the top-level keys that this kubelet does not have.
// Names are case-sensitive: cgroupdriver is unknown.
func (c *Config) unknownKeys(doc *value) {
	known, added := topKeys(), addedKeys()
	var names []string
	for k := range doc.fields {
		if !known[k] || added[k] && c.Version.Minor <= oldestFlags {
			names = append(names, k)
		}
	}
	sort.Strings(names)
	for _, k := range names {
		c.Ignored = append(c.Ignored, Ignored{k, doc.fields[k].pos})
	}
}
