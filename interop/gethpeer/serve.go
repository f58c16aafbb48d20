package main

import (
	"strings"

	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

func serve(o *options) {
	stdin := stdinClosed()
	var protocols []p2p.Protocol
	if o.has("bench") {
		protocols = append(protocols, benchProtocol(serveBench))
	}
	if o.has("eth") {
		protocols = append(protocols, ethProtocols()...)
	}
	var static []*enode.Node
	for _, url := range o.dials {
		static = append(static, parseNode(url))
	}
	if o.has("cast") {
		protocols = append(protocols, castProtocol(newCastNode(o)))
	}
	srv := newServer(o, o.listen, protocols, func(r refusal) {
		if r.inbound {
			emit("refused", r.fields()...)
		}
	})
	srv.StaticNodes = static
	discover(o, srv)
	srv.NoDial = len(static) == 0 && o.discovery == "" // also gives all of --max-peers to those who dial us
	events := make(chan *p2p.PeerEvent, 1024)
	sub := srv.SubscribeEvents(events)
	if err := srv.Start(); err != nil {
		failed(err.Error())
	}
	ready(srv)
	for {
		select {
		case ev := <-events:
			report(srv, ev)
		case err := <-sub.Err():
			failed(err.Error())
		case <-stdin:
			srv.Stop() // tells every peer that we quit
			leave()
		}
	}
}

// discover turns on what looks for peers by itself, on loopback.
func discover(o *options, srv *p2p.Server) {
	for _, version := range strings.Split(o.discovery, ",") {
		switch version {
		case "":
		case "v4":
			srv.NoDiscovery, srv.Config.DiscoveryV4 = false, true
		case "v5":
			srv.NoDiscovery, srv.Config.DiscoveryV5 = false, true
		default:
			usage("--discovery is v4, v5 or v4,v5")
		}
	}
	for _, url := range o.bootnodes {
		boot, err := enode.Parse(enode.ValidSchemes, url)
		if err != nil {
			usage("%q: %v", url, err)
		}
		srv.BootstrapNodes = append(srv.BootstrapNodes, boot)
		srv.BootstrapNodesV5 = append(srv.BootstrapNodesV5, boot)
	}
}

// report prints a peer event. The event itself only has the id; the rest is looked up, and is
// missing when the peer is already gone again.
func report(srv *p2p.Server, ev *p2p.PeerEvent) {
	switch ev.Type {
	case p2p.PeerEventTypeAdd:
		for _, p := range srv.Peers() {
			if p.ID() == ev.Peer {
				emit("peer_added", "id", ev.Peer.String(), "name", p.Fullname(), "inbound", p.Inbound(),
					"caps", capNames(p.Caps()))
				return
			}
		}
		emit("peer_added", "id", ev.Peer.String(), "remote", ev.RemoteAddress)
	case p2p.PeerEventTypeDrop:
		kv := []any{"id", ev.Peer.String(), "reason", ev.Error}
		if code, ok := reasonCode(ev.Error); ok {
			kv = append(kv, "code", code)
		}
		emit("peer_dropped", kv...)
	}
}
