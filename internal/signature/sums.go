package signature

import (
	"bufio"
	"bytes"
	"fmt"
	"regexp"
)

var (
	sumLine = regexp.MustCompile(`^([0-9a-f]{64})(?: [ *]([^\s/][^/]*))?$`)
	maxSums = 10_000
)

// ParseSums reads a list of sums as sha256sum prints it, by file name. A list
// that is one sum alone, as Kubernetes has them, is under "". Two sums for one
// file are an error: at most one is right.
func ParseSums(text []byte) (map[string]string, error) {
	sums := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimRight(lines.Bytes(), " \r")
		if len(line) == 0 {
			continue
		}
		found := sumLine.FindSubmatch(line)
		if found == nil || len(sums) >= maxSums {
			return nil, fmt.Errorf("line %d of the list of sums: found %.100q, expected 64 lower-case hexadecimal digits and a file's name", n, line)
		}
		name := string(found[2])
		if other, twice := sums[name]; twice && other != string(found[1]) {
			return nil, fmt.Errorf("line %d of the list of sums: found a second sum of %.100q", n, name)
		}
		sums[name] = string(found[1])
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("the list of sums: %w", err)
	}
	if len(sums) == 0 {
		return nil, fmt.Errorf("the list of sums is empty")
	}
	return sums, nil
}
