package validate

func kernelTooOldFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "4.19", node: onKernel("4.19.0-27-amd64"), want: []expect{{Warn, "/lib/modules/4.19.0-27-amd64", 0, "version", "kernel 4.19"}}},
		{name: "the running one counts", running: machine{"/proc/sys/kernel/osrelease": "5.3.0\n"}, want: []expect{{Warn, "/lib/modules/5.3.0", 0, "version", "5.3.0"}}},
		{name: "no kernel", node: tree{modulesDir: nil}, want: []expect{{Skip, "", 0, "", "no kernel"}}},
	}
}
