package builder

import (
	"errors"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func TestDiskFull(t *testing.T) {
	t.Parallel()
	err := diskFull(errors.New("tar: x: Cannot write: No space left on device"))
	if exitcode.Of(err) != exitcode.Infrastructure || !strings.Contains(err.Error(), "cache_directory") {
		t.Errorf("got %v", err)
	}
	if diskFull(nil) != nil {
		t.Error("nil became an error")
	}
	if other := errors.New("other"); !errors.Is(diskFull(other), other) || strings.Contains(diskFull(other).Error(), "disk is full") {
		t.Error("another error was taken for a full disk")
	}
}
