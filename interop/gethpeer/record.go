package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/rlpx"
)

// The package takes no fixed ephemeral keys, so a handshake cannot be replayed to the byte. What
// is recorded instead: a session whose secrets we set, frame by frame, and handshakes with known
// static keys, whose auth and ack each side can open.

type recording struct {
	Source     string          `json:"source"`
	Notes      []string        `json:"notes"`
	Secrets    recordedSecrets `json:"secrets"`
	Frames     []recordedFrame `json:"frames"`
	Handshakes []recordedShake `json:"handshakes"`
}

type recordedSecrets struct {
	AES         string `json:"aes"`
	MAC         string `json:"mac"`
	EgressSeed  string `json:"initiator_egress_seed"`
	IngressSeed string `json:"initiator_ingress_seed"`
}

type recordedFrame struct {
	From    string `json:"from"`
	What    string `json:"what"`
	Code    uint64 `json:"code"`
	Snappy  bool   `json:"snappy"`
	Payload blob   `json:"payload"`
	Wire    blob   `json:"wire"`
}

// blob is bytes, or for long payloads (which follow a rule) what identifies them. No frame may be
// left out: the MACs run on from one to the next.
type blob struct {
	Len    int    `json:"len"`
	Hex    string `json:"hex,omitempty"`
	SHA256 string `json:"sha256"`
}

func blobOf(b []byte) blob {
	out := blob{Len: len(b), SHA256: fmt.Sprintf("%x", sha256.Sum256(b))}
	if len(b) <= 4096 {
		out.Hex = hex.EncodeToString(b)
	}
	return out
}

type recordedShake struct {
	InitiatorKey string `json:"initiator_key"`
	RecipientKey string `json:"recipient_key"`
	Auth         blob   `json:"auth"`
	Ack          blob   `json:"ack"`
}

// tee keeps what is written through a connection.
type tee struct {
	net.Conn
	wrote bytes.Buffer
}

func (t *tee) Write(b []byte) (int, error) {
	t.wrote.Write(b)
	return t.Conn.Write(b)
}

func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, m := range info.Deps {
			if m.Path == path {
				return m.Path + " " + m.Version
			}
		}
	}
	return path
}

// fixed gives n bytes that look random and are the same each time.
func fixed(label string, n int) []byte {
	var b []byte
	for i := 0; len(b) < n; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", label, i))
		b = append(b, sum[:]...)
	}
	return b[:n]
}

func fixedKey(label string) *ecdsa.PrivateKey {
	key, err := crypto.ToECDSA(fixed(label, 32))
	if err != nil {
		panic(err)
	}
	return key
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + 3)
	}
	return b
}

func record(o *options) {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		failed(err.Error())
	}
	r := recording{
		Source: "recorded from " + moduleVersion("github.com/ethereum/go-ethereum") + " package p2p/rlpx",
		Notes: []string{
			"frames: each MAC is keccak256 seeded with the bytes given; the recipient's are swapped",
			"frames: the pattern payload has byte (7*i+3) mod 256 at i; payload is what is given to the connection, before snappy",
			"handshakes: static keys are fixed, ephemeral keys and nonces were random and are not known",
		},
	}
	recordFrames(&r)
	for i := range 3 {
		r.Handshakes = append(r.Handshakes, recordHandshake(i))
	}
	path := filepath.Join(o.out, "recorded_geth.json")
	writeRecording(path, r)
	emit("recorded", "file", path, "frames", len(r.Frames), "handshakes", len(r.Handshakes))
	leave()
}

func writeRecording(path string, r any) {
	raw, err := json.MarshalIndent(r, "", " ")
	if err == nil {
		err = os.WriteFile(path, append(raw, '\n'), 0o644)
	}
	if err != nil {
		failed(err.Error())
	}
}

