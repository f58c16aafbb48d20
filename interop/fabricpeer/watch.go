package main

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"sync"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric/gossip/common"
	pb "github.com/hyperledger/fabric/protos/gossip"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Fabric's comm layer tells nobody that a peer came, and that one went only when a send to it
// fails. What it does with a gossip stream shows it all the same: it reads ConnEstablish, and reads
// on if and only if it has authenticated the peer; and a server's stream ends with the reason. So
// gRPC interceptors watch both kinds of stream and leave every byte alone.

// watched is one gossip stream.
type watched struct {
	node    *node
	inbound bool
	from    string
	tls     string // version and ALPN protocol

	mu      sync.Mutex
	reads   int
	id      common.PKIidType
	msp     string
	cn      string
	added   bool
	dropped bool
	gone    chan struct{} // closed when the stream has ended
	reason  string        // why, set before gone is closed
}

func (n *node) watch(inbound bool, from string) *watched {
	return &watched{node: n, inbound: inbound, from: from, gone: make(chan struct{})}
}

func (w *watched) beforeRead() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads++
	if w.reads == 2 {
		w.add()
	}
}

// add tells of an authenticated peer; the caller holds the lock.
func (w *watched) add() {
	w.added = true
	emit("peer_added", "id", hex.EncodeToString(w.id), "name", w.cn, "inbound", w.inbound, "msp", w.msp, "address", w.from, "tls", w.tls)
	if w.inbound {
		return
	}
	select {
	case w.node.authenticated <- w:
	default: // nobody waits
	}
}

func (w *watched) afterRead(ctx context.Context, m any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	envelope, is := m.(*pb.Envelope)
	if w.reads != 1 || !is {
		return
	}
	msg := &pb.GossipMessage{}
	if proto.Unmarshal(envelope.Payload, msg) == nil && msg.GetConn() != nil {
		w.id = common.PKIidType(msg.GetConn().PkiId)
		w.msp, w.cn = describe(msg.GetConn().Identity)
	}
	if p, found := peer.FromContext(ctx); found {
		if info, is := p.AuthInfo.(credentials.TLSInfo); is {
			w.tls = tls.VersionName(info.State.Version) + " " + info.State.NegotiatedProtocol
		}
	}
}

// end tells how the stream ended, once.
func (w *watched) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dropped {
		return
	}
	w.dropped = true
	// A server that ends a stream of its own will has no error. That happens to authenticated peers
	// only, perhaps before the first read: when a newer stream of the same PKI-ID takes the place.
	w.reason = "ended by this side"
	if err != nil {
		w.reason = err.Error()
	} else if !w.added {
		w.add()
	}
	close(w.gone)
	switch {
	case w.added:
		emit("peer_dropped", "id", hex.EncodeToString(w.id), "reason", w.reason, "inbound", w.inbound)
	case w.inbound:
		emit("refused", "reason", w.reason, "address", w.from)
	default:
		w.node.fault("stream: " + w.reason)
	}
}

type watchedServer struct {
	grpc.ServerStream
	w *watched
}

func (s *watchedServer) SendMsg(m any) error {
	s.w.node.tapped(m, true, s.w.inbound)
	return s.ServerStream.SendMsg(m)
}

func (s *watchedServer) RecvMsg(m any) error {
	s.w.beforeRead()
	err := s.ServerStream.RecvMsg(m)
	if err == nil {
		s.w.node.tapped(m, false, s.w.inbound)
		s.w.afterRead(s.Context(), m)
	}
	return err
}

func (n *node) watchServer(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	from := ""
	if p, found := peer.FromContext(stream.Context()); found {
		from = p.Addr.String()
	}
	w := n.watch(true, from)
	err := handler(srv, &watchedServer{stream, w})
	w.end(err)
	return err
}

type watchedClient struct {
	grpc.ClientStream
	w *watched
}

func (s *watchedClient) SendMsg(m any) error {
	s.w.node.tapped(m, true, s.w.inbound)
	return s.ClientStream.SendMsg(m)
}

func (s *watchedClient) RecvMsg(m any) error {
	s.w.beforeRead()
	err := s.ClientStream.RecvMsg(m)
	if err != nil {
		s.w.end(err)
		return err
	}
	s.w.node.tapped(m, false, s.w.inbound)
	s.w.afterRead(s.Context(), m)
	return nil
}

func (n *node) watchClient(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := streamer(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, err
	}
	return &watchedClient{stream, n.watch(false, cc.Target())}, nil
}
