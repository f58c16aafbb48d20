package main

import "github.com/tendermint/tendermint/p2p"

func serve(o *options) {
	stdin := stdinClosed()
	var dials []*p2p.NetAddress
	var persistent []string
	for _, url := range o.dials {
		addr := parseAddress(url)
		dials = append(dials, addr)
		persistent = append(persistent, addr.String())
	}
	n := listenNode(o)
	n.events.print = true
	refusalsHeard.Store(true)
	if o.has("bench") {
		n.sw.AddReactor("bench", newBenchReactor(n.sw))
	}
	n.addPex()
	if err := n.sw.AddPersistentPeers(persistent); err != nil {
		usage("--dial: %v", err)
	}
	n.start()
	// Dialled at once, and not by DialPeersAsync, which waits up to three seconds first. A failed
	// dial of a persistent peer is tried again by the switch itself.
	for _, addr := range dials {
		go func() {
			if err := n.sw.DialPeerWithAddress(addr); err != nil {
				emit("dial_failed", "id", string(addr.ID), "reason", err.Error())
			}
		}()
	}
	<-stdin
	n.stop()
	leave()
}

// listenNode gets the transport listening before the switch starts.
func listenNode(o *options) *node {
	var err error
	for range 10 {
		n := newNode(o, freePort(o.listen))
		addr := parseAddress(string(n.key.ID()) + "@" + n.info.ListenAddr)
		if err = n.transport.Listen(*addr); err == nil {
			return n
		}
	}
	failed(err.Error())
	return nil
}
