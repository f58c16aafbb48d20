package main

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tendermint/tendermint/libs/log"
	"github.com/tendermint/tendermint/p2p"
	"github.com/tendermint/tendermint/p2p/conn"
	"github.com/tendermint/tendermint/p2p/pex"
	tmp2p "github.com/tendermint/tendermint/proto/tendermint/p2p"
)

// pexNode is a node's own address book and peer exchange, as node/setup.go puts them together.
type pexNode struct {
	book    pex.AddrBook
	reactor *pex.Reactor
}

// seedWait is how long a seed keeps peers that ask nothing (node/setup.go).
const seedWait = 28 * time.Hour

func newPexNode(o *options, own *p2p.NetAddress) *pexNode {
	file := o.addrBook
	if file == "" {
		dir, err := os.MkdirTemp("", "cometpeer-book")
		if err != nil {
			failed(err.Error())
		}
		atExit(func() { os.RemoveAll(dir) })
		file = filepath.Join(dir, "addrbook.json")
	}
	n := &pexNode{book: pex.NewAddrBook(file, false)}
	n.book.SetLogger(log.NewNopLogger())
	n.book.AddOurAddress(own)
	var seeds []string
	for _, seed := range strings.Split(o.seeds, ",") {
		if seed = strings.TrimPrefix(strings.TrimSpace(seed), "comet://"); seed != "" {
			seeds = append(seeds, seed)
		}
	}
	n.reactor = pex.NewReactor(n.book, &pex.ReactorConfig{
		Seeds: seeds, SeedMode: o.seedMode, SeedDisconnectWaitPeriod: seedWait,
	})
	n.reactor.SetLogger(log.NewNopLogger())
	if o.ensurePeriod > 0 {
		n.reactor.SetEnsurePeersPeriod(o.ensurePeriod)
	}
	return n
}

// pexProbe only asks: what a peer answers, and what it does about too many questions.
type pexProbe struct {
	p2p.BaseReactor
	answers chan []tmp2p.NetAddress
	asked   chan struct{}
}

func newPexProbe() *pexProbe {
	r := &pexProbe{answers: make(chan []tmp2p.NetAddress, 16), asked: make(chan struct{}, 16)}
	r.BaseReactor = *p2p.NewBaseReactor("PEX", r)
	return r
}

func (r *pexProbe) GetChannels() []*conn.ChannelDescriptor {
	return []*conn.ChannelDescriptor{{
		ID: pex.PexChannel, Priority: 1, SendQueueCapacity: 10, RecvMessageCapacity: 64000,
		MessageType: &tmp2p.Message{},
	}}
}

func (r *pexProbe) ReceiveEnvelope(e p2p.Envelope) {
	switch m := e.Message.(type) {
	case *tmp2p.PexAddrs:
		r.answers <- m.Addrs
	case *tmp2p.PexRequest:
		select {
		case r.asked <- struct{}{}:
		default:
		}
	}
}

// runPex asks count times, each time waiting for the answer or for the end, and says what came.
// With --unsolicited it first sends an answer that nobody asked for.
func (r *pexProbe) run(o *options, peer p2p.Peer, dropped <-chan string) {
	say := func(m p2p.Envelope) {
		m.ChannelID = pex.PexChannel
		send(peer, m)
	}
	if o.unsolicited {
		say(p2p.Envelope{Message: &tmp2p.PexAddrs{}})
	}
	for n := range o.count {
		say(p2p.Envelope{Message: &tmp2p.PexRequest{}})
		select {
		case addrs := <-r.answers:
			all := []string{}
			for _, a := range addrs {
				all = append(all, p2p.NewNetAddressIPPort(parseIP(a.IP), uint16(a.Port)).DialString())
				all[len(all)-1] = a.ID + "@" + all[len(all)-1]
			}
			emit("pex", "seq", n, "addresses", all)
		case reason := <-dropped:
			emit("closed", "by", "peer", "after", n, "reason", reason)
			return
		case <-time.After(10 * time.Second):
			failed("no answer")
		}
	}
	select {
	case reason := <-dropped:
		emit("closed", "by", "peer", "after", o.count, "reason", reason)
	case <-time.After(time.Duration(o.seconds * float64(time.Second))):
		emit("closed", "by", "us", "after", o.count, "asked_us", len(r.asked) > 0)
	}
}
