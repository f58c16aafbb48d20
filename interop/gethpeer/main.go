// Command gethpeer is a devp2p peer on go-ethereum's own p2p package: what a Rust node is
// tried out and measured against.
package main

import (
	"crypto/ecdsa"
	"fmt"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

const clientName = "gethpeer"

func loadKey(o *options) *ecdsa.PrivateKey {
	var (
		key *ecdsa.PrivateKey
		err error
	)
	if o.key == "" {
		key, err = crypto.GenerateKey()
	} else {
		key, err = crypto.LoadECDSA(o.key)
	}
	if err != nil {
		failed("node key: " + err.Error())
	}
	return key
}

func parseNode(url string) *enode.Node {
	n, err := enode.ParseV4(url)
	if err != nil {
		usage("%q: %v", url, err)
	}
	return n
}

// newServer is the stack as a user of the package would set it up, with everything that looks
// for peers by itself turned off.
func newServer(o *options, listen string, protocols []p2p.Protocol, refused func(refusal)) *p2p.Server {
	name := o.name
	if name == "" {
		name = clientName
	}
	return &p2p.Server{Config: p2p.Config{
		PrivateKey:  loadKey(o),
		Name:        name,
		MaxPeers:    o.maxPeers,
		ListenAddr:  listen,
		NoDiscovery: true,
		Protocols:   protocols,
		Logger:      log.NewLogger(&refusalHook{heard: refused}),
	}}
}

func ready(srv *p2p.Server) {
	self := srv.Self()
	emit("ready", "enode", self.URLv4(), "enr", self.String(), "id", self.ID().String(), "name", srv.Name)
}

func capNames(caps []p2p.Cap) []string {
	names := make([]string, 0, len(caps))
	for _, c := range caps {
		names = append(names, fmt.Sprintf("%s/%d", c.Name, c.Version))
	}
	return names
}
