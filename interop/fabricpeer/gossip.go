package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/hyperledger/fabric/common/metrics/disabled"
	corecomm "github.com/hyperledger/fabric/core/comm"
	"github.com/hyperledger/fabric/gossip/api"
	"github.com/hyperledger/fabric/gossip/common"
	"github.com/hyperledger/fabric/gossip/discovery"
	"github.com/hyperledger/fabric/gossip/election"
	"github.com/hyperledger/fabric/gossip/gossip"
	"github.com/hyperledger/fabric/gossip/gossip/algo"
	"github.com/hyperledger/fabric/gossip/metrics"
	"github.com/hyperledger/fabric/gossip/state"
	pb "github.com/hyperledger/fabric/protos/gossip"
	"google.golang.org/grpc"
)

// How often the folder of blocks and the membership are looked at: gossip tells of neither.
const lookEvery = 100 * time.Millisecond

// member is Fabric's whole gossip of one peer. Without state transfer it has no ledger: it keeps the numbers of blocks.
type member struct {
	node    *node
	gossip  gossip.Gossip
	channel common.ChainID
	// With state transfer.
	provider state.GossipStateProvider
	ledger   *memoryLedger
	private  *private

	mu     sync.Mutex
	blocks map[uint64]bool
	height uint64 // the number of the first block from 1 that did not come
	leads  bool

	tells func(kind string, kv ...any) // emit, but where many members are in one process
}

// joined is a channel's configuration: all known organisations, no anchors.
type joined struct{ orgs []api.OrgIdentityType }

func (j *joined) SequenceNumber() uint64                             { return 1 }
func (j *joined) Members() []api.OrgIdentityType                     { return j.orgs }
func (j *joined) AnchorPeersOf(api.OrgIdentityType) []api.AnchorPeer { return nil }
func (j *joined) IsAnchorPeer(string) bool                           { return false }

func gossipConfig(endpoint string, o *options, certs *common.TLSCertificates) *gossip.Config {
	external := o.external
	if external == "same" {
		external = endpoint
	}
	return &gossip.Config{
		ID: endpoint, InternalEndpoint: endpoint, ExternalEndpoint: external, BootstrapPeers: o.bootstrap, TLSCerts: certs,
		// The defaults of Fabric's core.yaml.
		MaxBlockCountToStore: 100, MaxPropagationBurstLatency: 10 * time.Millisecond, MaxPropagationBurstSize: 10,
		PropagateIterations: 1, PropagatePeerNum: 3, PullInterval: 4 * time.Second, PullPeerNum: 3,
		PublishCertPeriod: 10 * time.Second, RequestStateInfoInterval: 4 * time.Second, PublishStateInfoInterval: 4 * time.Second,
		TimeForMembershipTracker: 5 * time.Second,
		DigestWaitTime:           algo.DefDigestWaitTime, RequestWaitTime: algo.DefRequestWaitTime, ResponseWaitTime: algo.DefResponseWaitTime,
		DialTimeout: 3 * time.Second, ConnTimeout: 2 * time.Second, RecvBuffSize: 20, SendBuffSize: sendBuffer,
		MsgExpirationTimeout: 10 * election.DefLeaderAliveThreshold,
		AliveTimeInterval:    5 * time.Second, AliveExpirationTimeout: 25 * time.Second, AliveExpirationCheckInterval: 2500 * time.Millisecond,
		ReconnectInterval: 25 * time.Second, MsgExpirationFactor: 20, MaxConnectionAttempts: 120,
	}
}

// newMember starts Fabric's gossip behind a gRPC server of its own, and joins the channel.
func newMember(o *options) (*member, string, *metrics.GossipMetrics) {
	p, err := loadFolder(o)
	if err != nil {
		failed(err.Error())
	}
	n := &node{peerFolder: p, tls12: o.tls12, authenticated: make(chan *watched, 1), unreachable: make(chan struct{}, 1)}
	creds := []grpc.ServerOption{
		grpc.Creds(&tellingCreds{n.serverCreds(), n}),
		grpc.MaxSendMsgSize(corecomm.MaxSendMsgSize),
		grpc.MaxRecvMsgSize(corecomm.MaxRecvMsgSize),
		grpc.ConnectionTimeout(corecomm.DefaultConnectionTimeout),
		grpc.StreamInterceptor(n.watchServer),
	}
	n.server = grpc.NewServer(append(creds, corecomm.ServerKeepaliveOptions(nil)...)...)
	// Listens before gossip begins, which must know its own endpoint.
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		failed(err.Error())
	}
	endpoint := listener.Addr().String()
	certs := &common.TLSCertificates{}
	certs.TLSServerCert.Store(&p.server)
	certs.TLSClientCert.Store(&p.client)
	measures := metrics.NewGossipMetrics(&disabled.Provider{})
	config := &joined{}
	for org := range p.crypto.orgs {
		config.orgs = append(config.orgs, api.OrgIdentityType(org))
	}
	m := &member{node: n, channel: common.ChainID(o.channel), blocks: map[uint64]bool{}, height: 1, leads: !o.election, tells: emit}
	m.gossip = gossip.NewGossipService(gossipConfig(endpoint, o, certs), n.server, p.crypto, p.crypto, p.identity, n.dialOptions, measures, config)
	if m.gossip == nil {
		failed("Fabric's gossip did not start")
	}
	go n.server.Serve(listener)
	m.gossip.JoinChan(config, m.channel)
	return m, endpoint, measures
}

