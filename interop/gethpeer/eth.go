package main

import (
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/eth/protocols/eth"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/params"
)

// What ethChain says of itself.
const (
	ethNetwork = 1337
	ethNewest  = 20_000_000
	ethTime    = 1_720_000_000
)

// ethLengths is the number of codes of each version (the module keeps its own map to itself).
var ethLengths = map[uint]uint64{eth.ETH69: 18, eth.ETH70: 18, eth.ETH71: 20, eth.ETH72: 22}

// ethChain is a chain without blocks: enough for the handshake, with mainnet's forks.
type ethChain struct{}

func (ethChain) Config() *params.ChainConfig { return params.MainnetChainConfig }

func (ethChain) Genesis() *types.Block {
	return types.NewBlockWithHeader(&types.Header{Number: new(big.Int), Difficulty: big.NewInt(1)})
}

func (ethChain) CurrentHeader() *types.Header {
	return &types.Header{Number: big.NewInt(ethNewest), Time: ethTime, Difficulty: new(big.Int)}
}

// ethProtocols shakes hands as go-ethereum's own nodes do, with the module's code, says how that ended, and then
// reads and throws away what comes.
func ethProtocols() []p2p.Protocol {
	var all []p2p.Protocol
	for _, version := range eth.ProtocolVersions {
		run := func(p *p2p.Peer, rw p2p.MsgReadWriter) error {
			peer := eth.NewPeer(version, p, rw, nil, nil, params.MainnetChainConfig)
			defer peer.Close()
			chain := ethChain{}
			newest := eth.BlockRangeUpdatePacket{LatestBlock: ethNewest, LatestBlockHash: chain.CurrentHeader().Hash()}
			if err := peer.Handshake(ethNetwork, chain, newest); err != nil {
				emit("eth_refused", "id", p.ID().String(), "reason", err.Error())
				return err
			}
			theirs := peer.BlockRange()
			emit("eth_status", "id", p.ID().String(), "version", version, "latest", theirs.LatestBlock,
				"genesis", fmt.Sprintf("%x", chain.Genesis().Hash()))
			for {
				msg, err := rw.ReadMsg()
				if err != nil {
					return err
				}
				msg.Discard()
			}
		}
		all = append(all, p2p.Protocol{Name: eth.ProtocolName, Version: version, Length: ethLengths[version], Run: run})
	}
	return all
}
