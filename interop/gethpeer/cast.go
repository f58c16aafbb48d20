package main

import (
	"bytes"
	"fmt"
	"io"

	"github.com/ethereum/go-ethereum/p2p"
)

// castProtocol carries docs/cast.md over devp2p: the message code is the channel and the payload
// is the message as it stands.
func castProtocol(n *castNode) p2p.Protocol {
	return p2p.Protocol{Name: "cast", Version: 1, Length: 3, Run: func(peer *p2p.Peer, rw p2p.MsgReadWriter) error {
		cp := newCastPeer(n, func(channel int, b []byte) error {
			return rw.WriteMsg(p2p.Msg{Code: uint64(channel), Size: uint32(len(b)), Payload: bytes.NewReader(b)})
		})
		n.attach(cp)
		defer n.detach(cp)
		defer close(cp.gone)
		// A failed write means that the connection is going down, which the reader hears as well.
		go cp.write()
		for {
			msg, err := rw.ReadMsg()
			if err != nil {
				return err
			}
			if err := takeCast(n, cp, msg); err != nil {
				emit("cast_breach", "id", peer.ID().String(), "reason", err.Error())
				return p2p.DiscProtocolError
			}
		}
	}}
}

func takeCast(n *castNode, cp *castPeer, msg p2p.Msg) error {
	if msg.Size > uint32(castLimit[msg.Code]) {
		return fmt.Errorf("cast message of %d bytes with code %d", msg.Size, msg.Code)
	}
	b := make([]byte, msg.Size)
	if _, err := io.ReadFull(msg.Payload, b); err != nil {
		return err
	}
	return n.handle(cp, int(msg.Code), b)
}
