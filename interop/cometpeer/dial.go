package main

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/libs/protoio"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/p2p/conn"
	tmp2p "github.com/cometbft/cometbft/proto/tendermint/p2p"
)

// dialerListen is what a node that listens nowhere has in its node info, which must be an address.
const dialerListen = "127.0.0.1:0"

func dial(o *options) {
	// Jobs that dial nobody; the URL is not looked at.
	switch o.do {
	case "book":
		runBook(o)
		leave()
	case "secret":
		runSecret(o)
		leave()
	}
	addr := parseAddress(o.url)
	if o.expectID != "" {
		addr.ID = p2p.ID(o.expectID)
	}
	switch o.do {
	case "echo", "bulk", "urgent", "idle", "connect", "pex":
		dialSwitch(o, addr)
	case "ping":
		ping(o, addr)
	case "handshakes":
		handshakes(o, addr)
	default:
		usage("no job %q", o.do)
	}
	leave()
}

// dialSwitch does the jobs that need a whole peer.
func dialSwitch(o *options, addr *p2p.NetAddress) {
	n := newNode(o, dialerListen)
	bench := newBenchReactor(n.sw)
	if o.has("bench") {
		n.sw.AddReactor("bench", bench)
	}
	n.addCast()
	probe := newPexProbe()
	if o.do == "pex" {
		n.sw.AddReactor("PEX", probe)
	}
	n.start()
	if err := n.sw.DialPeerWithAddress(addr); err != nil {
		failed(err.Error())
	}
	peer := n.sw.Peers().Get(addr.ID)
	if peer == nil {
		failed(<-n.events.dropped)
	}
	switch o.do {
	case "echo", "bulk", "urgent":
		lost := make(chan error, 1)
		go func() { lost <- errors.New(<-n.events.dropped) }()
		run := runBench
		if o.do == "urgent" {
			run = func(o *options, w *benchWire) error {
				return runUrgent(w, o.size, o.count, o.beside, time.Duration(o.everyMS)*time.Millisecond)
			}
		}
		if err := run(o, bench.wire(peer, lost)); err != nil {
			failed(err.Error())
		}
	case "connect":
		// The other side decides about us only after the handshake, and closing is all it can say.
		select {
		case reason := <-n.events.dropped:
			failed(reason)
		case <-time.After(50 * time.Millisecond):
		}
		emit("connected", peerFields(peer)...)
		n.sw.StopPeerGracefully(peer)
		emit("closed", "by", "us")
	case "pex":
		emit("peer_added", peerFields(peer)...)
		probe.run(o, peer, n.events.dropped)
	case "idle":
		emit("peer_added", peerFields(peer)...)
		select {
		case reason := <-n.events.dropped:
			emit("closed", "by", "peer", "reason", reason)
		case <-time.After(time.Duration(o.seconds * float64(time.Second))):
			emit("closed", "by", "us", "reason", "time is up")
		}
	}
	n.stop()
}

// dialOnly lets a transport dial without a switch. Dial's second argument has a type that cannot
// be named outside the package but can be inferred; its zero value means a peer without reactors,
// which is all right for one that is never started.
func dialOnly[T any](dial func(p2p.NetAddress, T) (p2p.Peer, error), addr p2p.NetAddress) (p2p.Peer, error) {
	var none T
	return dial(addr, none)
}

// handshakes has an identity of its own for each, since a switch takes one only once and needs a
// moment to forget it.
func handshakes(o *options, addr *p2p.NetAddress) {
	n := newNode(o, dialerListen)
	n.start()
	transports := make([]*p2p.MultiplexTransport, o.count)
	for i := range transports {
		key := &p2p.NodeKey{PrivKey: ed25519.GenPrivKey()}
		transports[i] = p2p.NewMultiplexTransport(nodeInfo(o, key, dialerListen), *key, p2p.MConnConfig(n.cfg))
	}
	err := runHandshakes(o.count, o.parallel, func(i int) error {
		peer, err := dialOnly(transports[i].Dial, *addr)
		if err != nil {
			return err
		}
		return peer.CloseConn()
	})
	if err != nil {
		failed(err.Error())
	}
}

// ping works on the secret connection itself: a started peer pings by the clock and tells nobody
// how long it took.
func ping(o *options, addr *p2p.NetAddress) {
	key := loadKey(o)
	info := nodeInfo(o, key, dialerListen)
	emit("ready", "address", fmt.Sprintf("%s@%s", key.ID(), dialerListen), "id", string(key.ID()))
	rtt, err := pingAll(o, addr, key, info)
	if err != nil {
		failed(err.Error())
	}
	emit("ping", "rtt_us", rtt)
}

func pingAll(o *options, addr *p2p.NetAddress, key *p2p.NodeKey, info p2p.DefaultNodeInfo) ([]float64, error) {
	fd, err := net.DialTimeout("tcp", addr.DialString(), 3*time.Second)
	if err != nil {
		return nil, err
	}
	defer fd.Close()
	fd.SetDeadline(time.Now().Add(3 * time.Second))
	secret, err := conn.MakeSecretConnection(fd, key.PrivKey)
	if err != nil {
		return nil, err
	}
	if id := p2p.PubKeyToID(secret.RemotePubKey()); id != addr.ID {
		return nil, fmt.Errorf("peer is %s and not %s", id, addr.ID)
	}
	out := protoio.NewDelimitedWriter(secret)
	if _, err := out.WriteMsg(info.ToProto()); err != nil {
		return nil, err
	}
	var theirs tmp2p.DefaultNodeInfo
	if _, err := protoio.NewDelimitedReader(secret, p2p.MaxNodeInfoSize()).ReadMsg(&theirs); err != nil {
		return nil, err
	}
	in := protoio.NewDelimitedReader(secret, 2048)
	rtt := make([]float64, 0, o.count)
	for range o.count {
		begin := time.Now()
		fd.SetDeadline(begin.Add(10 * time.Second))
		if _, err := out.WriteMsg(&tmp2p.Packet{Sum: &tmp2p.Packet_PacketPing{PacketPing: &tmp2p.PacketPing{}}}); err != nil {
			return nil, err
		}
		for pong := false; !pong; {
			var packet tmp2p.Packet
			if _, err := in.ReadMsg(&packet); err != nil {
				return nil, err
			}
			switch packet.Sum.(type) {
			case *tmp2p.Packet_PacketPong:
				pong = true
			case *tmp2p.Packet_PacketPing:
				reply := &tmp2p.Packet{Sum: &tmp2p.Packet_PacketPong{PacketPong: &tmp2p.PacketPong{}}}
				if _, err := out.WriteMsg(reply); err != nil {
					return nil, err
				}
			}
		}
		rtt = append(rtt, float64(time.Since(begin).Nanoseconds())/1e3)
	}
	return rtt, nil
}
