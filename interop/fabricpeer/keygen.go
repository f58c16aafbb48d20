package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// An organisation made with Go's own crypto: OUT/ca, OUT/tlsca and OUT/peerN/{msp,tls}. It is here
// so that a test of this program needs no other tool, and so that other tools have a second opinion.

const (
	validFor   = 20 * 365 * 24 * time.Hour // recorded vectors outlive this program
	backdated  = time.Hour                 // for clocks that run behind
	lowSTrials = 200                       // every second signature is low: failing 200 times does not happen
)

type authority struct {
	cert *x509.Certificate
	pem  []byte
	key  *ecdsa.PrivateKey
}

func keygen(o *options) {
	if _, err := os.Stat(o.out); err == nil {
		failed(o.out + " is there already")
	}
	if err := makeOrg(o.out, o.org, o.peers, o.split); err != nil {
		failed(err.Error())
	}
	for n := range o.peers {
		emit("peer", "folder", filepath.Join(o.out, fmt.Sprintf("peer%d", n)), "msp", o.org)
	}
	leave()
}

func makeOrg(out, org string, peers int, clientCert bool) error {
	ca, err := newAuthority("ca."+org, org)
	if err != nil {
		return err
	}
	tlsCA, err := newAuthority("tlsca."+org, org)
	if err != nil {
		return err
	}
	files := map[string][]byte{"ca/ca.pem": ca.pem, "ca/ca.key": keyPEM(ca.key), "tlsca/tlsca.pem": tlsCA.pem, "tlsca/tlsca.key": keyPEM(tlsCA.key)}
	for n := range peers {
		name := fmt.Sprintf("peer%d.%s", n, org)
		dir := fmt.Sprintf("peer%d/", n)
		enrol := template(name, org, "peer")
		enrol.KeyUsage = x509.KeyUsageDigitalSignature
		cert, key, err := ca.issue(enrol)
		if err != nil {
			return err
		}
		files[dir+"msp/signcerts/"+name+"-cert.pem"] = cert
		files[dir+"msp/keystore/priv_sk"] = key
		files[dir+"msp/cacerts/ca.pem"] = ca.pem
		files[dir+"msp/tlscacerts/tlsca.pem"] = tlsCA.pem
		files[dir+"tls/ca.crt"] = tlsCA.pem
		if cert, key, err = tlsCA.issue(tlsTemplate(name, org)); err != nil {
			return err
		}
		files[dir+"tls/server.crt"], files[dir+"tls/server.key"] = cert, key
		if clientCert {
			if cert, key, err = tlsCA.issue(tlsTemplate(name, org)); err != nil {
				return err
			}
			files[dir+"tls/client.crt"], files[dir+"tls/client.key"] = cert, key
		}
	}
	for path, content := range files {
		path = filepath.Join(out, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func template(name, org, unit string) *x509.Certificate {
	subject := pkix.Name{CommonName: name, Organization: []string{org}}
	if unit != "" {
		subject.OrganizationalUnit = []string{unit}
	}
	now := time.Now()
	return &x509.Certificate{Subject: subject, NotBefore: now.Add(-backdated), NotAfter: now.Add(validFor), BasicConstraintsValid: true}
}

func tlsTemplate(name, org string) *x509.Certificate {
	t := template(name, org, "")
	t.DNSNames = []string{"localhost"}
	t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	t.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	return t
}

func newAuthority(name, org string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := template(name, org, "")
	t.IsCA = true
	t.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := lowSCertificate(t, t, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert, certPEM(der), key}, nil
}

func (a *authority) issue(t *x509.Certificate) (cert, key []byte, err error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := lowSCertificate(t, a.cert, &priv.PublicKey, a.key)
	if err != nil {
		return nil, nil, err
	}
	return certPEM(der), keyPEM(priv), nil
}

// lowSCertificate signs until s is low: Fabric's MSP rewrites a certificate whose signature is not,
// and then the identity, and with it the PKI-ID, differs from the file.
func lowSCertificate(t, parent *x509.Certificate, pub *ecdsa.PublicKey, signer *ecdsa.PrivateKey) ([]byte, error) {
	for range lowSTrials {
		serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
		if err != nil {
			return nil, err
		}
		t.SerialNumber = serial
		der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, signer)
		if err != nil {
			return nil, err
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		if sig, err := parseSignature(cert.Signature); err == nil && sig.S.Cmp(halfOrder()) <= 0 {
			return der, nil
		}
	}
	return nil, errors.New("no low signature in many trials")
}

type ecdsaSignature struct{ R, S *big.Int }

func parseSignature(der []byte) (sig ecdsaSignature, err error) {
	rest, err := asn1.Unmarshal(der, &sig)
	if err == nil && len(rest) > 0 {
		err = errors.New("bytes after the signature")
	}
	return sig, err
}

func halfOrder() *big.Int { return new(big.Int).Rsh(elliptic.P256().Params().N, 1) }

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(key *ecdsa.PrivateKey) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err) // a P-256 key can always be encoded
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
