package pipeline

import (
	"context"
	"fmt"
	"os"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// EnvLimit is the environment variable that says how large the store may be
// after a build, such as 20GiB. Without it, the store grows until
// `nodeimage store gc`.
const EnvLimit = "NODEIMAGE_CACHE_LIMIT"

// storeLimit reads EnvLimit: bytes, 0 without one. Errors are bad input.
func storeLimit() (int64, error) {
	text := os.Getenv(EnvLimit)
	if text == "" {
		return 0, nil
	}
	limit, err := profiles.ParseSize(text)
	if err != nil {
		return 0, exitcode.BadInput(fmt.Errorf("the environment variable %s: %w", EnvLimit, err))
	}
	return limit, nil
}

// shrink removes what was not used for longest until the limit holds. What this
// build and others that run have used stays, so it may not hold. The image is
// made by now: a failure is only said.
func shrink(ctx context.Context, s *store.Store, limit int64, ui packersdk.Ui) {
	if limit == 0 {
		return
	}
	done, err := s.GC(ctx, store.GCOptions{MaxSize: limit})
	switch {
	case err != nil:
		ui.Say(fmt.Sprintf("warning: the store was not brought down to %d MiB: %v", limit>>20, err))
	case done.Left > limit:
		ui.Say(fmt.Sprintf("warning: %d MiB are left in the store %s, more than %s allows (%d MiB): what builds use stays", done.Left>>20, s.Dir(), EnvLimit, limit>>20))
	case done.Removed > 0:
		ui.Say(fmt.Sprintf("removed %d MiB from the store that were not used for longest", done.Freed>>20))
	}
}
