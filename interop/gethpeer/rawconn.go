package main

import (
	"crypto/ecdsa"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/rlpx"
	"github.com/ethereum/go-ethereum/rlp"
)

// The base protocol by hand, for jobs that Server hides: refusals, reasons, pings, handshakes
// without a peer after them.

const (
	codeHello = 0
	codeDisc  = 1
	codePing  = 2
	codePong  = 3

	p2pVersion = 5
)

type hello struct {
	Version    uint64
	Name       string
	Caps       []p2p.Cap
	ListenPort uint64
	ID         []byte
	Rest       []rlp.RawValue `rlp:"tail"`
}

func helloOf(o *options, key *ecdsa.PrivateKey) hello {
	h := hello{Version: p2pVersion, Name: clientName, ID: crypto.FromECDSAPub(&key.PublicKey)[1:]}
	if o.name != "" {
		h.Name = o.name
	}
	for _, name := range []string{"bench", "cast"} { // sorted, as a hello must be
		if o.has(name) {
			h.Caps = append(h.Caps, p2p.Cap{Name: name, Version: 1})
		}
	}
	return h
}

// session is a raw connection after both handshakes.
type session struct {
	*rlpx.Conn
	theirs hello
}

// errDisc is a disconnect the peer sent.
type errDisc struct{ reason p2p.DiscReason }

func (e errDisc) Error() string { return e.reason.Error() }

// disc is a struct, as a slice of one-byte numbers would become a byte string and not a list.
type disc struct {
	Reason p2p.DiscReason
	Rest   []rlp.RawValue `rlp:"tail"`
}

func discOf(data []byte) error {
	var list disc
	if rlp.DecodeBytes(data, &list) == nil {
		return errDisc{list.Reason}
	}
	var one p2p.DiscReason
	if rlp.DecodeBytes(data, &one) == nil {
		return errDisc{one}
	}
	return errDisc{p2p.DiscInvalid}
}

func rlpBytes(v any) []byte {
	b, err := rlp.EncodeToBytes(v)
	if err != nil {
		panic(err) // our own types only
	}
	return b
}

// greet does both handshakes on a fresh connection. Both sides send their hello without waiting.
func greet(fd net.Conn, key *ecdsa.PrivateKey, remote *ecdsa.PublicKey, mine hello) (*session, error) {
	c := rlpx.NewConn(fd, remote)
	c.SetDeadline(time.Now().Add(5 * time.Second))
	proven, err := c.Handshake(key)
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(codeHello, rlpBytes(mine)); err != nil {
		return nil, err
	}
	code, data, _, err := c.Read()
	if err != nil {
		return nil, err
	}
	switch code {
	case codeDisc:
		return nil, discOf(data)
	case codeHello:
	default:
		return nil, fmt.Errorf("code %d in place of hello", code)
	}
	s := &session{Conn: c}
	if err := rlp.DecodeBytes(data, &s.theirs); err != nil {
		return nil, fmt.Errorf("bad hello: %w", err)
	}
	c.SetSnappy(s.theirs.Version >= p2pVersion)
	if hex.EncodeToString(s.theirs.ID) != hex.EncodeToString(crypto.FromECDSAPub(proven)[1:]) {
		s.bye(p2p.DiscUnexpectedIdentity)
		return nil, p2p.DiscUnexpectedIdentity
	}
	c.SetDeadline(time.Time{})
	return s, nil
}

func (s *session) bye(reason p2p.DiscReason) error {
	s.SetWriteDeadline(time.Now().Add(time.Second))
	_, err := s.Write(codeDisc, rlpBytes(disc{Reason: reason}))
	return err
}

// serveBase answers a ping and turns a disconnect into an error; other codes pass.
func (s *session) serveBase(code uint64, data []byte) error {
	switch code {
	case codePing:
		_, err := s.Write(codePong, []byte{0xC0})
		return err
	case codeDisc:
		return discOf(data)
	}
	return nil
}

// target is the address and the identity to insist on: the URL's, or that of --expect-id, which
// is a node's 64-byte key or the 32-byte hash of it.
func target(o *options) (addr string, remote *ecdsa.PublicKey, wantID *enode.ID) {
	n := parseNode(o.url)
	endpoint, ok := n.TCPEndpoint()
	if !ok {
		usage("%q has no TCP endpoint", o.url)
	}
	remote = n.Pubkey()
	if o.expectID == "" {
		return endpoint.String(), remote, nil
	}
	raw, err := hex.DecodeString(strings.TrimPrefix(o.expectID, "0x"))
	switch {
	case err == nil && len(raw) == 64:
		if remote, err = crypto.UnmarshalPubkey(append([]byte{4}, raw...)); err != nil {
			usage("--expect-id: %v", err)
		}
	case err == nil && len(raw) == 32:
		id := enode.ID(raw)
		wantID = &id
	default:
		usage("--expect-id is the hex of 64 bytes (key) or 32 bytes (node id)")
	}
	return endpoint.String(), remote, wantID
}

func dialRaw(o *options, key *ecdsa.PrivateKey) (*session, error) {
	addr, remote, wantID := target(o)
	fd, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	s, err := greet(fd, key, remote, helloOf(o, key))
	if err != nil {
		fd.Close()
		return nil, err
	}
	if wantID != nil && *wantID != enode.PubkeyToIDV4(remote) {
		s.bye(p2p.DiscUnexpectedIdentity)
		s.Close()
		return nil, p2p.DiscUnexpectedIdentity
	}
	return s, nil
}

// failedWith ends the program with the reason and, where the wire has one, its number.
func failedWith(err error) {
	var (
		theirs errDisc
		ours   p2p.DiscReason
	)
	switch {
	case errors.As(err, &theirs):
		failed(err.Error(), "code", int(theirs.reason), "by", "peer")
	case errors.As(err, &ours):
		failed(err.Error(), "code", int(ours), "by", "us")
	}
	failed(err.Error())
}
