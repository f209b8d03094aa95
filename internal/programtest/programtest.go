// Package programtest writes the programs that tests run.
package programtest

import (
	"os"
	"syscall"
)

// WriteFile writes a program that can be run at once. A command that another test
// starts meanwhile has the file open for writing until it runs itself, and for that
// long this program could not be run: text file busy (golang/go#22315).
func WriteFile(path string, content []byte) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, content, 0o755)
}
