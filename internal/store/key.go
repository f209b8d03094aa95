package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Key returns the key of an entry that is made from parts: the hex sha256 of
// their canonical JSON, each beside the name of its Go type, so that two
// values that only look the same give two keys. Only what JSON shows counts:
// unexported fields do not. It fails on values that JSON cannot hold.
func Key(parts ...any) (string, error) {
	type typed struct {
		Type  string `json:"type"`
		Value any    `json:"value"`
	}
	values := make([]typed, len(parts))
	for i, part := range parts {
		values[i] = typed{fmt.Sprintf("%T", part), part}
	}
	// encoding/json sorts map keys and writes struct fields in their order.
	text, err := json.Marshal(values)
	if err != nil {
		return "", fmt.Errorf("making a store key: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}
