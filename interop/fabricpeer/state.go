package main

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric/core/ledger"
	"github.com/hyperledger/fabric/gossip/metrics"
	"github.com/hyperledger/fabric/gossip/state"
	"github.com/hyperledger/fabric/gossip/util"
	pcommon "github.com/hyperledger/fabric/protos/common"
	pb "github.com/hyperledger/fabric/protos/gossip"
	"github.com/hyperledger/fabric/protos/ledger/rwset"
	"github.com/hyperledger/fabric/protos/transientstore"
)

// memoryLedger is what Fabric's own state transfer stands on here: blocks and private data in memory. Fabric's
// coordinator of private data does not build outside its own repository, so what it does at commit is done here, small.
type memoryLedger struct {
	member *member
	rules  collections

	mu        sync.Mutex
	height    uint64
	blocks    map[uint64]*pcommon.Block
	private   map[slot][]byte
	missing   map[slot]wanted
	transient map[string]map[string][]byte // by transaction, then by namespace and collection
}

// slot is where a private set lies.
type slot struct {
	block, tx             uint64
	namespace, collection string
}

// wanted is what is known of a private set from its block.
type wanted struct {
	txID string
	hash []byte
}

func newLedger(m *member, rules collections) *memoryLedger {
	return &memoryLedger{
		member: m, rules: rules, height: 1, blocks: map[uint64]*pcommon.Block{}, private: map[slot][]byte{},
		missing: map[slot]wanted{}, transient: map[string]map[string][]byte{},
	}
}

// startState begins Fabric's state transfer with the defaults of core.yaml, but that it is enabled.
func startState(m *member, o *options, measures *metrics.GossipMetrics) {
	rules, err := readCollections(o.collections, o.channel)
	if err != nil {
		failed(err.Error())
	}
	m.ledger = newLedger(m, rules)
	m.private = startPrivate(m, o)
	m.provider = state.NewGossipStateProvider(o.channel, &state.ServicesMediator{GossipAdapter: m.gossip, MCSAdapter: m.node.crypto},
		m.ledger, measures.StateMetrics, &state.Configuration{
			AntiEntropyInterval: o.stateInterval, AntiEntropyStateResponseTimeout: state.DefAntiEntropyStateResponseTimeout,
			AntiEntropyBatchSize: state.DefAntiEntropyBatchSize, MaxBlockDistance: state.DefMaxBlockDistance,
			AntiEntropyMaxRetries: state.DefAntiEntropyMaxRetries, ChannelBufferSize: state.DefChannelBufferSize,
			EnableStateTransfer: true, BlockingMode: state.Blocking,
		})
	if o.privateFrom != "" {
		go m.private.readFolder(o.privateFrom)
	}
	go m.private.reconcile(o.reconcile)
}

func (l *memoryLedger) LedgerHeight() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.height, nil
}

func (l *memoryLedger) Close() {}

// StorePvtData takes what a peer pushed; an error is sent back in place of an acknowledgement.
func (l *memoryLedger) StorePvtData(txID string, data *transientstore.TxPvtReadWriteSetWithConfigInfo, _ uint64) error {
	for _, namespace := range data.PvtRwset.GetNsPvtRwset() {
		for _, collection := range namespace.CollectionPvtRwset {
			if err := l.rules.admits(namespace.Namespace, collection.CollectionName, l.member.node.crypto.self.GetMSPIdentifier()); err != nil {
				emit("private_refused", "tx_id", txID, "collection", collection.CollectionName, "reason", err.Error())
				return err
			}
		}
	}
	l.keep(txID, data.PvtRwset, "pushed")
	return nil
}

// keep puts private sets into the transient store until their block comes.
func (l *memoryLedger) keep(txID string, sets *rwset.TxPvtReadWriteSet, source string) {
	for _, namespace := range sets.GetNsPvtRwset() {
		for _, collection := range namespace.CollectionPvtRwset {
			l.mu.Lock()
			if l.transient[txID] == nil {
				l.transient[txID] = map[string][]byte{}
			}
			l.transient[txID][namespace.Namespace+"\x00"+collection.CollectionName] = collection.Rwset
			l.mu.Unlock()
			l.told(txID, slot{0, 0, namespace.Namespace, collection.CollectionName}, source)
		}
	}
}

