package kubelet

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// maxNodes bounds the size of a document after aliases are followed, and
// maxDepth how deep it may nest.
const (
	maxNodes = 100_000
	maxDepth = 64
)

// value is one YAML value with its place. Exactly one of fields, items and
// scalar counts.
type value struct {
	fields map[string]*value // nil unless a mapping
	items  []*value
	list   bool
	scalar string
	kind   string // string, bool, number, null
	key    string // dotted
	pos    source.Position
}

func newMapping(key string, pos source.Position) *value {
	return &value{fields: map[string]*value{}, key: key, pos: pos}
}

func (v *value) get(keys ...string) *value {
	for _, k := range keys {
		if v == nil {
			return nil
		}
		v = v.fields[k]
	}
	return v
}

func (v *value) text(key string) string {
	if c := v.get(key); c != nil {
		return c.scalar
	}
	return ""
}

type yamlError struct {
	text string
	line int
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

// parse reads the first document of a file, as the kubelet does.
func parse(file string, data []byte) (*value, *yamlError) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		line := 0
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			line, _ = strconv.Atoi(m[1])
		}
		return nil, &yamlError{strings.TrimPrefix(err.Error(), "yaml: "), line}
	}
	if len(doc.Content) == 0 {
		return newMapping("", source.Position{File: file}), nil
	}
	budget := maxNodes
	v, err := build(file, doc.Content[0], "", 0, &budget)
	if err != nil {
		return nil, err
	}
	if v.fields == nil {
		return nil, &yamlError{"is no mapping", v.pos.Line}
	}
	return v, nil
}

func build(file string, n *yaml.Node, key string, depth int, budget *int) (*value, *yamlError) {
	if *budget--; *budget < 0 || depth > maxDepth {
		return nil, &yamlError{fmt.Sprintf("more than %d values or %d levels", maxNodes, maxDepth), n.Line}
	}
	pos := source.Position{File: file, Line: n.Line}
	switch n.Kind {
	case yaml.AliasNode:
		return build(file, n.Alias, key, depth+1, budget)
	case yaml.MappingNode:
		v := newMapping(key, pos)
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			if k.Kind != yaml.ScalarNode {
				return nil, &yamlError{"a key is no string", k.Line}
			}
			name := k.Value
			if key != "" {
				name = key + "." + k.Value
			}
			c, err := build(file, n.Content[i+1], name, depth+1, budget)
			if err != nil {
				return nil, err
			}
			if k.Tag == "!!merge" && c.fields != nil {
				for mk, mv := range c.fields {
					if v.fields[mk] == nil {
						v.fields[mk] = mv
					}
				}
				continue
			}
			c.pos = source.Position{File: file, Line: k.Line}
			v.fields[k.Value] = c
		}
		return v, nil
	case yaml.SequenceNode:
		v := &value{list: true, key: key, pos: pos}
		for i, e := range n.Content {
			c, err := build(file, e, key+"["+strconv.Itoa(i)+"]", depth+1, budget)
			if err != nil {
				return nil, err
			}
			v.items = append(v.items, c)
		}
		return v, nil
	}
	return &value{scalar: n.Value, kind: scalarKind(n), key: key, pos: pos}, nil
}

// scalarKind resolves a plain scalar. The kubelet's YAML library still takes
// the booleans of YAML 1.1.
func scalarKind(n *yaml.Node) string {
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return "string"
	}
	switch n.Tag {
	case "!!bool":
		return "bool"
	case "!!null":
		return "null"
	case "!!int", "!!float":
		return "number"
	}
	if _, ok := yamlBool(n.Value); ok && n.Style&yaml.TaggedStyle == 0 {
		return "bool"
	}
	return "string"
}

func yamlBool(s string) (v, ok bool) {
	switch s {
	case "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		return true, true
	case "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		return false, true
	}
	return false, false
}

