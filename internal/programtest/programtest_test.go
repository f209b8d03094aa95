package programtest

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

// Programs are written and run while commands start all the time.
func TestWriteFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 20 {
				program := filepath.Join(dir, strconv.Itoa(i)+"-"+strconv.Itoa(j))
				if err := WriteFile(program, []byte("#!/bin/sh\nexit 0\n")); err != nil {
					t.Error(err)
					return
				}
				if out, err := exec.Command(program).CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			}
		})
	}
	group.Wait()
}
