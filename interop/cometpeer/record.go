package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/libs/protoio"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/p2p/conn"
	"github.com/cosmos/gogoproto/proto"
	"github.com/cosmos/gogoproto/types"
)

// The secret connection takes no fixed ephemeral keys, so what is recorded is the stream inside
// it: two connections of the package talk over a bare pipe, and the pipe keeps the bytes.

const modulePath = "github.com/cometbft/cometbft"

type recording struct {
	Source   string            `json:"source"`
	Notes    []string          `json:"notes"`
	Channels []recordedChannel `json:"channels"`
	Messages []recordedMessage `json:"messages"`
	Control  []recordedControl `json:"control"`
	Nodes    []recordedNode    `json:"nodes"`
}

type recordedChannel struct {
	ID       string `json:"id"`
	Priority int    `json:"priority"`
	RecvMax  int    `json:"recv_message_capacity"`
}

type recordedMessage struct {
	From    string `json:"from"`
	What    string `json:"what"`
	Channel string `json:"channel"`
	Message blob   `json:"message"`
	Wire    blob   `json:"wire"`
}

type recordedControl struct {
	From string `json:"from"`
	What string `json:"what"`
	Wire blob   `json:"wire"`
}

type recordedNode struct {
	PrivKey  string          `json:"priv_key"`
	ID       string          `json:"id"`
	KeyFile  json.RawMessage `json:"node_key_file"`
	Info     any             `json:"node_info"`
	InfoWire blob            `json:"node_info_wire"`
}

// blob is bytes, or for long ones what identifies them.
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

// tee keeps what is written through a connection.
type tee struct {
	net.Conn
	mu    sync.Mutex
	wrote bytes.Buffer
}

func (t *tee) Write(b []byte) (int, error) {
	t.mu.Lock()
	t.wrote.Write(b)
	t.mu.Unlock()
	return t.Conn.Write(b)
}

func (t *tee) take() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := bytes.Clone(t.wrote.Bytes())
	t.wrote.Reset()
	return b
}

func moduleVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == modulePath {
				return m.Version
			}
		}
	}
	return "unknown"
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
	version := moduleVersion()
	r := recording{
		Source: "recorded from " + modulePath + " " + version + " packages p2p and p2p/conn",
		Notes: []string{
			"messages: sent one at a time over a bare pipe; wire is every byte that caused, as it would stand inside the secret connection",
			"messages: the pattern has byte (7*i+3) mod 256 at i",
			"nodes: node_info_wire is length-delimited, as it is sent after the secret handshake",
		},
	}
	recordMessages(&r)
	recordControl(&r)
	for i := range 2 {
		r.Nodes = append(r.Nodes, recordNode(o, i))
	}
	raw, err := json.MarshalIndent(r, "", " ")
	// v0.38.26 gives 038: patch releases do not change the wire.
	line := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	path := filepath.Join(o.out, fmt.Sprintf("recorded_comet%s%s.json", line[0], strings.Join(line[1:2], "")))
	if err == nil {
		err = os.WriteFile(path, append(raw, '\n'), 0o644)
	}
	if err != nil {
		failed(err.Error())
	}
	emit("recorded", "file", path, "messages", len(r.Messages), "control", len(r.Control))
	leave()
}

// pair is two connections over a pipe.
type pair struct {
	tees  [2]*tee
	conns [2]*conn.MConnection
	got   [2]chan []byte
}

func newPair(descs []*conn.ChannelDescriptor, cfg conn.MConnConfig) *pair {
	p := &pair{}
	left, right := net.Pipe()
	for i, c := range []net.Conn{left, right} {
		p.tees[i] = &tee{Conn: c}
		p.got[i] = make(chan []byte, 16)
		received := func(_ byte, msg []byte) { p.got[i] <- bytes.Clone(msg) }
		p.conns[i] = conn.NewMConnectionWithConfig(p.tees[i], descs, received, func(any) {}, cfg)
		p.conns[i].SetLogger(log.NewNopLogger())
	}
	for _, c := range p.conns {
		if err := c.Start(); err != nil {
			failed(err.Error())
		}
	}
	return p
}

func (p *pair) stop() {
	for _, c := range p.conns {
		_ = c.Stop()
	}
}

var sides = [2]string{"left", "right"}

func quickConfig() conn.MConnConfig {
	cfg := conn.DefaultMConnConfig()
	cfg.FlushThrottle = time.Millisecond
	cfg.SendRate, cfg.RecvRate = hugeRate, hugeRate
	return cfg
}

