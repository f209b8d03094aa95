package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Hash is the sha256, in hexadecimal, of what the plan asks for. Plans that
// ask for the same content hash alike wherever their sources lie on this host.
func (p Plan) Hash() (string, error) {
	data, err := json.Marshal(p) // struct fields in order, map keys sorted
	if err != nil {
		return "", fmt.Errorf("hashing plan %q: %w", p.Name, err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