// recordFrames lets two connections with set secrets talk over a pipe, one message at a time.
func recordFrames(r *recording) {
	aes, mac := fixed("aes", 32), fixed("mac", 32)
	egress, ingress := fixed("egress", 64), fixed("ingress", 64)
	r.Secrets = recordedSecrets{hex.EncodeToString(aes), hex.EncodeToString(mac),
		hex.EncodeToString(egress), hex.EncodeToString(ingress)}

	left, right := net.Pipe()
	tees := []*tee{{Conn: left}, {Conn: right}}
	// What a connection needs of dialDest is only that it is there for the initiator.
	conns := []*rlpx.Conn{
		rlpx.NewConn(tees[0], &fixedKey("recipient").PublicKey), rlpx.NewConn(tees[1], nil)}
	seeds := [][]byte{egress, ingress}
	for i, c := range conns {
		s := rlpx.Secrets{AES: aes, MAC: mac, EgressMAC: crypto.NewKeccakState(), IngressMAC: crypto.NewKeccakState()}
		s.EgressMAC.Write(seeds[i])
		s.IngressMAC.Write(seeds[1-i])
		c.InitWithSecrets(s)
		c.SetDeadline(time.Now().Add(10 * time.Second))
	}
	names := []string{"initiator", "recipient"}
	snappy := false
	pass := func(from int, what string, code uint64, data []byte) {
		tees[from].wrote.Reset()
		done := make(chan error, 1)
		go func() {
			_, err := conns[from].Write(code, data)
			done <- err
		}()
		gotCode, got, _, err := conns[1-from].Read()
		if err == nil {
			err = <-done
		}
		if err == nil && (gotCode != code || !bytes.Equal(got, data)) {
			err = fmt.Errorf("came out differently")
		}
		if err != nil {
			failed(what + ": " + err.Error())
		}
		r.Frames = append(r.Frames, recordedFrame{names[from], what, code, snappy, blobOf(data), blobOf(tees[from].wrote.Bytes())})
	}

	for i, name := range names {
		key := fixedKey(name)
		h := hello{Version: p2pVersion, Name: clientName + "/" + name, ID: crypto.FromECDSAPub(&key.PublicKey)[1:],
			Caps: []p2p.Cap{{Name: "bench", Version: 1}, {Name: "cast", Version: 1}, {Name: "eth", Version: 69}}[:3-i]}
		pass(i, "hello", codeHello, rlpBytes(h))
	}
	for _, c := range conns {
		c.SetSnappy(true)
	}
	snappy = true
	pass(0, "ping", codePing, []byte{0xC0})
	pass(1, "pong", codePong, []byte{0xC0})
	for _, n := range []int{0, 1, 15, 16, 17, 1023, 1024, 65536} {
		pass(0, fmt.Sprintf("echo %d pattern", n), 16, pattern(n))
		pass(1, fmt.Sprintf("echoed %d pattern", n), 17, pattern(n))
	}
	// Bytes that do not compress, and bytes that compress well.
	pass(0, "echo 1024 hash bytes", 16, fixed("payload", 1024))
	pass(0, "echo 65536 zeros", 16, make([]byte, 65536))
	// Codes around the point where RLP takes a second byte.
	for _, code := range []uint64{127, 128, 300} {
		pass(1, fmt.Sprintf("code %d", code), code, pattern(5))
	}
	pass(0, "disconnect 8", codeDisc, rlpBytes(disc{Reason: p2p.DiscQuitting}))
	pass(1, "disconnect 0", codeDisc, rlpBytes(disc{Reason: p2p.DiscRequested}))
}

func recordHandshake(i int) recordedShake {
	initiator, recipient := fixedKey(fmt.Sprint("initiator ", i)), fixedKey(fmt.Sprint("recipient ", i))
	left, right := net.Pipe()
	a, b := &tee{Conn: left}, &tee{Conn: right}
	done := make(chan error, 1)
	go func() {
		_, err := rlpx.NewConn(b, nil).Handshake(recipient)
		done <- err
	}()
	_, err := rlpx.NewConn(a, &recipient.PublicKey).Handshake(initiator)
	if err == nil {
		err = <-done
	}
	if err != nil {
		failed(err.Error())
	}
	hexKey := func(k *ecdsa.PrivateKey) string { return strings.ToLower(hex.EncodeToString(crypto.FromECDSA(k))) }
	return recordedShake{hexKey(initiator), hexKey(recipient), blobOf(a.wrote.Bytes()), blobOf(b.wrote.Bytes())}
}
