package builder

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/packerbuilderdata"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/bootstrap"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/debstore"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
)

// stepBootstrap gets the base system from the archive, or from the store when
// the archive has not changed.
//
// Sets build.base.
type stepBootstrap struct{ *build }

func (s *stepBootstrap) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	p := s.config.profile
	if p.FromCloudImage() {
		s.ui.Say(fmt.Sprintf("Beginning with the cloud image %s of %s %s (%s)", p.Base.CloudImage.Name(), p.OS.Distribution, p.OS.Version, p.OS.Codename))
	} else {
		s.ui.Say(fmt.Sprintf("Bootstrapping %s %s (%s)", p.OS.Distribution, p.OS.Version, p.OS.Codename))
	}
	if len(p.StandIns) > 0 {
		s.ui.Say("warning: this image is not made from the real thing: stand-ins for " + strings.Join(p.StandIns, ", "))
	}
	maker := bootstrap.Maker{
		Host:     s.host,
		Store:    s.store,
		Lock:     s.config.lock,
		Progress: func(line string) { s.ui.Say("  " + line) },
	}
	if !s.config.offline {
		client, err := fetch.FromEnvironment(fetch.Options{Dir: filepath.Join(s.store.Dir(), "downloads"), Logf: s.ui.Sayf}, s.config.mirrors...)
		if err != nil {
			return s.fail(state, "bootstrapping", err)
		}
		maker.Client = client
		if s.config.lock != nil {
			maker.Fetch = debstore.From(client, p, s.config.lock)
		}
	}
	base, err := maker.Make(ctx, p)
	if err != nil {
		return s.fail(state, "bootstrapping", err)
	}
	s.base = base
	from := "made anew"
	if !p.FromCloudImage() {
		from = "bootstrapped"
	}
	if base.Cached {
		from = "unchanged, from the cache"
	}
	s.ui.Say(fmt.Sprintf("Base system of %d packages: %s", len(base.Packages), from))

	generated := packerbuilderdata.GeneratedData{State: state}
	for key, value := range map[string]string{
		keyProfileName: p.Name, keyProfileSHA: p.Hash(), keyArch: p.OS.Arch, keyBase: base.Key,
	} {
		generated.Put(key, value)
	}
	return multistep.ActionContinue
}

func (s *stepBootstrap) Cleanup(multistep.StateBag) {}
