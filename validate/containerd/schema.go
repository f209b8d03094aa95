package containerd

// A shape is what the decoder accepts for one key.
type shape int

const (
	aString shape = iota
	anInt
	aBool
	aList        // array of strings
	aStruct      // table with the fields below
	mapOfStrings // table of strings
	mapOfStructs // table of tables with the fields below
	mapOfAny     // table of anything
	mapOfLists   // table of arrays of strings
)

// field is one key that some containerd knows. since is inclusive, until
// exclusive; the zero Version is no bound. Bounds inside a branch lie between
// the two nearest releases whose sources were compared.
type field struct {
	name         string
	shape        shape
	sub          []field
	since, until Version
}

func (f field) in(v Version) bool {
	return v.Compare(f.since) >= 0 && (f.until == Version{} || v.Compare(f.until) < 0)
}

func from(major, minor, patch int) Version {
	return Version{Major: major, Minor: minor, Patch: patch}
}

func fields(s shape, names ...string) []field {
	out := make([]field, len(names))
	for i, n := range names {
		out[i] = field{name: n, shape: s}
	}
	return out
}

func since(v Version, fs ...field) []field {
	for i := range fs {
		fs[i].since = v
	}
	return fs
}

func until(v Version, fs ...field) []field {
	for i := range fs {
		fs[i].until = v
	}
	return fs
}

