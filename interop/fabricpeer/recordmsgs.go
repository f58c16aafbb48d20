package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric/gossip/common"
	"github.com/hyperledger/fabric/gossip/gossip/channel"
	cb "github.com/hyperledger/fabric/protos/common"
	pb "github.com/hyperledger/fabric/protos/gossip"
)

type recordedMessage struct {
	Name      string `json:"name"`
	Signer    string `json:"signer,omitempty"` // absent: an envelope without signature
	Envelope  string `json:"envelope"`
	Payload   string `json:"payload"`
	TagFault  string `json:"tag_fault,omitempty"` // what v1.4's tag check says against it
	Values    any    `json:"values"`
	Signature string `json:"signature,omitempty"`
}

const (
	channelName = "mychannel"
	startedAt   = 1_700_000_000_000_000_000
)

func hexHash(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func encode(m proto.Message) (string, error) {
	raw, err := proto.Marshal(m)
	return hex.EncodeToString(raw), err
}

// builder makes messages and the envelopes inside them; the first error stays.
type builder struct {
	out []recordedMessage
	err error
}

// add records a message, signed by n or, where n is nil, unsigned.
func (b *builder) add(name string, m *pb.GossipMessage, n *node, secret *pb.Secret) *pb.Envelope {
	signed := &pb.SignedGossipMessage{GossipMessage: m}
	sign, signer := func([]byte) ([]byte, error) { return nil, nil }, ""
	if n != nil {
		sign, signer = n.crypto.Sign, n.label()
	}
	e, err := signed.Sign(sign)
	if err == nil && secret != nil {
		err = e.SignSecret(sign, secret)
	}
	if err == nil && n != nil {
		err = signed.Verify(n.identity, func(id, sig, msg []byte) error { return n.crypto.Verify(id, sig, msg) })
	}
	if err != nil {
		b.err = fmt.Errorf("%s: %w", name, err)
		return &pb.Envelope{}
	}
	raw, err := encode(e)
	if err != nil {
		b.err = err
	}
	rec := recordedMessage{Name: name, Signer: signer, Envelope: raw, Payload: hex.EncodeToString(e.Payload),
		Signature: hex.EncodeToString(e.Signature), Values: fieldsOf(m)}
	if err := m.IsTagLegal(); err != nil {
		rec.TagFault, _, _ = strings.Cut(err.Error(), ":") // a whole message may follow
	}
	b.out = append(b.out, rec)
	return e
}

func (n *node) label() string {
	_, name := describe(n.identity)
	label, _, _ := strings.Cut(name, ".")
	return label
}

func message(nonce uint64, ch string, tag pb.GossipMessage_Tag) *pb.GossipMessage {
	m := &pb.GossipMessage{Nonce: nonce, Tag: tag}
	if ch != "" {
		m.Channel = []byte(ch)
	}
	return m
}

// recordMessages makes one message or more of every content v1.4 knows, with every field filled.
func (r *recording) recordMessages(p0, p1 *node) error {
	b := &builder{}
	const (
		empty, chanOnly = pb.GossipMessage_EMPTY, pb.GossipMessage_CHAN_ONLY
		chanAnd, chanOr = pb.GossipMessage_CHAN_AND_ORG, pb.GossipMessage_CHAN_OR_ORG
	)
	secret := func(s string) *pb.Secret {
		return &pb.Secret{Content: &pb.Secret_InternalEndpoint{InternalEndpoint: s}}
	}
	alive := func(n *node, endpoint string, seq uint64) *pb.GossipMessage {
		m := message(0, "", empty)
		m.Content = &pb.GossipMessage_AliveMsg{AliveMsg: &pb.AliveMessage{
			Membership: &pb.Member{Endpoint: endpoint, Metadata: []byte{1, 2, 3}, PkiId: n.pkiID},
			Timestamp:  &pb.PeerTime{IncNum: startedAt, SeqNum: seq}, Identity: n.identity}}
		return m
	}
	a0 := b.add("alive_msg", alive(p0, "peer0.example:7051", 1), p0, secret("10.0.0.1:7051"))
	a1 := b.add("alive_msg without secret envelope", alive(p1, "peer1.example:7051", 300), p1, nil)

	m := message(7, "", empty)
	m.Content = &pb.GossipMessage_MemReq{MemReq: &pb.MembershipRequest{SelfInformation: a0}}
	b.add("mem_req", m, nil, nil)
	m = message(7, "", empty)
	m.Content = &pb.GossipMessage_MemRes{MemRes: &pb.MembershipResponse{Alive: []*pb.Envelope{a0}, Dead: []*pb.Envelope{a1}}}
	b.add("mem_res", m, nil, nil)

	m = message(0, channelName, chanAnd)
	m.Content = &pb.GossipMessage_DataMsg{DataMsg: &pb.DataMessage{Payload: &pb.Payload{SeqNum: 42, Data: []byte("block"), PrivateData: [][]byte{[]byte("one"), []byte("two")}}}}
	block := b.add("data_msg", m, nil, nil)

	identityMessage := message(0, "", empty)
	identityMessage.Content = &pb.GossipMessage_PeerIdentity{PeerIdentity: &pb.PeerIdentity{PkiId: p1.pkiID, Cert: p1.identity, Metadata: []byte("meta")}}
	certificate := b.add("peer_identity as pulled", identityMessage, p1, nil)
	identityMessage = proto.Clone(identityMessage).(*pb.GossipMessage)
	identityMessage.Tag = pb.GossipMessage_ORG_ONLY
	b.add("peer_identity", identityMessage, p1, nil)

	for _, pull := range []struct {
		name string
		ch   string
		tag  pb.GossipMessage_Tag
		kind pb.PullMsgType
		digs [][]byte
		item *pb.Envelope
	}{
		{"blocks", channelName, chanAnd, pb.PullMsgType_BLOCK_MSG, [][]byte{[]byte("41"), []byte("42")}, block},
		{"identities", "", empty, pb.PullMsgType_IDENTITY_MSG, [][]byte{p0.pkiID, p1.pkiID}, certificate},
	} {
		m = message(0, pull.ch, pull.tag)
		m.Content = &pb.GossipMessage_Hello{Hello: &pb.GossipHello{Nonce: 99, Metadata: []byte("m"), MsgType: pull.kind}}
		b.add("hello "+pull.name, m, nil, nil)
		m = message(0, pull.ch, pull.tag)
		m.Content = &pb.GossipMessage_DataDig{DataDig: &pb.DataDigest{Nonce: 99, Digests: pull.digs, MsgType: pull.kind}}
		b.add("data_dig "+pull.name, m, nil, nil)
		m = message(0, pull.ch, pull.tag)
		m.Content = &pb.GossipMessage_DataReq{DataReq: &pb.DataRequest{Nonce: 99, Digests: pull.digs[1:], MsgType: pull.kind}}
		b.add("data_req "+pull.name, m, nil, nil)
		m = message(0, pull.ch, pull.tag)
		m.Content = &pb.GossipMessage_DataUpdate{DataUpdate: &pb.DataUpdate{Nonce: 99, Data: []*pb.Envelope{pull.item}, MsgType: pull.kind}}
		b.add("data_update "+pull.name, m, nil, nil)
	}

	m = message(0, "", empty)
	m.Content = &pb.GossipMessage_Empty{Empty: &pb.Empty{}}
	b.add("empty", m, nil, nil)
	m = message(0, "", empty)
	hash := sha256.Sum256(p0.client.Certificate[0])
	m.Content = &pb.GossipMessage_Conn{Conn: &pb.ConnEstablish{PkiId: p0.pkiID, Identity: p0.identity, TlsCertHash: hash[:]}}
	b.add("conn", m, p0, nil)

	mac := channel.GenerateMAC(p0.pkiID, common.ChainID(channelName))
	m = message(0, "", chanOr)
	m.Content = &pb.GossipMessage_StateInfo{StateInfo: &pb.StateInfo{
		Timestamp: &pb.PeerTime{IncNum: startedAt, SeqNum: startedAt + 1}, PkiId: p0.pkiID, Channel_MAC: mac,
		Properties: &pb.Properties{LedgerHeight: 43, LeftChannel: true, Chaincodes: []*pb.Chaincode{{Name: "mycc", Version: "1.0", Metadata: []byte{9}}, {Name: "other", Version: "2"}}}}}
	state := b.add("state_info", m, p0, nil)
	m = message(0, channelName, chanOr)
	m.Content = &pb.GossipMessage_StateSnapshot{StateSnapshot: &pb.StateInfoSnapshot{Elements: []*pb.Envelope{state}}}
	b.add("state_snapshot", m, nil, nil)
	m = message(0, "", chanOr)
	m.Content = &pb.GossipMessage_StateInfoPullReq{StateInfoPullReq: &pb.StateInfoPullRequest{Channel_MAC: mac}}
	b.add("state_info_pull_req", m, nil, nil)

	m = message(1234567890123456789, channelName, chanOr)
	m.Content = &pb.GossipMessage_StateRequest{StateRequest: &pb.RemoteStateRequest{StartSeqNum: 40, EndSeqNum: 42}}
	b.add("state_request", m, nil, nil)
	m = message(1234567890123456789, channelName, chanOr)
	m.Content = &pb.GossipMessage_StateResponse{StateResponse: &pb.RemoteStateResponse{Payloads: []*pb.Payload{{SeqNum: 40, Data: []byte("b40")}, {SeqNum: 41, Data: []byte("b41"), PrivateData: [][]byte{{}}}}}}
	b.add("state_response", m, nil, nil)

	m = message(0, channelName, chanAnd)
	m.Content = &pb.GossipMessage_LeadershipMsg{LeadershipMsg: &pb.LeadershipMessage{PkiId: p0.pkiID, Timestamp: &pb.PeerTime{IncNum: startedAt, SeqNum: 2}, IsDeclaration: true}}
	b.add("leadership_msg", m, p0, nil)

	m = message(18446744073709551615, "", pb.GossipMessage_UNDEFINED)
	m.Content = &pb.GossipMessage_Ack{Ack: &pb.Acknowledgement{}}
	b.add("ack", m, nil, nil)
	m = message(5, "", pb.GossipMessage_UNDEFINED)
	m.Content = &pb.GossipMessage_Ack{Ack: &pb.Acknowledgement{Error: "no room"}}
	b.add("ack of a refusal", m, nil, nil)
	r.recordPrivate(b, chanOnly)
	r.Messages = b.out
	return b.err
}

// recordPrivate makes the three messages of private data.
func (r *recording) recordPrivate(b *builder, tag pb.GossipMessage_Tag) {
	digest := &pb.PvtDataDigest{TxId: "tx1", Namespace: "mycc", Collection: "secrets", BlockSeq: 42, SeqInBlock: 3}
	m := message(11, channelName, tag)
	m.Content = &pb.GossipMessage_PrivateReq{PrivateReq: &pb.RemotePvtDataRequest{Digests: []*pb.PvtDataDigest{digest}}}
	b.add("privateReq", m, nil, nil)
	m = message(11, channelName, tag)
	m.Content = &pb.GossipMessage_PrivateRes{PrivateRes: &pb.RemotePvtDataResponse{Elements: []*pb.PvtDataElement{{Digest: digest, Payload: [][]byte{[]byte("rw1"), []byte("rw2")}}}}}
	b.add("privateRes", m, nil, nil)
	m = message(12, channelName, tag)
	m.Content = &pb.GossipMessage_PrivateData{PrivateData: &pb.PrivateDataMessage{Payload: &pb.PrivatePayload{
		CollectionName: "secrets", Namespace: "mycc", TxId: "tx1", PrivateRwset: []byte("rwset"), PrivateSimHeight: 41,
		CollectionConfigs: &cb.CollectionConfigPackage{Config: []*cb.CollectionConfig{{Payload: &cb.CollectionConfig_StaticCollectionConfig{
			StaticCollectionConfig: &cb.StaticCollectionConfig{Name: "secrets", RequiredPeerCount: 1, MaximumPeerCount: 2, BlockToLive: 100, MemberOnlyRead: true}}}}}}}}
	b.add("private_data", m, nil, nil)
}

// fieldsOf shows a message's fields under their names in the .proto files: bytes in hex, enums by
// number, zero values left out as on the wire. (The usual JSON form of protobuf has bytes in base64
// and does not tell them from text.)
func fieldsOf(m any) map[string]any {
	out := map[string]any{}
	v := reflect.ValueOf(m).Elem()
	for i := range v.NumField() {
		field, info := v.Field(i), v.Type().Field(i)
		if _, oneof := info.Tag.Lookup("protobuf_oneof"); oneof && !field.IsNil() {
			for name, value := range fieldsOf(field.Elem().Interface()) {
				out[name] = value
			}
			continue
		}
		_, name, found := strings.Cut(info.Tag.Get("protobuf"), "name=")
		name, _, _ = strings.Cut(name, ",")
		if !found || field.IsZero() {
			continue
		}
		out[name] = valueOf(field)
	}
	return out
}

func valueOf(v reflect.Value) any {
	switch {
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		return hex.EncodeToString(v.Bytes())
	case v.Kind() == reflect.Slice:
		all := []any{}
		for i := range v.Len() {
			all = append(all, valueOf(v.Index(i)))
		}
		return all
	case v.Kind() == reflect.Pointer:
		return fieldsOf(v.Interface())
	case v.Kind() == reflect.Int32: // an enum, whose MarshalJSON would give its name
		return v.Int()
	default:
		return v.Interface()
	}
}
