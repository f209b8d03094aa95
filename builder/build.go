package builder

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/bootstrap"
	"github.com/nodeimage/packer-plugin-nodeimage/builder/chroot"
	"github.com/nodeimage/packer-plugin-nodeimage/builder/disk"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/memory"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
)

// build is what the steps of one run share. Each field names the step that
// sets it; a step uses only what earlier ones have set. Packer's state bag is
// left to what the SDK itself looks for there.
type build struct {
	config *Config
	ui     packersdk.Ui
	host   run.Runner

	store   *store.Store         // stepCheckHost
	base    bootstrap.Base       // stepBootstrap
	scratch string               // stepUnpack
	memory  *memory.Dir          // stepUnpack; nil when scratch is on a disk
	root    *rooted.Dir          // stepUnpack
	comm    *chroot.Communicator // stepOpenChroot
	// initramfs is begun by stepBeginInitramfs, unless that is pointless.
	initramfs *begunInitramfs
	fragment  manifest.Fragment  // stepCollectManifest
	packages  []manifest.Package // stepCollectManifest
	inputs    string             // stepCollectManifest
	layout    disk.Layout        // stepInstallBoot, stepOpenImage
	rework    disk.Rework        // stepOpenImage
	rootSize  int64              // stepAssembleDisk, stepReworkDisk
	images    []output           // stepConvert
	artifact  *Artifact          // stepPublish
}

// output is a finished disk image that has not been published yet.
type output struct {
	path   string
	record manifest.DiskImage
}

// steps are in the order of the build. Cleanup goes the other way.
func (b *build) steps() []multistep.Step {
	if b.config.profile.FromCloudImage() {
		return b.stepsOnImage()
	}
	return []multistep.Step{
		&stepCheckHost{build: b},
		&stepLockOutput{build: b},
		&stepBootstrap{build: b},
		&stepUnpack{build: b},
		&stepOpenChroot{build: b},
		&stepBeginInitramfs{build: b},
		&stepProvision{build: b},
		&stepCollectManifest{build: b},
		&stepInstallBoot{build: b},
		&stepCloseChroot{build: b},
		&stepAssembleDisk{build: b},
		&stepCheckLock{build: b},
		&stepConvert{build: b},
		&stepPublish{build: b},
	}
}

// stepsOnImage are those of a profile that begins with a cloud image, whose disk
// is kept but for the files.
func (b *build) stepsOnImage() []multistep.Step {
	return []multistep.Step{
		&stepCheckHost{build: b},
		&stepLockOutput{build: b},
		&stepBootstrap{build: b},
		&stepUnpack{build: b},
		&stepOpenImage{build: b},
		&stepOpenChroot{build: b},
		&stepProvision{build: b},
		&stepCollectManifest{build: b},
		&stepKeepBoot{build: b},
		&stepCloseChroot{build: b},
		&stepReworkDisk{build: b},
		&stepCheckLock{build: b},
		&stepConvert{build: b},
		&stepPublish{build: b},
	}
}

// treeName is the root file system's directory in scratch.
const treeName = "root"

// rootTree is where the root file system lies while it is worked on.
func (b *build) rootTree() string { return filepath.Join(b.scratch, treeName) }

// rawDisk is the assembled disk.
func (b *build) rawDisk() string { return filepath.Join(b.scratch, b.config.profile.Name+".raw") }

// newLayout is the profile's disk with identifiers that follow from seed.
func (b *build) newLayout(seed string) (disk.Layout, error) {
	return disk.NewLayout(b.config.firmware, b.config.size, b.config.espSize, b.config.profile.Disk.RootLabel, seed, b.base.Epoch)
}

// imagesDir is where images are written before they are published: on the disk
// of the store, even where scratch is in memory, since an output directory is
// mostly on the same one and then gets them by a rename.
func (b *build) imagesDir() string {
	if b.memory != nil {
		return b.memory.Inside
	}
	return b.scratch
}

const errorKey = "error" // where the SDK's runners look for the reason of a halt

// fail records why the build stops and stops it. What is recorded first is the
// reason; later errors are added to it.
func (b *build) fail(state multistep.StateBag, doing string, err error) multistep.StepAction {
	b.addError(state, doing, err)
	return multistep.ActionHalt
}

func (b *build) addError(state multistep.StateBag, doing string, err error) {
	err = fmt.Errorf("%s: %w", doing, err)
	if first := stateError(state); first != nil {
		err = errors.Join(first, err)
	}
	state.Put(errorKey, err)
	b.ui.Error(err.Error())
}

// cleanup reports an error of a step's Cleanup, which must not go unnoticed:
// something may have been left behind.
func (b *build) cleanup(state multistep.StateBag, doing string, err error) {
	if err != nil {
		b.addError(state, "cleaning up: "+doing, err)
	}
}

func stateError(state multistep.StateBag) error {
	err, _ := state.Get(errorKey).(error)
	return err
}

// The data that provisioners and post-processors see as build.<key>.
const (
	keyProfileName = "ProfileName"
	keyProfileSHA  = "ProfileSHA256"
	keyArch        = "Arch"
	keyBase        = "BaseKey"
)

func generatedKeys() []string { return []string{keyProfileName, keyProfileSHA, keyArch, keyBase} }