// receive keeps the numbers of blocks that come by gossip.
func (m *member) receive() {
	received, _ := m.gossip.Accept(func(message any) bool { return message.(*pb.GossipMessage).IsDataMsg() }, false)
	go func() {
		for message := range received {
			if payload := message.GetDataMsg().Payload; payload != nil {
				m.store(payload.SeqNum, payload.Data)
			}
		}
	}()
	m.gossip.UpdateLedgerHeight(1, m.channel)
}

func runGossip(o *options) {
	m, endpoint, measures := newMember(o)
	atExit(func() { m.stop() })
	m.node.ready(endpoint)
	if o.state {
		startState(m, o, measures)
	} else {
		m.receive()
	}
	if o.election {
		adapter := election.NewAdapter(m.gossip, m.node.pkiID, m.channel, measures.ElectionMetrics)
		election.NewLeaderElectionService(adapter, string(m.node.pkiID), m.led, election.ElectionConfig{
			StartupGracePeriod: o.grace, MembershipSampleInterval: time.Second,
			LeaderAliveThreshold: election.DefLeaderAliveThreshold, LeaderElectionDuration: election.DefLeaderElectionDuration,
		})
	}
	go m.watchMembers()
	if o.blocksFrom != "" {
		go m.readBlocks(o.blocksFrom)
	}
	<-stdinClosed()
	leave()
}

func (m *member) stop() {
	done := make(chan struct{})
	go func() {
		if m.provider != nil {
			m.provider.Stop() // before gossip, whose closed channels it would read from
		}
		m.gossip.Stop()
		m.node.server.Stop()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Second): // gossip may hang; the process ends all the same
	}
}

func (m *member) led(us bool) {
	m.mu.Lock()
	m.leads = us
	m.mu.Unlock()
	id := any(nil)
	if us {
		id = hex.EncodeToString(m.node.pkiID)
	}
	emit("leader", "channel", string(m.channel), "pki_id", id, "us", us)
}

// store tells of a block once, and publishes the height up to which all have come.
func (m *member) store(number uint64, data []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.blocks[number] {
		return false
	}
	m.blocks[number] = true
	sum := sha256.Sum256(data)
	m.tells("block", "channel", string(m.channel), "number", number, "sha256", hex.EncodeToString(sum[:]))
	for m.blocks[m.height] {
		m.height++
	}
	m.gossip.UpdateLedgerHeight(m.height, m.channel)
	return true
}

// readBlocks gossips 1.block, 2.block … as they appear.
func (m *member) readBlocks(dir string) {
	next := uint64(1)
	for m.provider != nil {
		// Read on before it is stored; state transfer waits where it is full.
		height, _ := m.ledger.LedgerHeight()
		next = max(next, height)
		m.mu.Lock()
		leads := m.leads
		m.mu.Unlock()
		data, err := os.ReadFile(filepath.Join(dir, strconv.FormatUint(next, 10)+".block"))
		if err != nil || !leads {
			time.Sleep(lookEvery)
			continue
		}
		payload := &pb.Payload{SeqNum: next, Data: data}
		if err := m.provider.AddPayload(payload); err != nil {
			failed(err.Error())
		}
		m.tell(payload)
		next++
	}
	for {
		m.mu.Lock()
		number, leads := m.height, m.leads
		m.mu.Unlock()
		data, err := os.ReadFile(filepath.Join(dir, strconv.FormatUint(number, 10)+".block"))
		if err != nil || !leads {
			time.Sleep(lookEvery)
			continue
		}
		if m.store(number, data) {
			m.tell(&pb.Payload{SeqNum: number, Data: data})
		}
	}
}

// tell gossips a block.
func (m *member) tell(payload *pb.Payload) {
	m.gossip.Gossip(&pb.GossipMessage{
		Tag: pb.GossipMessage_CHAN_AND_ORG, Channel: m.channel,
		Content: &pb.GossipMessage_DataMsg{DataMsg: &pb.DataMessage{Payload: payload}},
	})
}

// watchMembers tells who came and went, and the heights of the channel.
func (m *member) watchMembers() {
	alive := map[string]discovery.NetworkMember{}
	heights := map[string]string{}
	for {
		now := map[string]discovery.NetworkMember{}
		for _, peer := range m.gossip.Peers() {
			now[string(peer.PKIid)] = peer
			if _, known := alive[string(peer.PKIid)]; !known {
				emit("member_alive", "pki_id", hex.EncodeToString(peer.PKIid), "endpoint", peer.PreferredEndpoint(), "external", peer.Endpoint)
			}
		}
		for id, peer := range alive {
			if _, still := now[id]; !still {
				emit("member_dead", "pki_id", hex.EncodeToString(peer.PKIid), "endpoint", peer.PreferredEndpoint())
			}
		}
		alive = now
		for _, peer := range m.gossip.PeersOfChannel(m.channel) {
			height := fmt.Sprint(peer.Properties.GetLedgerHeight())
			if heights[string(peer.PKIid)] != height {
				heights[string(peer.PKIid)] = height
				emit("state_info", "pki_id", hex.EncodeToString(peer.PKIid), "height", peer.Properties.GetLedgerHeight())
			}
		}
		time.Sleep(lookEvery)
	}
}
