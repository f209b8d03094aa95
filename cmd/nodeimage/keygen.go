package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func newKeygen() *cobra.Command {
	var prefix string
	kind := newFormat(string(attest.ECDSA), string(attest.Ed25519))
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make a key pair to sign attestations with",
		Long: `Make a key pair: PREFIX.key, the private key in PKCS#8, which only you can read,
and PREFIX.pub. Prints the fingerprint by which a policy names the key. Existing
files are never overwritten.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := attest.GenerateKey(attest.KeyKind(kind.value))
			if err != nil {
				return err
			}
			secret, err := key.PEM()
			if err != nil {
				return err
			}
			if err := writeNew(prefix+".key", secret, 0o600); err != nil {
				return err
			}
			if err := writeNew(prefix+".pub", key.Public().PEM(), 0o644); err != nil {
				return errors.Join(err, os.Remove(prefix+".key"))
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s.key\n%s.pub\nsha256: %s\n", prefix, prefix, key.Public().Fingerprint())
			return err
		},
	}
	cmd.Flags().StringVarP(&prefix, "output", "o", "nodeimage", "where to put the keys: PREFIX.key and PREFIX.pub")
	cmd.Flags().Var(kind, "type", "algorithm; cosign's own keys are ecdsa-p256")
	return cmd
}

// writeNew writes a file that must not exist yet, and leaves none if it fails.
func writeNew(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return exitcode.BadInput(fmt.Errorf("writing the key: %w", err))
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return exitcode.Transient(errors.Join(fmt.Errorf("writing the key: %w", err), os.Remove(path)))
	}
	return nil
}
