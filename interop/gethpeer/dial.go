package main

import (
	"crypto/ecdsa"
	"errors"
	"net"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

func dial(o *options) {
	switch o.do {
	case "echo", "bulk":
		dialServer(o, []p2p.Protocol{benchProtocol(func(_ *p2p.Peer, rw p2p.MsgReadWriter) error {
			if err := driveBench(o, rw); err != nil {
				failed(err.Error())
			}
			return nil
		})})
	case "idle":
		idle(o)
	case "connect":
		connect(o)
	case "ping":
		ping(o)
	case "handshakes":
		handshakes(o)
	default:
		usage("no job %q", o.do)
	}
	leave()
}

// dialServer runs a whole Server for the job, so that what is measured is the package at both
// ends, and comes back when the session is over.
func dialServer(o *options, protocols []p2p.Protocol) *p2p.PeerEvent {
	over := make(chan *p2p.PeerEvent, 1)
	srv := newServer(o, "", protocols, func(r refusal) {
		failed(r.reason, r.fields()[2:]...)
	})
	srv.MaxPeers = max(srv.MaxPeers, 1)
	events := make(chan *p2p.PeerEvent, 16)
	srv.SubscribeEvents(events)
	if err := srv.Start(); err != nil {
		failed(err.Error())
	}
	ready(srv)
	go func() {
		for ev := range events {
			// A job prints its result and nothing more, so that it can be told by its line.
			if ev.Type == p2p.PeerEventTypeDrop {
				over <- ev
				return
			}
			if o.do == "idle" {
				report(srv, ev)
			}
		}
	}()
	node := parseNode(o.url)
	srv.AddPeer(node)
	var timeUp <-chan time.Time
	if o.do == "idle" {
		timeUp = time.After(time.Duration(o.seconds * float64(time.Second)))
	}
	select {
	case ev := <-over:
		return ev
	case <-timeUp:
		srv.Stop()
		return nil
	}
}

func idle(o *options) {
	var protocols []p2p.Protocol
	if o.has("bench") {
		protocols = append(protocols, benchProtocol(serveBench))
	}
	if o.has("cast") {
		protocols = append(protocols, castProtocol(newCastNode(o)))
	}
	ev := dialServer(o, protocols)
	if ev == nil {
		emit("closed", "by", "us", "reason", p2p.DiscQuitting.Error(), "code", int(p2p.DiscQuitting))
		return
	}
	kv := []any{"by", "peer", "reason", ev.Error}
	if code, ok := reasonCode(ev.Error); ok {
		kv = append(kv, "code", code)
	}
	emit("closed", kv...)
}

// rawReady is the ready line of a job without a Server, which listens nowhere.
func rawReady(o *options) *ecdsa.PrivateKey {
	key := loadKey(o)
	n := enode.NewV4(&key.PublicKey, net.IPv4(127, 0, 0, 1), 0, 0)
	emit("ready", "enode", n.URLv4(), "id", n.ID().String(), "name", helloOf(o, key).Name)
	return key
}

func mustDialRaw(o *options) *session {
	s, err := dialRaw(o, rawReady(o))
	if err != nil {
		failedWith(err)
	}
	pub, _ := crypto.UnmarshalPubkey(append([]byte{4}, s.theirs.ID...))
	emit("connected", "id", enode.PubkeyToIDV4(pub).String(), "name", s.theirs.Name,
		"caps", capNames(s.theirs.Caps), "version", s.theirs.Version)
	return s
}

func connect(o *options) {
	s := mustDialRaw(o)
	// A server has its say about us only after the hellos: give a refusal the time to arrive, and
	// answer its pings meanwhile.
	s.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	for {
		code, data, _, err := s.Read()
		if err != nil {
			var late net.Error
			if errors.As(err, &late) && late.Timeout() {
				break
			}
			failedWith(err)
		}
		if err := s.serveBase(code, data); err != nil {
			failedWith(err)
		}
	}
	if err := s.bye(p2p.DiscReason(o.reason)); err != nil {
		failedWith(err)
	}
	s.Close()
	emit("closed", "by", "us", "code", o.reason)
}

func ping(o *options) {
	s := mustDialRaw(o)
	rtt := make([]float64, 0, o.count)
	for range o.count {
		begin := time.Now()
		s.SetDeadline(begin.Add(10 * time.Second))
		if _, err := s.Write(codePing, []byte{0xC0}); err != nil {
			failedWith(err)
		}
		for {
			code, data, _, err := s.Read()
			if err == nil {
				err = s.serveBase(code, data)
			}
			if err != nil {
				failedWith(err)
			}
			if code == codePong {
				break
			}
		}
		rtt = append(rtt, float64(time.Since(begin).Nanoseconds())/1e3)
	}
	emit("ping", "rtt_us", rtt)
	s.bye(p2p.DiscQuitting)
	s.Close()
}

// handshakes uses a key of its own for each, since a server takes an identity only once and
// needs a moment to forget it.
func handshakes(o *options) {
	rawReady(o)
	keys := make([]*ecdsa.PrivateKey, o.count)
	for i := range keys {
		key, err := crypto.GenerateKey()
		if err != nil {
			failed(err.Error())
		}
		keys[i] = key
	}
	err := runHandshakes(o.count, o.parallel, func(i int) error {
		s, err := dialRaw(o, keys[i])
		if err != nil {
			return err
		}
		defer s.Close()
		return s.bye(p2p.DiscQuitting)
	})
	if err != nil {
		failedWith(err)
	}
}
