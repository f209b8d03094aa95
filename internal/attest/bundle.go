package attest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	dssepb "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// What a sigstore bundle and the envelope in it say they are.
const (
	BundleMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	PayloadType     = "application/vnd.in-toto+json"
	// BundleSuffix ends the name of a bundle's file.
	BundleSuffix = ".sigstore.json"
)

// MaxBundle bounds a bundle, in bytes. The largest is that of an SBOM with
// some thousand Go modules, of a few MiB.
const MaxBundle = 32 << 20

// ErrUnknownKey says that a bundle names a key that was not given. Anything
// may stand in such a bundle.
var ErrUnknownKey = errors.New("signed by a key that was not given")

// Seal signs a statement and puts it into a sigstore bundle, as JSON.
func Seal(ctx context.Context, s *intoto.Statement, key *PrivateKey) ([]byte, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("statement %s: %w", s.GetPredicateType(), err)
	}
	payload, err := marshal(s)
	if err != nil {
		return nil, err
	}
	signer, err := dsse.NewEnvelopeSigner(key)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	envelope, err := signer.SignPayload(ctx, PayloadType, payload)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	signature, err := base64.StdEncoding.DecodeString(envelope.Signatures[0].Sig)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	out, err := marshal(&bundlepb.Bundle{
		MediaType: BundleMediaType,
		VerificationMaterial: &bundlepb.VerificationMaterial{
			Content: &bundlepb.VerificationMaterial_PublicKey{PublicKey: &commonpb.PublicKeyIdentifier{Hint: key.Public().Hint()}},
		},
		Content: &bundlepb.Bundle_DsseEnvelope{DsseEnvelope: &dssepb.Envelope{
			Payload: payload, PayloadType: PayloadType, Signatures: []*dssepb.Signature{{Sig: signature}},
		}},
	})
	if err == nil && len(out) > MaxBundle {
		err = fmt.Errorf("bundle of %d bytes: expected at most %d", len(out), MaxBundle)
	}
	return append(out, '\n'), err
}

// marshal renders a message as JSON, always in the same bytes: protojson
// varies the blanks on purpose.
func marshal(m proto.Message) ([]byte, error) {
	loose, err := protojson.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("rendering %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, loose); err != nil {
		return nil, fmt.Errorf("rendering %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return out.Bytes(), nil
}

// Bundle is a bundle that was read. Until Verify has said whose it is, nothing
// in it may be believed.
type Bundle struct {
	hint      string
	envelope  *dssepb.Envelope
	statement *intoto.Statement
}

// Parse reads a bundle with one in-toto statement under one signature, strictly:
// keys twice or unknown in the bundle are refused.
func Parse(data []byte) (*Bundle, error) {
	if len(data) > MaxBundle {
		return nil, fmt.Errorf("it has more than %d MiB: expected a sigstore bundle", MaxBundle>>20)
	}
	var b bundlepb.Bundle
	if err := protojson.Unmarshal(data, &b); err != nil {
		return nil, fmt.Errorf("it is no sigstore bundle: %w", err)
	}
	if b.GetMediaType() != BundleMediaType {
		return nil, fmt.Errorf("its media type is %.100q: expected %s", b.GetMediaType(), BundleMediaType)
	}
	key := b.GetVerificationMaterial().GetPublicKey()
	if key == nil {
		return nil, errors.New("it was not signed with a key (verificationMaterial.publicKey is missing)")
	}
	envelope := b.GetDsseEnvelope()
	if envelope == nil {
		return nil, errors.New("it holds no DSSE envelope (dsseEnvelope is missing)")
	}
	// One signature only: with several, who vouches for the payload would
	// depend on which of them a reader looks at.
	if n := len(envelope.GetSignatures()); n != 1 {
		return nil, fmt.Errorf("its envelope has %d signatures: expected 1", n)
	}
	if envelope.GetPayloadType() != PayloadType {
		return nil, fmt.Errorf("its payload type is %.100q: expected %s", envelope.GetPayloadType(), PayloadType)
	}
	statement := &intoto.Statement{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(envelope.GetPayload(), statement); err != nil {
		return nil, fmt.Errorf("its payload is no in-toto statement: %w", err)
	}
	if statement.GetType() != intoto.StatementTypeUri {
		return nil, fmt.Errorf("its statement is of type %.100q: expected %s", statement.GetType(), intoto.StatementTypeUri)
	}
	return &Bundle{key.GetHint(), envelope, statement}, nil
}

// Verify tells which of the keys signed the bundle. The error is ErrUnknownKey
// if the bundle names none of them, and another if it names one and the
// signature is not that key's over this payload.
func (b *Bundle) Verify(ctx context.Context, keys []PublicKey) (PublicKey, error) {
	for _, k := range keys {
		// The hint is not signed; it only chooses the key to try.
		if b.hint != k.Hint() {
			continue
		}
		verifier, err := dsse.NewEnvelopeVerifier(k)
		if err != nil {
			return PublicKey{}, err
		}
		_, err = verifier.Verify(ctx, &dsse.Envelope{
			PayloadType: b.envelope.GetPayloadType(),
			Payload:     base64.StdEncoding.EncodeToString(b.envelope.GetPayload()),
			Signatures:  []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(b.envelope.GetSignatures()[0].GetSig())}},
		})
		if err != nil {
			return PublicKey{}, fmt.Errorf("its signature is not that of key %s over this payload", k.Fingerprint())
		}
		return k, nil
	}
	return PublicKey{}, ErrUnknownKey
}

// Statement is what the bundle says.
func (b *Bundle) Statement() *intoto.Statement { return b.statement }
