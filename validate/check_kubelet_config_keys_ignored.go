package validate

import "context"

func kubeletConfigKeysIgnored() Check {
	return Check{
		ID:    "kubelet-config-keys-ignored",
		Title: "the kubelet ignores keys of its configuration",
		Why: `An unknown or misspelt key in config.yaml makes the kubelet read the file leniently, with one line in the
log; in a drop-in it says nothing. The setting has no effect.`,
		Reads:      "the kubelet's configuration file and drop-ins",
		Scope:      "nodes with a kubelet",
		Fix:        "mend the spelling or remove the key",
		Severity:   Warning,
		References: []string{"https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/"},
		AppliesTo:  readsKubelet,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			k, err := n.kubelet()
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, i := range k.Ignored {
				found = append(found, Finding{Key: i.Key, Got: "a key that the kubelet does not read", Want: "only keys of KubeletConfiguration"}.at(i.Pos))
			}
			return found, nil
		},
	}
}
