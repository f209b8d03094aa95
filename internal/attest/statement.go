// Package attest writes and reads signed statements about node images: in-toto
// statements whose subject is the image's sha256, each in a DSSE envelope in a
// sigstore bundle that cosign verifies offline with the public key.
//
// The types of statement, envelope and bundle are those of in-toto/attestation,
// go-securesystemslib and sigstore/protobuf-specs, so that what is written here
// is what others read.
package attest

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// The predicate types of statements.
const (
	TypeTestResult = "https://in-toto.io/attestation/test-result/v0.1"
	TypeProvenance = "https://slsa.dev/provenance/v1"
	TypeSBOM       = "https://cyclonedx.org/bom"
)

// attestedOn is the subject's annotation with the time of signing.
const attestedOn = "attestedOn"

// Subject is the image that a statement is about.
type Subject struct {
	Name   string // base name of the file; only for people
	SHA256 string // lower-case hexadecimal
}

// NewStatement makes a statement about one image, signed at a time.
func NewStatement(s Subject, predicateType string, predicate []byte, at time.Time) (*intoto.Statement, error) {
	content := &structpb.Struct{}
	if err := protojson.Unmarshal(predicate, content); err != nil {
		return nil, fmt.Errorf("statement %s: %w", predicateType, err)
	}
	notes, err := structpb.NewStruct(map[string]any{attestedOn: at.UTC().Format(time.RFC3339)})
	if err != nil {
		return nil, fmt.Errorf("statement %s: %w", predicateType, err)
	}
	return &intoto.Statement{
		Type: intoto.StatementTypeUri,
		Subject: []*intoto.ResourceDescriptor{{
			Name: filepath.Base(s.Name), Digest: map[string]string{"sha256": s.SHA256}, Annotations: notes,
		}},
		PredicateType: predicateType,
		Predicate:     content,
	}, nil
}

// Claim is the part of a statement that is the same for all types.
type Claim struct {
	Type     string
	Subjects []Subject
	Attested time.Time // zero if the statement does not say
	// Problems are what is wrong with the statement whatever it says.
	Problems []string
}

// ReadClaim reads who a statement is about, and when it was made.
func ReadClaim(s *intoto.Statement) Claim {
	c := Claim{Type: s.GetPredicateType()}
	names, digests := map[string]bool{}, map[string]bool{}
	for i, r := range s.GetSubject() {
		digest := r.GetDigest()["sha256"]
		c.Subjects = append(c.Subjects, Subject{r.GetName(), digest})
		if b, err := hex.DecodeString(digest); err != nil || len(b) != 32 || hex.EncodeToString(b) != digest {
			c.Problems = append(c.Problems, fmt.Sprintf("subject %d (%.100q) has no sha256: a name alone says nothing about a file", i+1, r.GetName()))
			continue
		}
		if digests[digest] || r.GetName() != "" && names[r.GetName()] {
			c.Problems = append(c.Problems, fmt.Sprintf("subject %d (%.100q) is named twice", i+1, r.GetName()))
		}
		names[r.GetName()], digests[digest] = true, true
		if text := r.GetAnnotations().GetFields()[attestedOn].GetStringValue(); text != "" {
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				c.Problems = append(c.Problems, fmt.Sprintf("subject %d: %s is %.100q: expected a time as 2026-11-23T12:00:00Z", i+1, attestedOn, text))
			}
			c.Attested = at
		}
	}
	if len(c.Subjects) == 0 {
		c.Problems = append(c.Problems, "it has no subject")
	}
	// Packer's provenance is about all files of a build; a test and a list of
	// parts are about one image.
	if len(c.Subjects) > 1 && c.Type != TypeProvenance {
		c.Problems = append(c.Problems, fmt.Sprintf("it has %d subjects: expected the image alone", len(c.Subjects)))
	}
	if c.Attested.IsZero() && c.Type == TypeProvenance {
		// Packer's own says it in the standard place.
		run := s.GetPredicate().GetFields()["runDetails"].GetStructValue()
		text := run.GetFields()["metadata"].GetStructValue().GetFields()["finishedOn"].GetStringValue()
		c.Attested, _ = time.Parse(time.RFC3339, text)
	}
	if c.Attested.IsZero() {
		c.Problems = append(c.Problems, "it does not say when it was made")
	}
	return c
}

// About tells whether the statement names an image among its subjects.
func (c Claim) About(sha256 string) bool {
	for _, s := range c.Subjects {
		if s.SHA256 == sha256 {
			return true
		}
	}
	return false
}

// predicateInto fills a generated type from a statement's predicate.
func predicateInto(s *intoto.Statement, m proto.Message) error {
	if s.GetPredicate() == nil {
		return errors.New("it has no predicate")
	}
	data, err := json.Marshal(s.GetPredicate().AsMap())
	if err != nil {
		return err
	}
	return (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, m)
}
