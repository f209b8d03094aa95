package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/debstore"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

func newStore() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Look after what is kept between builds",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&dir, "cache", "", "directory of the store (default $NODEIMAGE_CACHE or the user's cache directory)")
	cmd.AddCommand(newStoreGC(&dir), newStoreVerify(&dir))
	return cmd
}

func openStoreIn(dir string) (*store.Store, error) {
	if dir == "" {
		var err error
		if dir, err = store.DefaultDir(); err != nil {
			return nil, err
		}
	}
	return store.Open(dir)
}

func newStoreGC(dir *string) *cobra.Command {
	var maxSize string
	var locks []string
	opts := store.GCOptions{}
	format := newFormat("text", "json")
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove what no build has used for long, down to a size",
		Long: `Remove what no build has used for long. What a running build uses stays, so this
can run at any time. With --lock, the packages that a lock names stay, too.`,
		Example: "  nodeimage store gc --max-size 20GiB --unused-for 720h",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if maxSize == "" && opts.Unused == 0 {
				return exitcode.BadInput(fmt.Errorf("--max-size and --unused-for are both missing: expected at least one, such as --max-size 20GiB"))
			}
			if opts.Unused < 0 {
				return exitcode.BadInput(fmt.Errorf("--unused-for %s: expected a time such as 720h", opts.Unused))
			}
			if maxSize != "" {
				var err error
				if opts.MaxSize, err = profiles.ParseSize(maxSize); err != nil {
					return exitcode.BadInput(fmt.Errorf("--max-size: %w", err))
				}
			}
			packages, err := packagesOf(locks)
			if err != nil {
				return err
			}
			opts.Keep = map[string]bool{}
			for sum := range packages {
				opts.Keep[sum] = true
			}
			s, err := openStoreIn(*dir)
			if err != nil {
				return err
			}
			defer saySlow(cmd, "still reading "+s.Dir())()
			done, err := s.GC(cmd.Context(), opts)
			if err != nil {
				return err
			}
			if format.value == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(done)
			}
			verb := "removed"
			if opts.DryRun {
				verb = "would remove"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %d, %d MiB; %d MiB are left", verb, done.Removed, done.Freed>>20, done.Left>>20)
			if err == nil && done.InUse > 0 {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "; %d are in use and stay", done.InUse)
			}
			fmt.Fprintln(cmd.OutOrStdout())
			return err
		},
	}
	cmd.Flags().StringVar(&maxSize, "max-size", "", "how large the store may be, e.g. 20GiB: what was not used for longest goes")
	cmd.Flags().DurationVar(&opts.Unused, "unused-for", 0, "remove what was not used for so long, e.g. 720h")
	cmd.Flags().BoolVar(&opts.DryRun, "dry-run", false, "remove nothing, say what would go")
	cmd.Flags().StringArrayVar(&locks, "lock", nil, "lock whose packages stay; may be given several times")
	cmd.Flags().Var(format, "format", "how to print the result")
	return cmd
}

// packagesOf returns the packages that locks name, by their sum.
func packagesOf(files []string) (map[string]lock.Package, error) {
	all := map[string]lock.Package{}
	for _, file := range files {
		l, err := lock.Load(file)
		if err != nil {
			return nil, err
		}
		for _, p := range l.AllPackages() {
			all[p.SHA256] = p
		}
	}
	return all, nil
}

func newStoreVerify(dir *string) *cobra.Command {
	var repair bool
	var locks []string
	format := newFormat("text", "json")
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare everything in the store with its sum, and repair it",
		Long: `Read the whole store and compare each file with its sum.

With --repair, what is damaged is removed, so that the next build makes it again;
packages that a --lock names are fetched again at once. The exit code is 1 if
something is damaged and was not repaired.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			packages, err := packagesOf(locks)
			if err != nil {
				return err
			}
			s, err := openStoreIn(*dir)
			if err != nil {
				return err
			}
			defer saySlow(cmd, "still reading "+s.Dir())()
			checked, rotten, err := s.VerifyAll(cmd.Context(), repair, refetch(s, packages))
			if err != nil {
				return err
			}
			return reportRot(cmd, format.value, checked, rotten)
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "remove what is damaged, and fetch packages of --lock again")
	cmd.Flags().StringArrayVar(&locks, "lock", nil, "lock that says where packages come from; may be given several times")
	cmd.Flags().Var(format, "format", "how to print the result")
	return cmd
}

// refetch gets a package that a lock names into the store again.
func refetch(s *store.Store, packages map[string]lock.Package) func(context.Context, string) error {
	client := fetch.New(fetch.Options{Dir: filepath.Join(s.Dir(), "downloads")})
	return func(ctx context.Context, sum string) error {
		p, ok := packages[sum]
		if !ok {
			return fmt.Errorf("no --lock says where it comes from")
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
		defer cancel()
		return debstore.Gather(ctx, s, debstore.From(client, &profiles.Profile{}, &lock.Lock{}), []lock.Package{p})
	}
}

func reportRot(cmd *cobra.Command, format string, checked int, rotten []store.Rot) error {
	left := 0
	for _, r := range rotten {
		if r.Repaired == "" {
			left++
		}
	}
	if format == "json" {
		if err := json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
			Checked int         `json:"checked"`
			Rotten  []store.Rot `json:"rotten"`
		}{checked, append([]store.Rot{}, rotten...)}); err != nil {
			return err
		}
	} else {
		for _, r := range rotten {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", r.Name, r.Problem); err != nil {
				return err
			}
			if r.Repaired != "" {
				fmt.Fprintf(cmd.OutOrStdout(), "  repaired: %s\n", r.Repaired)
			}
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%d checked, %d damaged, %d repaired\n", checked, len(rotten), len(rotten)-left); err != nil {
			return err
		}
	}
	if left > 0 {
		return exitcode.With(exitcode.Failed, fmt.Errorf("%d of %d in the store are damaged: run `nodeimage store verify --repair`", left, checked))
	}
	return nil
}
