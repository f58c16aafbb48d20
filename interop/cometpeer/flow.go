package main

import (
	"time"

	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/p2p/conn"
	"github.com/cosmos/gogoproto/types"
)

// Channels of the module's consensus reactor: state, data, votes, vote set bits.
var flowChannels = []byte{0x20, 0x21, 0x22, 0x23}

const (
	flowMessages = 50
	flowBytes    = 300
	flowEvery    = 20 * time.Millisecond
)

// flowReactor has a validator's channels and sends votes and block parts that mean nothing, for those who only watch. It
// stops a peer that says anything.
type flowReactor struct {
	p2p.BaseReactor
}

func newFlowReactor() *flowReactor {
	r := &flowReactor{}
	r.BaseReactor = *p2p.NewBaseReactor("flow", r)
	return r
}

func (r *flowReactor) GetChannels() []*conn.ChannelDescriptor {
	descs := make([]*conn.ChannelDescriptor, 0, len(flowChannels))
	for _, id := range flowChannels {
		descs = append(descs, &conn.ChannelDescriptor{ID: id, Priority: 5, SendQueueCapacity: 100,
			RecvMessageCapacity: 1 << 20, MessageType: &types.BytesValue{}})
	}
	return descs
}

func (r *flowReactor) AddPeer(p p2p.Peer) {
	go func() {
		value := &types.BytesValue{Value: make([]byte, flowBytes)}
		for range flowMessages {
			for _, id := range flowChannels[1:3] {
				if !p.Send(p2p.Envelope{ChannelID: id, Message: value}) {
					return
				}
			}
			time.Sleep(flowEvery)
		}
		emit("flowed", "id", string(p.ID()), "messages", 2*flowMessages)
	}()
}

func (r *flowReactor) Receive(e p2p.Envelope) {
	r.Switch.StopPeerForError(e.Src, "a watcher that speaks")
}
