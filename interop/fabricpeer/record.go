package main

import (
	"crypto/elliptic"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hyperledger/fabric/gossip/common"
	"github.com/hyperledger/fabric/gossip/gossip/channel"
	pb "github.com/hyperledger/fabric/protos/gossip"
)

// recording is the vector file. Bytes are hex, certificates PEM. Signatures differ from one
// recording to the next, as ECDSA draws a random number for each; everything verifies nevertheless.
type recording struct {
	Source      string            `json:"source"`
	Modules     map[string]string `json:"modules"`
	Identities  []recordedID      `json:"identities"`
	Establish   []recordedConn    `json:"conn_establish"`
	Session     []recordedFrame   `json:"session"`
	Messages    []recordedMessage `json:"messages"`
	ChannelMACs []recordedMAC     `json:"channel_macs"`
	Signatures  []recordedVerdict `json:"signatures"`
}

type recordedID struct {
	Name          string `json:"name"`
	MSP           string `json:"msp"`
	CertPEM       string `json:"cert_pem"`
	CAPEM         string `json:"ca_pem"`
	TLSServerPEM  string `json:"tls_server_cert_pem"`
	TLSClientPEM  string `json:"tls_client_cert_pem"`
	TLSCAPEM      string `json:"tls_ca_pem"`
	Identity      string `json:"identity"`
	PKIID         string `json:"pki_id"`
	TLSServerHash string `json:"tls_server_cert_sha256"`
	TLSClientHash string `json:"tls_client_cert_sha256"`
}

// recordedConn is a ConnEstablish as comm sent it.
type recordedConn struct {
	From        string `json:"from"`
	Role        string `json:"role"` // dialler or listener
	Envelope    string `json:"envelope"`
	Payload     string `json:"payload"`
	Signature   string `json:"signature"`
	PKIID       string `json:"pki_id"`
	Identity    string `json:"identity"`
	TLSCertHash string `json:"tls_cert_hash"`
}

// recordedFrame is one envelope of a session, as the listener sent or received it.
type recordedFrame struct {
	From     string `json:"from"`
	Envelope string `json:"envelope"`
	Values   any    `json:"values"`
}

type recordedMAC struct {
	PKIID   string `json:"pki_id"`
	Channel string `json:"channel"`
	MAC     string `json:"mac"`
}

// recordedVerdict is a signature and what Fabric's MSP says about it.
type recordedVerdict struct {
	What      string `json:"what"`
	Signer    string `json:"signer"`
	Message   string `json:"message"`
	Signature string `json:"signature"`
	Accepted  bool   `json:"accepted"`
	Reason    string `json:"reason,omitempty"`
}

func record(o *options) {
	dir, err := os.MkdirTemp("", "fabricpeer")
	if err != nil {
		failed(err.Error())
	}
	atExit(func() { os.RemoveAll(dir) })
	r, err := makeRecording(dir)
	if err != nil {
		failed(err.Error())
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		failed(err.Error())
	}
	const name = "recorded_fabric14.json"
	if err := os.WriteFile(filepath.Join(o.out, name), append(text, '\n'), 0o644); err != nil {
		failed(err.Error())
	}
	emit("recorded", "file", name, "messages", len(r.Messages))
	leave()
}

func makeRecording(dir string) (*recording, error) {
	org := filepath.Join(dir, "org1")
	if err := makeOrg(org, "Org1MSP", 2, true); err != nil {
		return nil, err
	}
	// Fabric's crypto provider is one for the process and stays with the first key store it is given.
	key, err := os.ReadFile(filepath.Join(org, "peer1/msp/keystore/priv_sk"))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(org, "peer0/msp/keystore/peer1_sk"), key, 0o600); err != nil {
		return nil, err
	}
	var nodes [2]*node
	r := &recording{Modules: map[string]string{}}
	for i, name := range []string{"peer0", "peer1"} {
		n, err := newNode(&options{key: filepath.Join(org, name), org: "Org1MSP"})
		if err != nil {
			return nil, err
		}
		nodes[i] = n
		id, err := n.recordID(name)
		if err != nil {
			return nil, err
		}
		r.Identities = append(r.Identities, *id)
		for _, ch := range []string{"mychannel", "", "a"} {
			mac := channel.GenerateMAC(n.pkiID, common.ChainID(ch))
			r.ChannelMACs = append(r.ChannelMACs, recordedMAC{n.pkiID.String(), ch, hex.EncodeToString(mac)})
		}
	}
	info, found := debug.ReadBuildInfo()
	if !found {
		return nil, errors.New("built without module information")
	}
	for _, m := range info.Deps {
		switch m.Path {
		case "github.com/hyperledger/fabric":
			r.Source = m.Path + " " + m.Version
		case "google.golang.org/grpc", "github.com/golang/protobuf":
			r.Modules[m.Path] = m.Version
		}
	}
	if err := r.recordSession(nodes[0], nodes[1]); err != nil {
		return nil, err
	}
	if err := r.recordMessages(nodes[0], nodes[1]); err != nil {
		return nil, err
	}
	return r, r.recordVerdicts(nodes[0])
}

