package validate

func apparmorExecSignalDeniedFixtures() []fixture {
	// No release has the fix, so the good node is one without the kernel. The
	// rule's other side is tested with a rule that a release satisfies.
	return []fixture{
		{name: "an old kernel", want: []expect{{Skip, "", 0, "", "no kernel of 6.17"}}},
		{name: "6.17", node: onKernel("6.17.9"), want: []expect{{Warn, "/usr/local/bin/containerd", 0, "version", "kernel 6.17.9"}}},
		{name: "good, once a release has the fix", node: onKernel("6.17.9"), rules: func(r *Rules) {
			f := r.Faults["apparmor-exec-signal-denied"]
			f.Fixed = []string{"2.3.0"}
			r.Faults["apparmor-exec-signal-denied"] = f
		}},
	}
}
