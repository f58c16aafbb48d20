package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric/gossip/comm"
	"github.com/hyperledger/fabric/gossip/discovery"
	"github.com/hyperledger/fabric/gossip/gossip"
	"github.com/hyperledger/fabric/gossip/util"
	pcommon "github.com/hyperledger/fabric/protos/common"
	pb "github.com/hyperledger/fabric/protos/gossip"
	"github.com/hyperledger/fabric/protos/ledger/rwset"
	"github.com/hyperledger/fabric/protos/msp"
	"github.com/hyperledger/fabric/protos/peer"
)

// What Fabric waits for (gossip/privdata/pull.go, pvtData.pushAckTimeout).
const (
	responseWait = 5 * time.Second
	pullPause    = time.Second
	ackWait      = 3 * time.Second
)

// collection is one of a collections_config.json; of its policy only the organisations are read.
type collection struct {
	Name              string `json:"name"`
	Policy            string `json:"policy"`
	RequiredPeerCount int    `json:"requiredPeerCount"`
	MaxPeerCount      int    `json:"maxPeerCount"`
	BlockToLive       uint64 `json:"blockToLive"`
	MemberOnlyRead    bool   `json:"memberOnlyRead"`
	orgs              []string
}

// collections is by namespace, then by name.
type collections map[string]map[string]*collection

var principal = regexp.MustCompile(`'([^'.]+)\.[a-z]+'`)

