package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric/gossip/api"
	"github.com/hyperledger/fabric/gossip/common"
	"github.com/hyperledger/fabric/msp"
	mspproto "github.com/hyperledger/fabric/protos/msp"
)

// cryptoService is what gossip asks about identities and signatures, answered by Fabric's own MSP
// code: so a folder or signature we accept is one a Fabric peer accepts. Fabric's peer adds channel
// policies to this, which a program without a ledger does not have.
type cryptoService struct {
	self   msp.SigningIdentity
	orgs   map[string]msp.MSP
	layout string // how the MSP was set up, for msp-check
}

// loadCrypto loads the folder's msp/ as organisation org, and others as name → msp folder.
func loadCrypto(folder, org string, others map[string]string) (*cryptoService, error) {
	dir := filepath.Join(folder, "msp")
	conf, err := msp.GetLocalMspConfig(dir, nil, org)
	if err != nil {
		return nil, fmt.Errorf("msp folder: %w", err)
	}
	if err := withKey(conf, dir); err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	own, layout, err := newMSP(dir, conf)
	if err != nil {
		return nil, fmt.Errorf("msp setup: %w", err)
	}
	self, err := own.GetDefaultSigningIdentity()
	if err != nil {
		return nil, fmt.Errorf("signing identity: %w", err)
	}
	c := &cryptoService{self, map[string]msp.MSP{org: own}, layout}
	for name, dir := range others {
		conf, err := msp.GetVerifyingMspConfig(dir, name, msp.ProviderTypeToString(msp.FABRIC))
		if err != nil {
			return nil, fmt.Errorf("msp of %s: %w", name, err)
		}
		if c.orgs[name], _, err = newMSP(dir, conf); err != nil {
			return nil, fmt.Errorf("msp setup of %s: %w", name, err)
		}
	}
	return c, nil
}

// withKey puts the folder's key into the configuration: Fabric looks for it in the first folder that a process ever loaded.
func withKey(conf *mspproto.MSPConfig, dir string) error {
	files, _ := filepath.Glob(filepath.Join(dir, "keystore", "*"))
	if len(files) != 1 {
		return nil // Fabric finds the one that fits
	}
	key, err := os.ReadFile(files[0])
	if err != nil {
		return err
	}
	inner := &mspproto.FabricMSPConfig{}
	if err := proto.Unmarshal(conf.Config, inner); err != nil {
		return err
	}
	if inner.SigningIdentity != nil {
		inner.SigningIdentity.PrivateSigner = &mspproto.KeyInfo{KeyMaterial: key}
	}
	conf.Config, err = proto.Marshal(inner)
	return err
}

// newMSP takes the newest MSP version the folder is complete for: 1.4.3 insists on an
// administrator, by admincerts/ or by config.yaml, and plain peer folders have neither.
func newMSP(dir string, conf *mspproto.MSPConfig) (msp.MSP, string, error) {
	var version msp.MSPVersion = msp.MSPv1_3
	name := "1.3"
	for _, file := range []string{"admincerts", "config.yaml"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			version, name = msp.MSPv1_4_3, "1.4.3"
		}
	}
	m, err := msp.New(&msp.BCCSPNewOpts{NewBaseOpts: msp.NewBaseOpts{Version: version}})
	if err != nil {
		return nil, "", err
	}
	return m, name, m.Setup(conf)
}

func (c *cryptoService) identity() (api.PeerIdentityType, error) { return c.self.Serialize() }

func serialized(identity api.PeerIdentityType) (*mspproto.SerializedIdentity, error) {
	s := &mspproto.SerializedIdentity{}
	if err := proto.Unmarshal(identity, s); err != nil {
		return nil, err
	}
	return s, nil
}

// known finds the identity's organisation and its certificate; it validates nothing.
func (c *cryptoService) known(identity api.PeerIdentityType) (msp.Identity, error) {
	s, err := serialized(identity)
	if err != nil {
		return nil, err
	}
	org, found := c.orgs[s.Mspid]
	if !found {
		return nil, fmt.Errorf("organisation %q is not trusted", s.Mspid)
	}
	return org.DeserializeIdentity(identity)
}

// GetPKIidOfCert hashes the organisation's name and the certificate's PEM text with nothing between.
func (c *cryptoService) GetPKIidOfCert(identity api.PeerIdentityType) common.PKIidType {
	s, err := serialized(identity)
	if err != nil || len(identity) == 0 {
		return nil
	}
	h := sha256.New()
	h.Write([]byte(s.Mspid))
	h.Write(s.IdBytes)
	return h.Sum(nil)
}

func (c *cryptoService) VerifyBlock(common.ChainID, uint64, []byte) error { return nil }

// Sign hashes with SHA-256 and signs with a low s.
func (c *cryptoService) Sign(msg []byte) ([]byte, error) { return c.self.Sign(msg) }

// Verify refuses a signature with a high s.
func (c *cryptoService) Verify(identity api.PeerIdentityType, signature, message []byte) error {
	id, err := c.known(identity)
	if err != nil {
		return err
	}
	return id.Verify(message, signature)
}

func (c *cryptoService) VerifyByChannel(_ common.ChainID, identity api.PeerIdentityType, signature, message []byte) error {
	return c.Verify(identity, signature, message)
}

func (c *cryptoService) ValidateIdentity(identity api.PeerIdentityType) error {
	id, err := c.known(identity)
	if err != nil {
		return err
	}
	return id.Validate()
}

func (c *cryptoService) Expiration(identity api.PeerIdentityType) (time.Time, error) {
	id, err := c.known(identity)
	if err != nil {
		return time.Time{}, err
	}
	return id.ExpiresAt(), nil
}

// OrgByPeerIdentity makes the service gossip's security advisor, too: an organisation is its MSP id.
func (c *cryptoService) OrgByPeerIdentity(identity api.PeerIdentityType) api.OrgIdentityType {
	s, err := serialized(identity)
	if err != nil || len(identity) == 0 {
		return nil
	}
	return api.OrgIdentityType(s.Mspid)
}

// describe gives an identity's organisation and the common name of its certificate.
func describe(identity api.PeerIdentityType) (mspID, name string) {
	s, err := serialized(identity)
	if err != nil {
		return "", ""
	}
	if cert, err := parsePEM(s.IdBytes); err == nil {
		name = cert.Subject.CommonName
	}
	return s.Mspid, name
}

func parsePEM(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	return x509.ParseCertificate(block.Bytes)
}

// mspCheck tells what Fabric's code makes of a peer folder: loads it, validates the identity, and
// has the key sign and the certificate verify.
func mspCheck(o *options) {
	p, err := loadFolder(o)
	if err != nil {
		failed(err.Error())
	}
	if err := p.tellMSP(); err != nil {
		failed(err.Error())
	}
	leave()
}

func (p *peerFolder) tellMSP() error {
	if err := p.crypto.self.Validate(); err != nil {
		return fmt.Errorf("identity is not valid: %w", err)
	}
	probe := []byte("signed by the key, verified by the certificate")
	sig, err := p.crypto.Sign(probe)
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	if err := p.crypto.Verify(p.identity, sig, probe); err != nil {
		return fmt.Errorf("key and certificate do not match: %w", err)
	}
	_, name := describe(p.identity)
	emit("msp", "msp", p.crypto.self.GetMSPIdentifier(), "valid", true, "name", name, "pki_id", hex.EncodeToString(p.pkiID),
		"expires", p.crypto.self.ExpiresAt().UTC().Format(time.RFC3339), "msp_version", p.crypto.layout,
		"pem_as_in_file", p.pemAsInFile())
	return nil
}
