package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hyperledger/fabric/gossip/api"
	"github.com/hyperledger/fabric/gossip/common"
)

// peerFolder is a loaded peer folder: who we are, and whom we trust.
type peerFolder struct {
	dir      string
	crypto   *cryptoService
	identity api.PeerIdentityType
	pkiID    common.PKIidType
	server   tls.Certificate
	client   tls.Certificate // tls/client.crt where there is one, else the server's
	roots    *x509.CertPool
}

func loadFolder(o *options) (*peerFolder, error) {
	others := map[string]string{}
	for _, t := range o.trust {
		name, dir, found := strings.Cut(t, "=")
		if !found {
			return nil, fmt.Errorf("--trust %q: want MSPID=FOLDER", t)
		}
		others[name] = dir
	}
	crypto, err := loadCrypto(o.key, o.org, others)
	if err != nil {
		return nil, err
	}
	p := &peerFolder{dir: o.key, crypto: crypto, roots: x509.NewCertPool()}
	if p.identity, err = crypto.identity(); err != nil {
		return nil, err
	}
	p.pkiID = crypto.GetPKIidOfCert(p.identity)
	tlsDir := filepath.Join(o.key, "tls")
	if p.server, err = loadPair(tlsDir, "server"); err != nil {
		return nil, err
	}
	p.client, err = loadPair(tlsDir, "client")
	if errors.Is(err, os.ErrNotExist) {
		p.client, err = p.server, nil
	}
	if err != nil {
		return nil, err
	}
	roots := []string{filepath.Join(tlsDir, "ca.crt")}
	for _, dir := range append([]string{filepath.Join(o.key, "msp")}, values(others)...) {
		more, _ := filepath.Glob(filepath.Join(dir, "tlscacerts", "*"))
		roots = append(roots, more...)
	}
	for _, file := range roots {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if !p.roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate", file)
		}
	}
	return p, nil
}

func values(m map[string]string) []string {
	var all []string
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

func loadPair(dir, name string) (tls.Certificate, error) {
	return tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
}

// pemAsInFile tells whether the identity carries the very text of the file: where it does not,
// two programs that read the same folder come to different PKI-IDs.
func (p *peerFolder) pemAsInFile() bool {
	files, _ := filepath.Glob(filepath.Join(p.dir, "msp", "signcerts", "*"))
	s, err := serialized(p.identity)
	if err != nil || len(files) == 0 {
		return false
	}
	text, err := os.ReadFile(files[0])
	return err == nil && bytes.Equal(text, s.IdBytes)
}
