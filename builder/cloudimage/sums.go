package cloudimage

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// sumLine is a line as sha256sum writes it: the sum, a blank, a blank or a star
// for binary mode, and the file.
var sumLine = regexp.MustCompile(`^([0-9a-f]{64}) [ *](.+)$`)

// sumOf returns the sum that a list has for the file of that name.
func sumOf(list []byte, name string) (string, error) {
	found, lines := "", 0
	for line := range strings.Lines(string(list)) {
		match := sumLine.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if match == nil {
			continue
		}
		lines++
		if path.Clean(match[2]) != name {
			continue
		}
		if found != "" && found != match[1] {
			return "", fmt.Errorf("it has two sums for %s: %s and %s", name, found, match[1])
		}
		found = match[1]
	}
	switch {
	case lines == 0:
		return "", fmt.Errorf("found no line of a sha256 and a file: expected what sha256sum writes")
	case found == "":
		return "", fmt.Errorf("none of its %d files is called %s", lines, name)
	}
	return found, nil
}
