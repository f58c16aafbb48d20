package main

import (
	"encoding/hex"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/tendermint/tendermint/libs/log"
	"github.com/tendermint/tendermint/p2p"
)

// eventReactor has no channel: it only hears of peers that come and go.
type eventReactor struct {
	p2p.BaseReactor
	print   bool
	dropped chan string
}

func newEventReactor() *eventReactor {
	r := &eventReactor{dropped: make(chan string, 64)}
	r.BaseReactor = *p2p.NewBaseReactor("events", r)
	return r
}

func peerFields(p p2p.Peer) []any {
	kv := []any{"id", string(p.ID())}
	if info, ok := p.NodeInfo().(p2p.DefaultNodeInfo); ok {
		kv = append(kv, "name", info.Moniker, "inbound", !p.IsOutbound(),
			"channels", strings.ToLower(hex.EncodeToString(info.Channels)), "network", info.Network,
			"version", info.Version)
	}
	return kv
}

func (r *eventReactor) AddPeer(p p2p.Peer) {
	if r.print {
		emit("peer_added", peerFields(p)...)
	}
}

// InitPeer gives each peer a mark of its own, see RemovePeer.
func (r *eventReactor) InitPeer(p p2p.Peer) p2p.Peer {
	p.Set("events", new(atomic.Bool))
	return p
}

// RemovePeer is called a second time when a peer we stop also notices that its connection is
// closed; the first call has the reason. It gets a nil reason when our own side stopped the peer in an orderly way.
func (r *eventReactor) RemovePeer(p p2p.Peer, reason any) {
	if gone, ok := p.Get("events").(*atomic.Bool); ok && gone.Swap(true) {
		return
	}
	text := "stopped by us"
	if reason != nil {
		text = fmt.Sprint(reason)
	}
	if r.print {
		emit("peer_dropped", "id", string(p.ID()), "reason", text)
	}
	select {
	case r.dropped <- text:
	default: // nobody counts them
	}
}

// refusalsHeard is set by serve; a dialling job learns of its own failure from the dial.
var refusalsHeard atomic.Bool

// refusalHook is a logger that keeps quiet about all but refused inbound connections, of which
// the switch tells nobody else.
type refusalHook struct{}

var _ log.Logger = refusalHook{}

func (h refusalHook) With(...any) log.Logger     { return h }
func (h refusalHook) Debug(string, ...any)       {}
func (h refusalHook) Info(msg string, kv ...any) { h.hear(msg, kv) }
func (h refusalHook) Warn(msg string, kv ...any) { h.hear(msg, kv) } // asked for from 0.40 on
func (h refusalHook) Error(msg string, kv ...any) {
	h.hear(msg, kv)
}

func (refusalHook) hear(msg string, kv []any) {
	inbound := msg == "Inbound Peer rejected" || msg == "Peer filter timed out" ||
		strings.HasPrefix(msg, "Ignoring inbound connection")
	if !inbound || !refusalsHeard.Load() {
		return
	}
	reason, stage := msg, msg
	for i := 0; i+1 < len(kv); i += 2 {
		if kv[i] == "err" {
			reason = fmt.Sprint(kv[i+1])
		}
	}
	emit("refused", "reason", reason, "stage", stage)
}