func (l *memoryLedger) told(txID string, at slot, source string) {
	block := any(nil)
	if at.block > 0 {
		block = at.block
	}
	emit("private_data", "channel", string(l.member.channel), "tx_id", txID, "namespace", at.namespace,
		"collection", at.collection, "block", block, "source", source)
}

// StoreBlock commits a block with its private data: what came with it, what was pushed, else what peers give in time.
func (l *memoryLedger) StoreBlock(block *pcommon.Block, data util.PvtDataCollections) error {
	number := block.Header.Number
	org := l.member.node.crypto.self.GetMSPIdentifier()
	came := map[slot][]byte{}
	for _, tx := range data {
		for _, namespace := range tx.WriteSet.GetNsPvtRwset() {
			for _, collection := range namespace.CollectionPvtRwset {
				came[slot{number, tx.SeqInBlock, namespace.Namespace, collection.CollectionName}] = collection.Rwset
			}
		}
	}
	left := map[slot]wanted{}
	found := map[slot][]byte{}
	for at, want := range privateOf(block) {
		if l.rules.admits(at.namespace, at.collection, org) != nil {
			continue
		}
		l.mu.Lock()
		pushed := l.transient[want.txID][at.namespace+"\x00"+at.collection]
		l.mu.Unlock()
		switch {
		case fits(came[at], want):
			found[at] = came[at]
			l.told(want.txID, at, "withblock")
		case fits(pushed, want):
			found[at] = pushed
			l.told(want.txID, at, "transient")
		default:
			left[at] = want
		}
	}
	if len(left) > 0 {
		for at, set := range l.member.private.pull(left, time.Now().Add(l.member.private.patience)) {
			found[at] = set
			l.told(left[at].txID, at, "pulled")
			delete(left, at)
		}
	}
	bytes, err := proto.Marshal(block)
	if err != nil {
		return err
	}
	l.mu.Lock()
	for at, set := range found {
		l.private[at] = set
	}
	for at, want := range left {
		l.missing[at] = want
	}
	l.blocks[number] = block
	l.height = number + 1
	l.mu.Unlock()
	if len(left) > 0 {
		emit("private_missing", "channel", string(l.member.channel), "block", number, "count", len(left))
	}
	sum := sha256.Sum256(bytes)
	emit("block", "channel", string(l.member.channel), "number", number, "sha256", hex.EncodeToString(sum[:]))
	return nil
}

// GetPvtDataAndBlockByNum gives a block with the private data that the asker's organisation may have.
func (l *memoryLedger) GetPvtDataAndBlockByNum(number uint64, asker pcommon.SignedData) (*pcommon.Block, util.PvtDataCollections, error) {
	org := string(l.member.node.crypto.OrgByPeerIdentity(asker.Identity))
	l.mu.Lock()
	defer l.mu.Unlock()
	var data util.PvtDataCollections
	for at, set := range l.private {
		if at.block != number || l.rules.admits(at.namespace, at.collection, org) != nil {
			continue
		}
		data = append(data, &ledger.TxPvtData{SeqInBlock: at.tx, WriteSet: &rwset.TxPvtReadWriteSet{
			NsPvtRwset: []*rwset.NsPvtReadWriteSet{{Namespace: at.namespace, CollectionPvtRwset: []*rwset.CollectionPvtReadWriteSet{
				{CollectionName: at.collection, Rwset: set}}}},
		}})
	}
	return l.blocks[number], data, nil
}

// get reads a private set, of the ledger or still in the transient store.
func (l *memoryLedger) get(digest *pb.PvtDataDigest) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if set := l.private[slotOf(digest)]; set != nil {
		return set
	}
	return l.transient[digest.TxId][digest.Namespace+"\x00"+digest.Collection]
}

func fits(set []byte, want wanted) bool {
	sum := sha256.Sum256(set)
	return len(set) > 0 && string(sum[:]) == string(want.hash)
}