func (n *node) recordID(name string) (*recordedID, error) {
	s, err := serialized(n.identity)
	if err != nil {
		return nil, err
	}
	text := func(parts ...string) string {
		content, e := os.ReadFile(filepath.Join(append([]string{n.dir}, parts...)...))
		err = errors.Join(err, e)
		return string(content)
	}
	id := &recordedID{
		Name: name, MSP: s.Mspid, CertPEM: string(s.IdBytes),
		CAPEM:        text("msp", "cacerts", "ca.pem"),
		TLSServerPEM: text("tls", "server.crt"), TLSClientPEM: text("tls", "client.crt"), TLSCAPEM: text("tls", "ca.crt"),
		Identity: hex.EncodeToString(n.identity), PKIID: n.pkiID.String(),
		TLSServerHash: hexHash(n.peerFolder.server.Certificate[0]), TLSClientHash: hexHash(n.client.Certificate[0]),
	}
	return id, err
}

// recordSession runs a real session over loopback and keeps what passed the listener.
func (r *recording) recordSession(listener, dialler *node) error {
	var mu sync.Mutex
	var frames []recordedFrame
	var faults error
	listener.tap = func(e *pb.Envelope, sent, _ bool) {
		mu.Lock()
		defer mu.Unlock()
		frame, conn, err := recordFrame(e, sent)
		faults = errors.Join(faults, err)
		if conn != nil {
			r.Establish = append(r.Establish, *conn)
		} else if frame != nil {
			frames = append(frames, *frame)
		}
	}
	listener.accept((&bench{counts: map[string]*benchCount{}}).handle)
	endpoint, err := listener.listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	atExit(listener.stop)
	atExit(dialler.stop)
	s, err := dialler.open(endpoint, listener.pkiID)
	if err != nil {
		return err
	}
	done := make(chan struct{}, 1)
	w := s.wire()
	w.onEcho(func([]byte) { done <- struct{}{} })
	if err := w.echo([]byte("hello")); err != nil {
		return err
	}
	select {
	case <-done:
	case <-time.After(connectPatience):
		return errors.New("no echo")
	}
	if err := s.bulk(20, 10, "zeros"); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	r.Session = frames
	if len(r.Establish) != 2 {
		return errors.Join(faults, errors.New("want two ConnEstablish"))
	}
	return faults
}

func recordFrame(e *pb.Envelope, sent bool) (*recordedFrame, *recordedConn, error) {
	from, role := "peer1", "dialler"
	if sent {
		from, role = "peer0", "listener"
	}
	raw, err := encode(e)
	if err != nil {
		return nil, nil, err
	}
	m, err := e.ToGossipMessage()
	if err != nil {
		return nil, nil, err
	}
	if c := m.GetConn(); c != nil {
		return nil, &recordedConn{from, role, raw, hex.EncodeToString(e.Payload), hex.EncodeToString(e.Signature),
			hex.EncodeToString(c.PkiId), hex.EncodeToString(c.Identity), hex.EncodeToString(c.TlsCertHash)}, nil
	}
	return &recordedFrame{from, raw, fieldsOf(m.GossipMessage)}, nil, nil
}

// recordVerdicts: a good signature, and others made of it that Fabric refuses.
func (r *recording) recordVerdicts(n *node) error {
	message := []byte("switchboard")
	good, err := n.crypto.Sign(message)
	if err != nil {
		return err
	}
	sig, err := parseSignature(good)
	if err != nil {
		return err
	}
	order := elliptic.P256().Params().N
	high, err := asn1.Marshal(ecdsaSignature{sig.R, new(big.Int).Sub(order, sig.S)})
	if err != nil {
		return err
	}
	zero, err := asn1.Marshal(ecdsaSignature{sig.R, new(big.Int)})
	if err != nil {
		return err
	}
	for _, c := range []struct {
		what     string
		msg, sig []byte
	}{
		{"as made", message, good},
		{"the other s, which is high", message, high},
		{"s is 0", message, zero},
		{"other message", []byte("switchboards"), good},
		{"empty", message, nil},
		{"a byte after it", message, append(append([]byte{}, good...), 0)},
	} {
		verdict := recordedVerdict{What: c.what, Signer: "peer0", Message: hex.EncodeToString(c.msg), Signature: hex.EncodeToString(c.sig), Accepted: true}
		if err := n.crypto.Verify(n.identity, c.sig, c.msg); err != nil {
			verdict.Accepted, verdict.Reason = false, err.Error()
		}
		r.Signatures = append(r.Signatures, verdict)
	}
	return nil
}