func concat(lists ...[]field) []field {
	var out []field
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

// topFields are the keys of the file itself.
func topFields() []field {
	v21, v22, v23 := from(2, 1, 0), from(2, 2, 0), from(2, 3, 0)
	return concat(
		fields(anInt, "version", "oom_score"),
		fields(aString, "root", "state", "temp"),
		until(v21, fields(aString, "plugin_dir")...),
		fields(aList, "disabled_plugins", "required_plugins", "imports"),
		[]field{
			{name: "plugins", shape: mapOfAny},
			{name: "cgroup", shape: aStruct, sub: fields(aString, "path")},
			{name: "timeouts", shape: mapOfStrings},
			{name: "grpc", shape: aStruct, sub: concat(
				fields(aString, "address", "tcp_address", "tcp_tls_ca", "tcp_tls_cert", "tcp_tls_key"),
				fields(anInt, "uid", "gid", "max_recv_message_size", "max_send_message_size"),
				since(v22, fields(aString, "tcp_tls_common_name")...))},
			{name: "ttrpc", shape: aStruct, sub: concat(fields(aString, "address"), fields(anInt, "uid", "gid"))},
			{name: "debug", shape: aStruct, sub: concat(
				fields(aString, "address", "level", "format"), fields(anInt, "uid", "gid"),
				since(v23, fields(aBool, "log_trace_id")...))},
			{name: "metrics", shape: aStruct, sub: concat(fields(aString, "address"), fields(aBool, "grpc_histogram"))},
			{name: "proxy_plugins", shape: mapOfStructs, sub: concat(
				fields(aString, "type", "address"),
				since(from(1, 6, 32), concat(fields(aString, "platform"), fields(mapOfStrings, "exports"))...),
				since(from(1, 7, 24), fields(aList, "capabilities")...))},
			{name: "stream_processors", shape: mapOfStructs, sub: concat(
				fields(aList, "accepts", "args", "env"), fields(aString, "returns", "path"))},
		},
	)
}

func runtimeHandler() []field {
	v17, v2, v21, v24 := from(1, 7, 0), from(2, 0, 0), from(2, 1, 0), from(2, 4, 0)
	return concat(
		fields(aString, "runtime_type", "runtime_path", "base_runtime_spec", "cni_conf_dir"),
		fields(aList, "pod_annotations", "container_annotations"),
		fields(aBool, "privileged_without_host_devices"),
		fields(anInt, "cni_max_conf_num"),
		fields(mapOfAny, "options"),
		since(v17, concat(fields(aBool, "privileged_without_host_devices_all_devices_allowed"), fields(aString, "snapshotter"))...),
		until(v2, fields(aString, "runtime_engine", "runtime_root")...),
		until(v2, since(v17, fields(aString, "sandbox_mode")...)...),
		since(v2, fields(aString, "sandboxer", "io_type")...),
		since(v21, fields(aBool, "cgroup_writable")...),
		since(v24, fields(aBool, "disable_pause_image_pull")...),
	)
}

func containerdTable() []field {
	v17, v2 := from(1, 7, 0), from(2, 0, 0)
	return concat(
		fields(aString, "default_runtime_name"),
		fields(aBool, "ignore_rdt_not_enabled_errors"),
		since(v17, fields(aBool, "ignore_blockio_not_enabled_errors")...),
		[]field{{name: "runtimes", shape: mapOfStructs, sub: runtimeHandler()}},
		until(v2, concat(
			fields(aString, "snapshotter"),
			fields(aBool, "no_pivot", "disable_snapshot_annotations", "discard_unpacked_layers"),
			[]field{
				{name: "default_runtime", shape: aStruct, sub: runtimeHandler()},
				{name: "untrusted_workload_runtime", shape: aStruct, sub: runtimeHandler()},
			})...),
	)
}

func cniTable() []field {
	v17, v2, v21, v24 := from(1, 7, 0), from(2, 0, 0), from(2, 1, 0), from(2, 4, 0)
	return concat(
		fields(aString, "conf_dir", "conf_template", "ip_pref"),
		fields(anInt, "max_conf_num"),
		until(v24, fields(aString, "bin_dir")...),
		since(v21, fields(aList, "bin_dirs")...),
		since(v17, fields(aBool, "setup_serially")...),
		since(v2, fields(aBool, "use_internal_loopback")...),
	)
}

func registryTable() []field {
	auth := fields(aString, "username", "password", "auth", "identitytoken")
	tls := concat(fields(aBool, "insecure_skip_verify"), fields(aString, "ca_file", "cert_file", "key_file"))
	return []field{
		{name: "config_path", shape: aString},
		{name: "mirrors", shape: mapOfStructs, sub: fields(aList, "endpoint")},
		{name: "auths", shape: mapOfStructs, sub: auth},
		{name: "headers", shape: mapOfLists},
		{name: "configs", shape: mapOfStructs, sub: []field{
			{name: "auth", shape: aStruct, sub: auth},
			{name: "tls", shape: aStruct, sub: tls, until: from(2, 0, 0)},
		}},
	}
}

func streamTable() []field {
	return concat(
		fields(aBool, "disable_tcp_service", "enable_tls_streaming"),
		fields(aString, "stream_server_address", "stream_server_port", "stream_idle_timeout"),
		[]field{{name: "x509_key_pair_streaming", shape: aStruct, sub: fields(aString, "tls_cert_file", "tls_key_file")}},
	)
}

func imageTable() []field {
	return concat(
		fields(anInt, "max_concurrent_downloads"),
		[]field{
			{name: "registry", shape: aStruct, sub: registryTable()},
			{name: "image_decryption", shape: aStruct, sub: fields(aString, "key_model")},
		},
		since(from(1, 7, 0), fields(aString, "image_pull_progress_timeout")...),
		since(from(1, 7, 13), fields(aBool, "image_pull_with_sync_fs")...),
	)
}

// commonRuntime are the keys that the CRI section of 1.x and the runtime
// section of 2.x share.
func commonRuntime() []field {
	v17 := from(1, 7, 0)
	return concat(
		[]field{
			{name: "containerd", shape: aStruct, sub: containerdTable()},
			{name: "cni", shape: aStruct, sub: cniTable()},
		},
		fields(aBool, "enable_selinux", "disable_apparmor", "restrict_oom_score_adj", "disable_proc_mount",
			"tolerate_missing_hugetlb_controller", "disable_hugetlb_controller", "device_ownership_from_security_context",
			"ignore_image_defined_volumes", "netns_mounts_under_state_dir", "enable_unprivileged_ports", "enable_unprivileged_icmp"),
		fields(anInt, "selinux_category_range", "max_container_log_line_size"),
		fields(aString, "unset_seccomp_profile"),
		since(from(1, 6, 20), fields(aString, "drain_exec_sync_io_timeout")...),
		since(from(1, 6, 20), fields(aList, "ignore_deprecation_warnings")...),
		since(v17, concat(fields(aList, "cdi_spec_dirs"), until(from(2, 4, 0), fields(aBool, "enable_cdi")...))...),
	)
}

// criSection are the keys of the one CRI section of 1.x.
func criSection() []field {
	return concat(commonRuntime(), imageTable(), streamTable(),
		fields(aString, "sandbox_image"), fields(anInt, "stats_collect_period"), fields(aBool, "systemd_cgroup", "disable_cgroup"))
}

// runtimeSection are the keys of io.containerd.cri.v1.runtime.
func runtimeSection() []field {
	return concat(commonRuntime(),
		since(from(2, 2, 3), fields(aBool, "enable_criu")...),
		until(from(2, 4, 0), since(from(2, 2, 3), fields(aBool, "enable_experimental_restore_via_create")...)...),
		since(from(2, 3, 0), fields(aString, "stats_collect_period", "stats_retention_period")...),
	)
}

// imagesSection are the keys of io.containerd.cri.v1.images.
func imagesSection() []field {
	v21 := from(2, 1, 0)
	return concat(imageTable(),
		fields(aString, "snapshotter"),
		fields(anInt, "stats_collect_period"),
		fields(aBool, "disable_snapshot_annotations", "discard_unpacked_layers"),
		[]field{
			{name: "pinned_images", shape: mapOfStrings},
			{name: "runtime_platforms", shape: mapOfStructs, sub: fields(aString, "platform", "snapshotter")},
		},
		since(v21, concat(fields(anInt, "concurrent_layer_fetch_buffer"), fields(aBool, "use_local_image_pull"))...),
	)
}
