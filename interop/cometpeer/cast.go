package main

import (
	"errors"
	"sync"

	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/p2p/conn"
	"github.com/cosmos/gogoproto/types"
)

const castFirst = 0x74 // announce; request and chunk follow

var castChannels = []byte{castFirst + castAnnounce, castFirst + castRequest, castFirst + castChunk}

// castReactor carries docs/cast.md: a channel each, and every message inside a BytesValue.
type castReactor struct {
	p2p.BaseReactor
	n  *castNode
	sw *p2p.Switch
}

// castLink ties a peer of the switch to one of the cast. It joins once, at the first message or
// when the switch adds the peer, whichever comes first, and never again after it has left.
type castLink struct {
	mu           sync.Mutex
	peer         *castPeer
	joined, left bool
}

func newCastReactor(n *castNode, sw *p2p.Switch) *castReactor {
	r := &castReactor{n: n, sw: sw}
	r.BaseReactor = *p2p.NewBaseReactor("cast", r)
	return r
}

func (r *castReactor) GetChannels() []*conn.ChannelDescriptor {
	descs := make([]*conn.ChannelDescriptor, 0, len(castChannels))
	for i, id := range castChannels {
		priority, queue := 5, 100
		if i == castChunk {
			// Few, as each may be a MiB: what is queued here can no longer be overtaken.
			priority, queue = 1, 4
		}
		descs = append(descs, &conn.ChannelDescriptor{ID: id, Priority: priority, SendQueueCapacity: queue,
			// A BytesValue adds a tag and up to four bytes of length.
			RecvMessageCapacity: castLimit[i] + 5, MessageType: &types.BytesValue{}})
	}
	return descs
}

func (r *castReactor) InitPeer(p p2p.Peer) p2p.Peer {
	link := &castLink{}
	link.peer = newCastPeer(r.n, func(channel int, b []byte) error {
		e := p2p.Envelope{ChannelID: castFirst + byte(channel), Message: &types.BytesValue{Value: b}}
		// Send gives up after ten seconds of a full queue; a slow peer is no reason to end.
		for !p.Send(e) {
			if !p.IsRunning() {
				return errors.New("peer stopped")
			}
		}
		return nil
	})
	p.Set("cast", link)
	return p
}

// join makes the peer one of the cast.
func (r *castReactor) join(p p2p.Peer) *castPeer {
	link := p.Get("cast").(*castLink)
	link.mu.Lock()
	defer link.mu.Unlock()
	if link.left {
		return nil
	}
	if !link.joined {
		link.joined = true
		r.n.attach(link.peer)
		go link.peer.write()
	}
	return link.peer
}

func (r *castReactor) AddPeer(p p2p.Peer) {
	if info, ok := p.NodeInfo().(p2p.DefaultNodeInfo); ok && info.HasChannel(castFirst) {
		r.join(p)
	}
}

func (r *castReactor) RemovePeer(p p2p.Peer, _ any) {
	link, ok := p.Get("cast").(*castLink)
	if !ok {
		return
	}
	link.mu.Lock()
	defer link.mu.Unlock()
	if link.joined && !link.left {
		close(link.peer.gone)
		r.n.detach(link.peer)
	}
	link.left = true
}

func (r *castReactor) Receive(e p2p.Envelope) {
	cp := r.join(e.Src)
	if cp == nil {
		return
	}
	value := e.Message.(*types.BytesValue).Value
	if err := r.n.handle(cp, int(e.ChannelID-castFirst), value); err != nil {
		emit("cast_breach", "id", string(e.Src.ID()), "reason", err.Error())
		r.sw.StopPeerForError(e.Src, err)
	}
}