// readCollections reads CHANNEL/CHAINCODE=FILE.
func readCollections(args []string, channel string) (collections, error) {
	all := collections{}
	for _, arg := range args {
		place, file, ok := strings.Cut(arg, "=")
		of, chaincode, both := strings.Cut(place, "/")
		if !ok || !both {
			return nil, fmt.Errorf("--collection %q: want CHANNEL/CHAINCODE=FILE", arg)
		}
		if of != channel {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var list []*collection
		if err := json.Unmarshal(text, &list); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all[chaincode] = map[string]*collection{}
		for _, one := range list {
			for _, found := range principal.FindAllStringSubmatch(one.Policy, -1) {
				one.orgs = append(one.orgs, found[1])
			}
			all[chaincode][one.Name] = one
		}
	}
	return all, nil
}

func (c collections) admits(namespace, name, org string) error {
	one := c[namespace][name]
	if one == nil {
		return fmt.Errorf("collection %s/%s is not known", namespace, name)
	}
	if !slices.Contains(one.orgs, org) {
		return fmt.Errorf("%s is no member of collection %s/%s", org, namespace, name)
	}
	return nil
}

// pack is what travels with a pushed set.
func (c collections) pack(namespace string) *pcommon.CollectionConfigPackage {
	pack := &pcommon.CollectionConfigPackage{}
	for _, one := range c[namespace] {
		policy := &pcommon.SignaturePolicyEnvelope{}
		var rules []*pcommon.SignaturePolicy
		for i, org := range one.orgs {
			role, _ := proto.Marshal(&msp.MSPRole{MspIdentifier: org, Role: msp.MSPRole_MEMBER})
			policy.Identities = append(policy.Identities, &msp.MSPPrincipal{PrincipalClassification: msp.MSPPrincipal_ROLE, Principal: role})
			rules = append(rules, &pcommon.SignaturePolicy{Type: &pcommon.SignaturePolicy_SignedBy{SignedBy: int32(i)}})
		}
		policy.Rule = &pcommon.SignaturePolicy{Type: &pcommon.SignaturePolicy_NOutOf_{NOutOf: &pcommon.SignaturePolicy_NOutOf{N: 1, Rules: rules}}}
		static := &pcommon.StaticCollectionConfig{
			Name: one.Name, RequiredPeerCount: int32(one.RequiredPeerCount), MaximumPeerCount: int32(one.MaxPeerCount),
			BlockToLive: one.BlockToLive, MemberOnlyRead: one.MemberOnlyRead,
			MemberOrgsPolicy: &pcommon.CollectionPolicyConfig{Payload: &pcommon.CollectionPolicyConfig_SignaturePolicy{SignaturePolicy: policy}},
		}
		pack.Config = append(pack.Config, &pcommon.CollectionConfig{Payload: &pcommon.CollectionConfig_StaticCollectionConfig{StaticCollectionConfig: static}})
	}
	return pack
}

// privateOf lists the private sets that a block's transactions name by hash.
func privateOf(block *pcommon.Block) map[slot]wanted {
	all := map[slot]wanted{}
	for at, data := range block.Data.GetData() {
		envelope, payload, header := &pcommon.Envelope{}, &pcommon.Payload{}, &pcommon.ChannelHeader{}
		if proto.Unmarshal(data, envelope) != nil || proto.Unmarshal(envelope.Payload, payload) != nil ||
			proto.Unmarshal(payload.Header.GetChannelHeader(), header) != nil || header.Type != int32(pcommon.HeaderType_ENDORSER_TRANSACTION) {
			continue
		}
		tx, action, response := &peer.Transaction{}, &peer.ChaincodeActionPayload{}, &peer.ProposalResponsePayload{}
		done, sets := &peer.ChaincodeAction{}, &rwset.TxReadWriteSet{}
		if proto.Unmarshal(payload.Data, tx) != nil || len(tx.Actions) == 0 || proto.Unmarshal(tx.Actions[0].Payload, action) != nil ||
			proto.Unmarshal(action.Action.GetProposalResponsePayload(), response) != nil ||
			proto.Unmarshal(response.Extension, done) != nil || proto.Unmarshal(done.Results, sets) != nil {
			continue
		}
		for _, namespace := range sets.NsRwset {
			for _, hashed := range namespace.CollectionHashedRwset {
				all[slot{block.Header.Number, uint64(at), namespace.Namespace, hashed.CollectionName}] = wanted{header.TxId, hashed.PvtRwsetHash}
			}
		}
	}
	return all
}

func slotOf(d *pb.PvtDataDigest) slot {
	return slot{d.BlockSeq, d.SeqInBlock, d.Namespace, d.Collection}
}

// private pushes, asks for and gives private data on Fabric's comm and message types.
type private struct {
	*member
	patience time.Duration

	mu      sync.Mutex
	waiting map[uint64]chan *pb.RemotePvtDataResponse
}

func startPrivate(m *member, o *options) *private {
	p := &private{member: m, patience: o.pullRetry, waiting: map[uint64]chan *pb.RemotePvtDataResponse{}}
	_, messages := m.gossip.Accept(func(message any) bool {
		received := message.(pb.ReceivedMessage)
		msg := received.GetGossipMessage()
		if string(msg.Channel) != o.channel || (msg.GetPrivateReq() == nil && msg.GetPrivateRes() == nil) {
			return false
		}
		info := received.GetConnectionInfo()
		return m.node.crypto.VerifyByChannel(m.channel, info.Identity, info.Auth.Signature, info.Auth.SignedData) == nil
	}, true)
	go func() {
		for message := range messages {
			if request := message.GetGossipMessage().GetPrivateReq(); request != nil {
				p.answer(message, request)
			} else {
				p.mu.Lock()
				waiting := p.waiting[message.GetGossipMessage().Nonce]
				delete(p.waiting, message.GetGossipMessage().Nonce)
				p.mu.Unlock()
				if waiting != nil {
					waiting <- message.GetGossipMessage().GetPrivateRes()
				}
			}
		}
	}()
	return p
}

// answer gives what the asker's organisation may have, and leaves out the rest.
func (p *private) answer(message pb.ReceivedMessage, request *pb.RemotePvtDataRequest) {
	org := string(p.node.crypto.OrgByPeerIdentity(message.GetConnectionInfo().Identity))
	response := &pb.RemotePvtDataResponse{}
	for _, digest := range request.Digests {
		if err := p.ledger.rules.admits(digest.Namespace, digest.Collection, org); err != nil {
			emit("private_refused", "tx_id", digest.TxId, "collection", digest.Collection, "reason", err.Error())
			continue
		}
		if set := p.ledger.get(digest); set != nil {
			response.Elements = append(response.Elements, &pb.PvtDataElement{Digest: digest, Payload: [][]byte{set}})
		}
	}
	message.Respond(&pb.GossipMessage{
		Channel: p.channel, Tag: pb.GossipMessage_CHAN_ONLY, Nonce: message.GetGossipMessage().Nonce,
		Content: &pb.GossipMessage_PrivateRes{PrivateRes: response},
	})
}

// org tells a member's organisation, once its identity is known.
func (p *private) org(member discovery.NetworkMember) string {
	for _, known := range p.gossip.IdentityInfo() {
		if string(known.PKIId) == string(member.PKIid) {
			return string(known.Organization)
		}
	}
	return ""
}

// pull asks one eligible peer after the other, again and again until the time is up; gives what has the right hash.
func (p *private) pull(left map[slot]wanted, until time.Time) map[slot][]byte {
	found := map[slot][]byte{}
	for {
		for _, member := range p.gossip.PeersOfChannel(p.channel) {
			request := &pb.RemotePvtDataRequest{}
			for at, want := range left {
				if _, have := found[at]; !have && p.ledger.rules.admits(at.namespace, at.collection, p.org(member)) == nil {
					request.Digests = append(request.Digests, &pb.PvtDataDigest{
						TxId: want.txID, Namespace: at.namespace, Collection: at.collection, BlockSeq: at.block, SeqInBlock: at.tx})
				}
			}
			if len(request.Digests) == 0 {
				continue
			}
			for _, element := range p.ask(member, request).GetElements() {
				if element.Digest == nil || len(element.Payload) == 0 {
					continue
				}
				at := slotOf(element.Digest)
				if want, asked := left[at]; asked && fits(element.Payload[0], want) {
					found[at] = element.Payload[0]
				}
			}
		}
		if len(found) == len(left) || time.Now().After(until) {
			return found
		}
		time.Sleep(pullPause)
	}
}

func (p *private) ask(member discovery.NetworkMember, request *pb.RemotePvtDataRequest) *pb.RemotePvtDataResponse {
	nonce, answer := util.RandomUInt64(), make(chan *pb.RemotePvtDataResponse, 1)
	p.mu.Lock()
	p.waiting[nonce] = answer
	p.mu.Unlock()
	p.gossip.Send(&pb.GossipMessage{
		Tag: pb.GossipMessage_CHAN_ONLY, Channel: p.channel, Nonce: nonce, Content: &pb.GossipMessage_PrivateReq{PrivateReq: request},
	}, &comm.RemotePeer{Endpoint: member.PreferredEndpoint(), PKIID: member.PKIid})
	select {
	case response := <-answer:
		return response
	case <-time.After(responseWait):
		p.mu.Lock()
		delete(p.waiting, nonce)
		p.mu.Unlock()
		return nil
	}
}

// reconcile asks again for what blocks were committed without.
func (p *private) reconcile(every time.Duration) {
	for {
		time.Sleep(every)
		p.ledger.mu.Lock()
		left := map[slot]wanted{}
		for at, want := range p.ledger.missing {
			left[at] = want
		}
		p.ledger.mu.Unlock()
		if len(left) == 0 {
			continue
		}
		for at, set := range p.pull(left, time.Now()) {
			p.ledger.mu.Lock()
			p.ledger.private[at] = set
			delete(p.ledger.missing, at)
			p.ledger.mu.Unlock()
			p.ledger.told(left[at].txID, at, "reconciled")
		}
	}
}

// readFolder pushes TXID.private files, each an encoded TxPvtReadWriteSet, and renames what was pushed.
func (p *private) readFolder(dir string) {
	for {
		files, _ := filepath.Glob(filepath.Join(dir, "*.private"))
		for _, file := range files {
			data, err := os.ReadFile(file)
			sets := &rwset.TxPvtReadWriteSet{}
			if err == nil {
				err = proto.Unmarshal(data, sets)
			}
			txID := strings.TrimSuffix(filepath.Base(file), ".private")
			if err == nil {
				err = p.distribute(txID, sets)
			}
			reason := any(nil)
			if err != nil {
				reason = err.Error()
				time.Sleep(pullPause)
			} else {
				os.Rename(file, strings.TrimSuffix(file, ".private")+".pushed")
			}
			emit("private_pushed", "channel", string(p.channel), "tx_id", txID, "ok", err == nil, "reason", reason)
		}
		time.Sleep(lookEvery)
	}
}

// distribute sends each set to those who may have it and waits for as many acknowledgements as the collection demands.
func (p *private) distribute(txID string, sets *rwset.TxPvtReadWriteSet) error {
	height, _ := p.ledger.LedgerHeight()
	for _, namespace := range sets.NsPvtRwset {
		for _, set := range namespace.CollectionPvtRwset {
			rule := p.ledger.rules[namespace.Namespace][set.CollectionName]
			if rule == nil {
				return fmt.Errorf("collection %s/%s is not known", namespace.Namespace, set.CollectionName)
			}
			message := &pb.SignedGossipMessage{GossipMessage: &pb.GossipMessage{
				Channel: p.channel, Nonce: util.RandomUInt64(), Tag: pb.GossipMessage_CHAN_ONLY,
				Content: &pb.GossipMessage_PrivateData{PrivateData: &pb.PrivateDataMessage{Payload: &pb.PrivatePayload{
					Namespace: namespace.Namespace, CollectionName: set.CollectionName, TxId: txID, PrivateRwset: set.Rwset,
					PrivateSimHeight: height, CollectionConfigs: p.ledger.rules.pack(namespace.Namespace),
				}}},
			}}
			message, err := message.NoopSign()
			if err != nil {
				return err
			}
			err = p.gossip.SendByCriteria(message, gossip.SendCriteria{
				Timeout: ackWait, Channel: p.channel, MaxPeers: rule.MaxPeerCount, MinAck: rule.RequiredPeerCount,
				IsEligible: func(member discovery.NetworkMember) bool { return slices.Contains(rule.orgs, p.org(member)) },
			})
			if err != nil {
				return err
			}
		}
	}
	p.ledger.keep(txID, sets, "pushed")
	return nil
}