func recordMessages(r *recording) {
	var descs []*conn.ChannelDescriptor
	for i, id := range []byte{0x00, 0x20, 0x70, 0x7F, 0x80, 0xFF} {
		d := &conn.ChannelDescriptor{ID: id, Priority: i + 1, SendQueueCapacity: 8, RecvMessageCapacity: 1 << 20}
		descs = append(descs, d)
		r.Channels = append(r.Channels, recordedChannel{fmt.Sprintf("%02x", id), d.Priority, d.RecvMessageCapacity})
	}
	p := newPair(descs, quickConfig())
	defer p.stop()
	pass := func(from int, what string, channel byte, msg []byte) {
		if !p.conns[from].Send(channel, msg) {
			failed(what + ": not queued")
		}
		select {
		case got := <-p.got[1-from]:
			if !bytes.Equal(got, msg) {
				failed(what + ": came out differently")
			}
		case <-time.After(5 * time.Second):
			failed(what + ": did not arrive")
		}
		r.Messages = append(r.Messages, recordedMessage{sides[from], what, fmt.Sprintf("%02x", channel),
			blobOf(msg), blobOf(p.tees[from].take())})
	}
	for i, n := range []int{0, 1, 2, 127, 128, 1023, 1024, 1025, 2046, 2048, 2049, 65536} {
		pass(i%2, fmt.Sprintf("pattern %d", n), 0x20, pattern(n))
	}
	for _, channel := range []byte{0x00, 0x7F, 0x80, 0xFF} {
		for _, n := range []int{1, 1023, 2046} {
			pass(0, fmt.Sprintf("pattern %d", n), channel, pattern(n))
		}
	}
	for _, n := range []int{0, 1, 1021, 1024} {
		raw, err := proto.Marshal(&types.BytesValue{Value: pattern(n)})
		if err != nil {
			failed(err.Error())
		}
		pass(1, fmt.Sprintf("BytesValue of pattern %d", n), 0x70, raw)
	}
}

// recordControl waits until both sides have pinged by their own clocks.
func recordControl(r *recording) {
	descs := []*conn.ChannelDescriptor{{ID: 0x20, Priority: 1}}
	cfg := quickConfig()
	cfg.PingInterval, cfg.PongTimeout = 200*time.Millisecond, 100*time.Millisecond
	p := newPair(descs, cfg)
	defer p.stop()
	var wrote [2][]byte
	for wait := 0; ; wait++ {
		if wait == 50 {
			failed("no ping and pong came")
		}
		time.Sleep(100 * time.Millisecond)
		done := true
		for i, t := range p.tees {
			wrote[i] = append(wrote[i], t.take()...)
			kinds := controlPackets(wrote[i])
			done = done && kinds["ping"] != nil && kinds["pong"] != nil
		}
		if done {
			break
		}
	}
	for i := range wrote {
		kinds := controlPackets(wrote[i])
		for _, what := range []string{"ping", "pong"} {
			r.Control = append(r.Control, recordedControl{sides[i], what, blobOf(kinds[what])})
		}
	}
}

// controlPackets splits a stream of pings and pongs, which are all shorter than 128 bytes and so
// have one byte of length, and keeps one of each.
func controlPackets(stream []byte) map[string][]byte {
	kinds := map[string][]byte{}
	for len(stream) > 1 && len(stream) > int(stream[0]) {
		what := "ping"
		if stream[1] == 0x12 { // field 2 of the packet
			what = "pong"
		}
		kinds[what], stream = stream[:stream[0]+1], stream[stream[0]+1:]
	}
	return kinds
}

func recordNode(o *options, i int) recordedNode {
	priv := ed25519.GenPrivKeyFromSecret(fmt.Appendf(nil, "switchboard vector node %d", i))
	key := &p2p.NodeKey{PrivKey: priv}
	info := nodeInfo(o, key, fmt.Sprintf("127.0.0.1:%d", 26656+i))
	info.Moniker = fmt.Sprintf("node %d", i)
	wire, err := protoio.MarshalDelimited(info.ToProto())
	if err != nil {
		failed(err.Error())
	}
	file, err := os.CreateTemp("", "node_key")
	if err != nil {
		failed(err.Error())
	}
	defer os.Remove(file.Name())
	file.Close()
	if err := key.SaveAs(file.Name()); err != nil {
		failed(err.Error())
	}
	saved, err := os.ReadFile(file.Name())
	if err != nil {
		failed(err.Error())
	}
	return recordedNode{hex.EncodeToString(priv.Bytes()), string(key.ID()), saved, info, blobOf(wire)}
}
