package main

import (
	"bytes"
	"fmt"
	"io"

	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/rlp"
)

const (
	benchEcho   = 0
	benchEchoed = 1
	benchData   = 2
	benchReply  = 3 // request and report
)

func benchProtocol(run func(*p2p.Peer, p2p.MsgReadWriter) error) p2p.Protocol {
	return p2p.Protocol{Name: "bench", Version: 1, Length: 4, Run: run}
}

type reportRLP struct{ Bytes, Msgs, Nanos uint64 }

// serveBench answers. A request's payload reader goes straight into the reply: the package has
// already read the whole message, and another buffer would only measure us.
func serveBench(_ *p2p.Peer, rw p2p.MsgReadWriter) error {
	var count benchCount
	for {
		msg, err := rw.ReadMsg()
		if err != nil {
			return err
		}
		switch msg.Code {
		case benchEcho:
			err = rw.WriteMsg(p2p.Msg{Code: benchEchoed, Size: msg.Size, Payload: msg.Payload})
		case benchData:
			count.add(int(msg.Size))
			err = msg.Discard()
		case benchReply:
			if err = msg.Discard(); err == nil {
				r := count.take()
				err = p2p.Send(rw, benchReply, reportRLP{r.bytes, r.msgs, r.ns})
			}
		default:
			err = fmt.Errorf("bench code %d was not asked for", msg.Code)
		}
		if err != nil {
			return err
		}
	}
}

// driveBench runs a measuring job as the initiator, and returns what it made of it.
func driveBench(o *options, rw p2p.MsgReadWriter) error {
	var (
		report  = make(chan benchReport, 1)
		lost    = make(chan error, 1)
		handler = make(chan func([]byte), 1)
		raw     = func(code uint64) func([]byte) error {
			return func(b []byte) error {
				return rw.WriteMsg(p2p.Msg{Code: code, Size: uint32(len(b)), Payload: bytes.NewReader(b)})
			}
		}
	)
	handler <- nil
	go func() { lost <- readBench(rw, report, handler) }()
	return runBench(o, &benchWire{
		echo:    raw(benchEcho),
		data:    raw(benchData),
		start:   func() error { return nil },
		request: func() error { return raw(benchReply)(nil) },
		report:  report,
		lost:    lost,
		onEcho:  func(h func([]byte)) { <-handler; handler <- h },
	})
}

func readBench(rw p2p.MsgReadWriter, report chan<- benchReport, handler chan func([]byte)) error {
	var buf []byte
	for {
		msg, err := rw.ReadMsg()
		if err != nil {
			return err
		}
		switch msg.Code {
		case benchEchoed:
			if cap(buf) < int(msg.Size) {
				buf = make([]byte, msg.Size)
			}
			buf = buf[:msg.Size]
			if _, err := io.ReadFull(msg.Payload, buf); err != nil {
				return err
			}
			h := <-handler
			handler <- h
			if h != nil {
				h(buf)
			}
		case benchReply:
			var r reportRLP
			if err := rlp.Decode(msg.Payload, &r); err != nil {
				return err
			}
			report <- benchReport{r.Bytes, r.Msgs, r.Nanos}
		default:
			return fmt.Errorf("bench code %d was not asked for", msg.Code)
		}
	}
}
