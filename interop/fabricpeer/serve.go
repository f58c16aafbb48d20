package main

import (
	"encoding/hex"
	"sync"
	"time"

	pb "github.com/hyperledger/fabric/protos/gossip"
)

// Limits of keeping up a connection asked for by --dial.
const (
	redialAttempts = 3600
	redialPause    = time.Second
)

func serve(o *options) {
	n, err := newNode(o)
	if err != nil {
		failed(err.Error())
	}
	endpoint, err := n.listen(o.listen)
	if err != nil {
		failed(err.Error())
	}
	atExit(n.stop)
	n.accept((&bench{counts: map[string]*benchCount{}}).handle)
	n.ready(endpoint)
	for _, url := range o.dials {
		go n.keepUp(url)
	}
	<-stdinClosed()
	leave()
}

// bench is the far side of the measuring jobs.
type bench struct {
	mu     sync.Mutex
	counts map[string]*benchCount // by PKI-ID
}

func (b *bench) handle(m pb.ReceivedMessage) {
	msg := m.GetGossipMessage()
	data := msg.GetDataMsg()
	switch {
	case data == nil || data.Payload == nil:
		return
	case string(msg.Channel) == "echo":
		// The very message: so the same bytes go back.
		m.Respond(msg.GossipMessage)
		return
	}
	id := string(m.GetConnectionInfo().ID)
	b.mu.Lock()
	defer b.mu.Unlock()
	count := b.counts[id]
	if count == nil {
		count = &benchCount{}
		b.counts[id] = count
	}
	count.add(len(data.Payload.Data))
	if msg.Nonce == 0 {
		return
	}
	m.Ack(nil)
	r := count.take()
	delete(b.counts, id)
	emit("counted", "id", hex.EncodeToString([]byte(id)), "channel", string(msg.Channel), "bytes", r.bytes, "msgs", r.msgs, "ns", r.ns)
}

// keepUp dials until it stands, and again when it has fallen.
func (n *node) keepUp(url string) {
	for range redialAttempts {
		if w, err := n.connect(endpointOf(url), nil); err != nil {
			emit("dial_failed", "url", url, "reason", err.Error())
		} else {
			<-w.gone
			// comm still has the dead connection in its store and would use it.
			n.comm.CloseConn(remote(endpointOf(url), w.id))
		}
		time.Sleep(redialPause)
	}
}
