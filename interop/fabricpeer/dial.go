package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hyperledger/fabric/gossip/comm"
	"github.com/hyperledger/fabric/gossip/common"
	pb "github.com/hyperledger/fabric/protos/gossip"
	"google.golang.org/grpc"
)

const (
	connectPatience = 12 * time.Second // comm's own bounds (3 s dial, 2 s ping, 2 s ConnEstablish) and to spare
	ackPatience     = time.Minute
)

func dial(o *options) {
	limit := o.timeout
	if o.do == "idle" {
		limit += time.Duration(o.seconds * float64(time.Second))
	}
	time.AfterFunc(limit, func() { failed("not done within " + limit.String()) })
	expect, err := hex.DecodeString(o.expectID)
	if err != nil {
		usage("--expect-id is not hex")
	}
	n, err := newNode(o)
	if err != nil {
		failed(err.Error())
	}
	atExit(n.stop)
	n.ready("")
	endpoint := endpointOf(o.url)
	switch o.do {
	case "connect":
		err = n.handshake(endpoint, expect, true)
	case "handshakes":
		err = runHandshakes(o.count, o.parallel, func(int) error { return n.handshake(endpoint, expect, false) })
	case "ping":
		err = n.pings(endpoint, o.count)
	case "idle":
		err = n.idle(endpoint, expect, o.seconds)
	case "echo", "bulk":
		err = n.measure(o, endpoint, expect)
	default:
		usage("--do %q: not a job", o.do)
	}
	if err != nil {
		failed(n.explain(err))
	}
	leave()
}

func endpointOf(url string) string { return strings.TrimPrefix(url, "fabric://") }

func remote(endpoint string, id common.PKIidType) *comm.RemotePeer {
	return &comm.RemotePeer{Endpoint: endpoint, PKIID: id}
}

// explain adds what was heard on the way to a failure.
func (n *node) explain(err error) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.faults != "" {
		return err.Error() + "; " + n.faults
	}
	return err.Error()
}

// handshake is comm's own: connect, ping, ConnEstablish both ways, close.
func (n *node) handshake(endpoint string, expect common.PKIidType, tell bool) error {
	id, err := n.comm.Handshake(remote(endpoint, expect))
	if err != nil {
		return err
	}
	if tell {
		mspID, name := describe(id)
		emit("connected", "id", n.crypto.GetPKIidOfCert(id).String(), "name", name, "msp", mspID, "pki_id", n.crypto.GetPKIidOfCert(id).String())
		emit("closed", "by", "us")
	}
	return nil
}

// pings measures gRPC's unary Ping, which every connection begins with.
func (n *node) pings(endpoint string, count int) error {
	ctx, cancel := context.WithTimeout(context.Background(), comm.DefDialTimeout)
	defer cancel()
	cc, err := grpc.DialContext(ctx, endpoint, append(n.dialOptions(), grpc.WithBlock())...)
	if err != nil {
		return err
	}
	defer cc.Close()
	client := pb.NewGossipClient(cc)
	rtts := make([]float64, 0, count)
	for range count {
		ctx, cancel := context.WithTimeout(context.Background(), comm.DefConnTimeout)
		begin := time.Now()
		_, err := client.Ping(ctx, &pb.Empty{})
		cancel()
		if err != nil {
			return err
		}
		rtts = append(rtts, float64(time.Since(begin).Nanoseconds())/1e3)
	}
	emit("ping", "rtt_us", rtts)
	return nil
}

// connect has comm set up a connection that stays. comm connects only to send something, so it
// is given an empty message on channel `echo`. It is not told the PKI-ID: a Handshake could find it
// out, but leaves a stream behind whose end may close the next one of the same PKI-ID.
func (n *node) connect(endpoint string, expect common.PKIidType) (*watched, error) {
	probe, err := dataMessage("echo", 0, nil).NoopSign()
	if err != nil {
		return nil, err
	}
	n.dialing.Lock()
	defer n.dialing.Unlock()
	n.comm.Send(probe, remote(endpoint, nil))
	select {
	case w := <-n.authenticated:
		if len(expect) > 0 && !bytes.Equal(expect, w.id) {
			return nil, fmt.Errorf("PKI-ID is %s, expected %s", w.id, expect)
		}
		return w, nil
	case <-n.unreachable:
	case <-time.After(connectPatience):
	}
	// Send tells no reason; a handshake, which fails the same way, does.
	if err := n.handshake(endpoint, nil, false); err != nil {
		return nil, err
	}
	return nil, errors.New("the peer ended the stream upon our ConnEstablish") // for its verdict no handshake waits
}