// patch is RFC 7386 with the places kept.
func patch(to, from *value) *value {
	if from.fields == nil || to == nil || to.fields == nil {
		if from.fields == nil {
			return from
		}
		to = newMapping(from.key, from.pos)
	}
	out := newMapping(to.key, to.pos)
	for k, v := range to.fields {
		out.fields[k] = v
	}
	for k, v := range from.fields {
		if v.kind == "null" {
			delete(out.fields, k)
			continue
		}
		out.fields[k] = patch(out.fields[k], v)
	}
	return out
}

// fill takes the effective values out of the merged document.
func (c *Config) fill(doc *value) {
	c.defaults()
	str := func(s *Setting[string], keys ...string) {
		v := doc.get(keys...)
		if v == nil || v.kind == "null" {
			return
		}
		if v.fields != nil || v.list || v.kind != "string" {
			c.wrongType(v, "string")
			return
		}
		if v.scalar != "" || keys[len(keys)-1] == "resolvConf" { // empty means the default, but for this pointer
			*s = Setting[string]{v.scalar, v.key, v.pos}
		}
	}
	boolean := func(s *Setting[bool], keys ...string) {
		v := doc.get(keys...)
		if v == nil || v.kind == "null" {
			return
		}
		b, ok := yamlBool(v.scalar)
		if v.kind != "bool" || !ok {
			c.wrongType(v, "bool")
			return
		}
		*s = Setting[bool]{b, v.key, v.pos}
	}
	str(&c.CgroupDriver, "cgroupDriver")
	str(&c.CgroupRoot, "cgroupRoot")
	str(&c.KubeletCgroups, "kubeletCgroups")
	str(&c.SystemCgroups, "systemCgroups")
	str(&c.ResolvConf, "resolvConf")
	str(&c.StaticPodPath, "staticPodPath")
	str(&c.RuntimeEndpoint, "containerRuntimeEndpoint")
	str(&c.ImageEndpoint, "imageServiceEndpoint")
	str(&c.SwapBehavior, "memorySwap", "swapBehavior")
	boolean(&c.FailSwapOn, "failSwapOn")
	boolean(&c.FailCgroupV1, "failCgroupV1")
	boolean(&c.CgroupsPerQOS, "cgroupsPerQOS")
	boolean(&c.ProtectKernelDefaults, "protectKernelDefaults")
	if gates := doc.get("featureGates"); gates != nil {
		for k, v := range gates.fields {
			b, ok := yamlBool(v.scalar)
			if v.kind != "bool" || !ok {
				c.wrongType(v, "bool")
				continue
			}
			c.FeatureGates[k] = Setting[bool]{b, v.key, v.pos}
		}
	}
	c.flatten(doc)
	c.unknownKeys(doc)
}

func (c *Config) wrongType(v *value, want string) {
	got := v.kind
	switch {
	case v.fields != nil:
		got = "object"
	case v.list:
		got = "array"
	}
	c.fault(fmt.Sprintf("failed to decode: json: cannot unmarshal %s into Go struct field KubeletConfiguration.%s of type %s", got, v.key, want), v.key, v.pos)
}

// defaults are the kubelet's own, not those that kubeadm writes.
func (c *Config) defaults() {
	c.CgroupDriver.Value = "cgroupfs"
	c.CgroupsPerQOS.Value = true
	c.FailSwapOn.Value = true
	c.FailCgroupV1.Value = c.Version.Minor >= 35 // KEP-5573
	c.ResolvConf.Value = "/etc/resolv.conf"
	c.RuntimeEndpoint.Value = "unix:///run/containerd/containerd.sock"
	c.RootDir.Value = "/var/lib/kubelet"
}

func (c *Config) flatten(v *value) {
	switch {
	case v.fields != nil:
		for _, f := range v.fields {
			c.flatten(f)
		}
	case v.list:
		for _, e := range v.items {
			c.flatten(e)
		}
	case v.key != "":
		c.Values[v.key] = Setting[string]{v.scalar, v.key, v.pos}
	}
}
