package main

import (
	"encoding/json"
	"errors"
	"sync/atomic"

	"github.com/gogo/protobuf/types"
	"github.com/tendermint/tendermint/p2p"
	"github.com/tendermint/tendermint/p2p/conn"
)

const (
	benchRequest  = 0x70
	benchReply    = 0x71
	benchData     = 0x72
	benchReportCh = 0x73

	recvCapacity = 21 << 20

	dataBytes, dataStart, dataEnd = 0, 1, 2
)

var benchChannels = []byte{benchRequest, benchReply, benchData, benchReportCh}

type reportJSON struct {
	Bytes uint64 `json:"bytes"`
	Msgs  uint64 `json:"msgs"`
	NS    uint64 `json:"ns"`
}

// benchReactor answers, and with a driver set also takes the answers.
type benchReactor struct {
	p2p.BaseReactor
	sw     *p2p.Switch
	driver *benchDriver
}

type benchDriver struct {
	echoed atomic.Pointer[func([]byte)]
	report chan benchReport
}

func newBenchReactor(sw *p2p.Switch) *benchReactor {
	r := &benchReactor{sw: sw}
	r.BaseReactor = *p2p.NewBaseReactor("bench", r)
	return r
}

func (r *benchReactor) GetChannels() []*conn.ChannelDescriptor {
	descs := make([]*conn.ChannelDescriptor, 0, len(benchChannels))
	for _, id := range benchChannels {
		descs = append(descs, &conn.ChannelDescriptor{ID: id, Priority: 1, SendQueueCapacity: 100,
			RecvMessageCapacity: recvCapacity, MessageType: &types.BytesValue{}})
	}
	return descs
}

// InitPeer runs before the first Receive, which AddPeer does not promise.
func (r *benchReactor) InitPeer(p p2p.Peer) p2p.Peer {
	p.Set("bench", &benchCount{})
	return p
}

// Receive runs on the peer's reading goroutine. A request goes back as the message it came as:
// another copy would only measure us.
func (r *benchReactor) ReceiveEnvelope(e p2p.Envelope) {
	value := e.Message.(*types.BytesValue).Value
	switch e.ChannelID {
	case benchRequest:
		echo := e.Message
		if b := stamped(value); b != nil {
			echo = &types.BytesValue{Value: b}
		}
		send(e.Src, p2p.Envelope{ChannelID: benchReply, Message: echo})
	case benchData:
		r.receiveData(e.Src, value)
	case benchReply:
		if r.driver != nil {
			if h := r.driver.echoed.Load(); h != nil {
				(*h)(value)
			}
		}
	case benchReportCh:
		var j reportJSON
		if r.driver != nil && json.Unmarshal(value, &j) == nil {
			r.driver.report <- benchReport{j.Bytes, j.Msgs, j.NS}
		}
	}
}

func (r *benchReactor) receiveData(p p2p.Peer, value []byte) {
	count := p.Get("bench").(*benchCount)
	if len(value) == 0 || value[0] > dataEnd {
		r.sw.StopPeerForError(p, errors.New("bench data message of unknown kind"))
		return
	}
	switch value[0] {
	case dataBytes:
		count.add(len(value))
	case dataStart:
		*count = benchCount{}
	case dataEnd:
		got := count.take()
		raw, _ := json.Marshal(reportJSON{got.bytes, got.msgs, got.ns})
		send(p, p2p.Envelope{ChannelID: benchReportCh, Message: &types.BytesValue{Value: raw}})
	}
}

// wire lends the session with p to the measuring jobs.
func (r *benchReactor) wire(p p2p.Peer, lost <-chan error) *benchWire {
	r.driver = &benchDriver{report: make(chan benchReport, 1)}
	message := func(channel byte, b []byte) error {
		// Send marshals before it queues, so the payload is free again when it returns.
		if !send(p, p2p.Envelope{ChannelID: channel, Message: &types.BytesValue{Value: b}}) {
			return errors.New("message was not queued")
		}
		return nil
	}
	return &benchWire{
		echo: func(b []byte) error { return message(benchRequest, b) },
		data: func(b []byte) error {
			b[0] = dataBytes
			return message(benchData, b)
		},
		start:   func() error { return message(benchData, []byte{dataStart}) },
		request: func() error { return message(benchData, []byte{dataEnd}) },
		report:  r.driver.report,
		lost:    lost,
		onEcho:  func(h func([]byte)) { r.driver.echoed.Store(handlerOf(h)) },
	}
}

func handlerOf(h func([]byte)) *func([]byte) {
	if h == nil {
		return nil
	}
	return &h
}
