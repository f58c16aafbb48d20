package main

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hyperledger/fabric/common/flogging"
	"github.com/hyperledger/fabric/common/metrics/disabled"
	corecomm "github.com/hyperledger/fabric/core/comm"
	"github.com/hyperledger/fabric/gossip/api"
	"github.com/hyperledger/fabric/gossip/comm"
	"github.com/hyperledger/fabric/gossip/common"
	"github.com/hyperledger/fabric/gossip/identity"
	"github.com/hyperledger/fabric/gossip/metrics"
	pb "github.com/hyperledger/fabric/protos/gossip"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// sendBuffer is core.yaml's value; the code's own default of 20 drops messages sooner.
const sendBuffer = 200

// node is Fabric's comm layer with a gRPC server of its own around it.
type node struct {
	*peerFolder
	comm          comm.Comm
	server        *grpc.Server
	tls12         bool
	dialing       sync.Mutex // held by connect
	authenticated chan *watched
	unreachable   chan struct{}                            // comm gave up on a peer whose PKI-ID it was not told
	tap           func(m *pb.Envelope, sent, inbound bool) // record listens in here

	mu     sync.Mutex
	faults string // what our last attempt to connect really died of: gRPC and comm name a deadline
}

func logTo(spec string) {
	flogging.Init(flogging.Config{Writer: os.Stderr, LogSpec: spec, Format: "%{time:15:04:05.000} [%{module}] %{level:.4s} %{message}"})
}

func newNode(o *options) (*node, error) {
	p, err := loadFolder(o)
	if err != nil {
		return nil, err
	}
	n := &node{peerFolder: p, tls12: o.tls12, authenticated: make(chan *watched, 1), unreachable: make(chan struct{}, 1)}
	options := []grpc.ServerOption{
		grpc.Creds(&tellingCreds{n.serverCreds(), n}),
		grpc.MaxSendMsgSize(corecomm.MaxSendMsgSize),
		grpc.MaxRecvMsgSize(corecomm.MaxRecvMsgSize),
		grpc.ConnectionTimeout(corecomm.DefaultConnectionTimeout),
		grpc.StreamInterceptor(n.watchServer),
	}
	n.server = grpc.NewServer(append(options, corecomm.ServerKeepaliveOptions(nil)...)...)

	certs := &common.TLSCertificates{}
	certs.TLSServerCert.Store(&p.server)
	certs.TLSClientCert.Store(&p.client)
	ids := identity.NewIdentityMapper(p.crypto, p.identity, func(common.PKIidType, api.PeerIdentityType) {}, p.crypto)
	n.comm, err = comm.NewCommInstance(n.server, certs, ids, p.identity, n.dialOptions, p.crypto,
		metrics.NewGossipMetrics(&disabled.Provider{}).CommMetrics,
		comm.CommConfig{DialTimeout: comm.DefDialTimeout, ConnTimeout: comm.DefConnTimeout, RecvBuffSize: comm.DefRecvBuffSize, SendBuffSize: sendBuffer})
	if err != nil {
		return nil, err
	}
	go n.drain()
	if o.mspCheck {
		return n, p.tellMSP()
	}
	return n, nil
}

// drain reads what comm writes to without looking whether there is room.
func (n *node) drain() {
	for {
		select {
		case id := <-n.comm.PresumedDead():
			if len(id) == 0 {
				select {
				case n.unreachable <- struct{}{}:
				default: // told already
				}
				continue
			}
			emit("presumed_dead", "id", hex.EncodeToString(id))
		case id := <-n.comm.IdentitySwitch():
			emit("identity_switch", "id", hex.EncodeToString(id))
		}
	}
}

func (n *node) tapped(m any, sent, inbound bool) {
	if envelope, is := m.(*pb.Envelope); is && n.tap != nil {
		n.tap(envelope, sent, inbound)
	}
}

func (n *node) ready(endpoint string) {
	emit("ready", "endpoint", endpoint, "pki_id", hex.EncodeToString(n.pkiID), "msp", n.crypto.self.GetMSPIdentifier())
}

// serverCreds: Fabric v1.4 pins its server to TLS 1.2 by these credentials. With gRPC's own the
// server is as later Fabric releases have it, up to 1.3.
func (n *node) serverCreds() credentials.TransportCredentials {
	config := &tls.Config{
		Certificates:           []tls.Certificate{n.peerFolder.server},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              n.roots,
		CipherSuites:           corecomm.DefaultTLSCipherSuites,
		SessionTicketsDisabled: true,
		MinVersion:             tls.VersionTLS12,
	}
	if n.tls12 {
		return corecomm.NewServerTransportCredentials(corecomm.NewTLSConfig(config), nil)
	}
	return credentials.NewTLS(config)
}

func (n *node) clientCreds() credentials.TransportCredentials {
	config := &tls.Config{Certificates: []tls.Certificate{n.client}, RootCAs: n.roots}
	if n.tls12 {
		config.MaxVersion = tls.VersionTLS12
	}
	return &tellingCreds{credentials.NewTLS(config), n}
}

func (n *node) dialOptions() []grpc.DialOption {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(n.clientCreds()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(corecomm.MaxRecvMsgSize), grpc.MaxCallSendMsgSize(corecomm.MaxSendMsgSize)),
		grpc.WithStreamInterceptor(n.watchClient),
	}
	return append(options, corecomm.ClientKeepaliveOptions(nil)...)
}

func (n *node) fault(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = text
}

// listen starts the server and returns where.
func (n *node) listen(address string) (string, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	go n.server.Serve(l)
	return l.Addr().String(), nil
}

// stop ends the streams properly; a comm layer that hangs is left behind.
func (n *node) stop() {
	done := make(chan struct{})
	go func() {
		n.comm.Stop()
		n.server.Stop()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Second):
	}
}

// accept hands every message but acknowledgements, which comm keeps, to handle, in order.
func (n *node) accept(handle func(m pb.ReceivedMessage)) {
	messages := n.comm.Accept(func(any) bool { return true })
	go func() {
		for m := range messages {
			handle(m)
		}
	}()
}

// tellingCreds says what gRPC keeps to itself: which TLS handshake failed, and why.
type tellingCreds struct {
	credentials.TransportCredentials
	node *node
}

func (c *tellingCreds) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		emit("refused", "reason", "TLS: "+err.Error(), "address", raw.RemoteAddr().String())
	}
	return conn, info, err
}

func (c *tellingCreds) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		c.node.fault("TLS: " + err.Error())
	}
	return conn, info, err
}

func (c *tellingCreds) Clone() credentials.TransportCredentials {
	return &tellingCreds{c.TransportCredentials.Clone(), c.node}
}