func (n *node) idle(endpoint string, expect common.PKIidType, seconds float64) error {
	w, err := n.connect(endpoint, expect)
	if err != nil {
		return err
	}
	emit("connected", "id", w.id.String(), "name", w.cn, "msp", w.msp)
	reason := "time is up"
	select {
	case <-w.gone:
		reason = w.reason
	case <-time.After(time.Duration(seconds * float64(time.Second))):
	}
	emit("closed", "reason", reason)
	return nil
}

func dataMessage(channel string, seq uint64, data []byte) *pb.GossipMessage {
	return &pb.GossipMessage{
		Channel: []byte(channel),
		Tag:     pb.GossipMessage_CHAN_AND_ORG,
		Content: &pb.GossipMessage_DataMsg{DataMsg: &pb.DataMessage{Payload: &pb.Payload{SeqNum: seq, Data: data}}},
	}
}

// session is a connection with a way to send in order and without loss. comm's Send does neither: it
// starts a goroutine for each message and drops it when the queue of 200 is full. Respond, which any
// received message has, waits for room in the same queue; so the echo of the first message is kept.
type session struct {
	node     *node
	endpoint string
	id       common.PKIidType
	respond  func(*pb.GossipMessage)
	lost     chan error
	seq      uint64
	answered uint64
	handler  atomic.Pointer[func([]byte)]
}

func (n *node) open(endpoint string, expect common.PKIidType) (*session, error) {
	s := &session{node: n, endpoint: endpoint, lost: make(chan error, 1)}
	first := make(chan pb.ReceivedMessage, 1)
	begun := false // known to the accepting goroutine alone
	n.accept(func(m pb.ReceivedMessage) {
		data := m.GetGossipMessage().GetDataMsg()
		if data == nil || data.Payload == nil || string(m.GetGossipMessage().Channel) != "echo" {
			return
		}
		if !begun {
			begun = true
			first <- m
			return
		}
		s.echoed(data.Payload)
	})
	w, err := n.connect(endpoint, expect)
	if err != nil {
		return nil, err
	}
	s.id = w.id
	select {
	case m := <-first:
		s.respond = m.Respond
	case <-w.gone:
		return nil, lostError(errors.New(w.reason))
	case <-time.After(connectPatience):
		return nil, errors.New("the peer does not echo")
	}
	go func() {
		<-w.gone
		s.lost <- errors.New(w.reason)
	}()
	return s, nil
}

// echoed takes a reply; seq_num must come back in order, without one missing.
func (s *session) echoed(p *pb.Payload) {
	s.answered++
	if p.SeqNum != s.answered {
		select {
		case s.lost <- fmt.Errorf("reply has seq_num %d, expected %d", p.SeqNum, s.answered):
		default:
		}
		return
	}
	if handler := s.handler.Load(); handler != nil {
		(*handler)(p.Data)
	}
}

func (s *session) wire() *benchWire {
	return &benchWire{
		echo: func(payload []byte) error {
			s.seq++
			s.respond(dataMessage("echo", s.seq, payload))
			return nil
		},
		lost: s.lost,
		onEcho: func(handler func([]byte)) {
			if handler == nil {
				s.handler.Store(nil)
				return
			}
			s.handler.Store(&handler)
		},
	}
}

func (n *node) measure(o *options, endpoint string, expect common.PKIidType) error {
	s, err := n.open(endpoint, expect)
	if err != nil {
		return err
	}
	if o.do == "bulk" {
		return s.bulk(o.bytes, o.size, o.payload)
	}
	return runBench(o, s.wire())
}

// bulk sends total bytes one way. The last message alone asks to be acknowledged, and as the far
// side takes messages in order, the acknowledgement says that it has all of them.
func (s *session) bulk(total int64, size int, kind string) error {
	if size == 0 {
		return errors.New("bulk needs a --size above 0")
	}
	buf := payload(size, kind)
	begin := time.Now()
	done := make(chan error, 1)
	var sent, msgs int64
	go func() {
		for {
			n := min(int64(size), total-sent)
			m := dataMessage("bulk", uint64(msgs), buf[:n])
			sent += n
			msgs++
			if sent >= total {
				done <- s.sendWithAck(m)
				return
			}
			s.respond(m)
		}
	}()
	select {
	case err := <-done:
		if err != nil {
			return err
		}
	case err := <-s.lost:
		return lostError(err)
	}
	took := time.Since(begin).Seconds()
	emit("bulk", "sent_bytes", sent, "sent_msgs", msgs, "acked", true, "seconds", took, "mb_per_s", float64(sent)/1e6/took)
	return nil
}

func (s *session) sendWithAck(m *pb.GossipMessage) error {
	signed, err := m.NoopSign()
	if err != nil {
		return err
	}
	result := s.node.comm.SendWithAck(signed, ackPatience, 1, remote(s.endpoint, s.id))
	if result.AckCount() != 1 {
		return fmt.Errorf("not acknowledged: %s", result)
	}
	return nil
}
