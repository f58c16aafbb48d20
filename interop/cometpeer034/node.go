// Command cometpeer034 is a peer on the last release line that has the trust metric, v0.34: handshake, bench and
// peer exchange, as cometpeer has them, without cast and without recordings.
package main

import (
	"fmt"
	"net"
	"strings"

	"github.com/tendermint/tendermint/config"
	"github.com/tendermint/tendermint/crypto/ed25519"
	"github.com/tendermint/tendermint/libs/log"
	"github.com/tendermint/tendermint/p2p"
	"github.com/tendermint/tendermint/p2p/pex"
	"github.com/tendermint/tendermint/version"
)

// hugeRate is far above what any machine does, and small enough for the limiter's arithmetic.
const hugeRate = 1 << 40

// node is the stack as a node sets it up, without address book and peer exchange.
type node struct {
	o         *options
	key       *p2p.NodeKey
	cfg       *config.P2PConfig
	info      p2p.DefaultNodeInfo
	transport *p2p.MultiplexTransport
	sw        *p2p.Switch
	events    *eventReactor
	pex       *pexNode
}

func loadKey(o *options) *p2p.NodeKey {
	if o.key == "" {
		return &p2p.NodeKey{PrivKey: ed25519.GenPrivKey()}
	}
	key, err := p2p.LoadNodeKey(o.key)
	if err != nil {
		failed("node key: " + err.Error())
	}
	return key
}

func p2pConfig(o *options) *config.P2PConfig {
	cfg := config.DefaultP2PConfig()
	cfg.AllowDuplicateIP = true
	cfg.AddrBookStrict = false
	cfg.PexReactor = o.pex
	cfg.MaxNumInboundPeers = o.maxPeers
	cfg.MaxNumOutboundPeers = max(o.maxPeers, 10)
	if o.pex {
		// The default of a node that looks for peers.
		cfg.MaxNumOutboundPeers = 10
	}
	if o.rates == "huge" {
		cfg.SendRate, cfg.RecvRate = hugeRate, hugeRate
	}
	if o.flushThrottle > 0 {
		cfg.FlushThrottleTimeout = o.flushThrottle
	}
	return cfg
}

func nodeInfo(o *options, key *p2p.NodeKey, listen string) p2p.DefaultNodeInfo {
	name := o.name
	if name == "" {
		name = "cometpeer"
	}
	var channels []byte
	if o.has("bench") {
		channels = append(channels, benchChannels...)
	}
	if o.pex || o.do == "pex" {
		channels = append(channels, pex.PexChannel)
	}
	return p2p.DefaultNodeInfo{
		ProtocolVersion: p2p.NewProtocolVersion(version.P2PProtocol, version.BlockProtocol, 0),
		DefaultNodeID:   key.ID(),
		ListenAddr:      listen,
		Network:         o.network,
		Version:         version.TMCoreSemVer,
		Channels:        channels,
		Moniker:         name,
		Other:           p2p.DefaultNodeInfoOther{TxIndex: "off"},
	}
}

func newNode(o *options, listen string) *node {
	n := &node{o: o, key: loadKey(o), cfg: p2pConfig(o), events: newEventReactor()}
	n.info = nodeInfo(o, n.key, listen)
	n.transport = p2p.NewMultiplexTransport(n.info, *n.key, p2p.MConnConfig(n.cfg))
	n.sw = p2p.NewSwitch(n.cfg, n.transport)
	n.sw.SetLogger(refusalHook{})
	n.sw.SetNodeKey(n.key)
	n.sw.SetNodeInfo(n.info)
	// Without a book the switch falls over when it meets itself.
	n.sw.SetAddrBook(noBook{})
	n.sw.AddReactor("events", n.events)
	return n
}

func (n *node) start() {
	if err := n.sw.Start(); err != nil {
		failed(err.Error())
	}
	emit("ready", "address", fmt.Sprintf("%s@%s", n.key.ID(), n.info.ListenAddr), "id", string(n.key.ID()),
		"network", n.info.Network, "version", n.info.Version)
}

func (n *node) stop() {
	_ = n.sw.Stop()
	_ = n.transport.Close()
	if n.pex != nil {
		// The book saves itself at its end, too, but nobody waits for that.
		n.pex.book.Save()
	}
}

// parseAddress takes comet://ID@host:port, or the same without the scheme.
func parseAddress(url string) *p2p.NetAddress {
	addr, err := p2p.NewNetAddressString(strings.TrimPrefix(url, "comet://"))
	if err != nil {
		usage("%q: %v", url, err)
	}
	return addr
}

// freePort finds the number that port 0 stands for. The transport does not say what it got, and
// the node info has to name it before the transport exists, so the port is taken, read and given
// back; serve tries again if somebody else was faster.
func freePort(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		usage("--listen: %v", err)
	}
	if port != "0" {
		return listen
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		failed(err.Error())
	}
	defer l.Close()
	return l.Addr().String()
}

// addPex makes the node one with an address book; to be called once it listens.
func (n *node) addPex() {
	if !n.o.pex {
		return
	}
	n.pex = newPexNode(n.o, parseAddress(string(n.key.ID())+"@"+n.info.ListenAddr))
	n.sw.SetAddrBook(n.pex.book)
	n.sw.AddReactor("PEX", n.pex.reactor)
}

func parseIP(text string) net.IP {
	if ip := net.ParseIP(text); ip != nil {
		return ip
	}
	return net.IPv4zero
}

// noBook is an address book that never learns.
type noBook struct{}

func (noBook) AddAddress(_, _ *p2p.NetAddress) error { return nil }
func (noBook) AddPrivateIDs([]string)                {}
func (noBook) AddOurAddress(*p2p.NetAddress)         {}
func (noBook) OurAddress(*p2p.NetAddress) bool       { return false }
func (noBook) MarkGood(p2p.ID)                       {}
func (noBook) RemoveAddress(*p2p.NetAddress)         {}
func (noBook) HasAddress(*p2p.NetAddress) bool       { return false }
func (noBook) Save()                                 {}

// send is what the later lines' Peer.Send does: here envelopes are an addition to a peer that takes bytes.
func send(p p2p.Peer, e p2p.Envelope) bool {
	return p2p.SendEnvelopeShim(p, e, log.NewNopLogger())
}

func record(o *options) {
	usage("this line has no recordings")
}

// Receive is what a reactor of this line must have; with ReceiveEnvelope beside it nobody calls it.
func (*benchReactor) Receive(byte, p2p.Peer, []byte) {}

// Receive is as for the benchReactor.
func (*pexProbe) Receive(byte, p2p.Peer, []byte) {}
