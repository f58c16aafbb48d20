package main

import (
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/p2p/conn"
	"github.com/cometbft/cometbft/p2p/pex"
)

// Jobs that need nobody else: what one part of the module does by itself.

// randomAddress is a routable address of a random ID; sources have the same form.
func randomAddress(r *rand.Rand) *p2p.NetAddress {
	var id [20]byte
	r.Read(id[:])
	// 32.0.0.0 to 95.255.255.255 has nothing special in it.
	ip := net.IPv4(byte(32+r.Intn(64)), byte(r.Intn(256)), byte(r.Intn(256)), byte(1+r.Intn(254)))
	addr := p2p.NewNetAddressIPPort(ip, 26656)
	addr.ID = p2p.ID(fmt.Sprintf("%x", id))
	return addr
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// runBook fills a strict address book with --count addresses, each told by another node, and picks as many.
func runBook(o *options) {
	dir, err := os.MkdirTemp("", "cometpeer-book")
	if err != nil {
		failed(err.Error())
	}
	defer os.RemoveAll(dir)
	r := rand.New(rand.NewSource(1))
	before := heap()
	addrs, sources := make([]*p2p.NetAddress, o.count), make([]*p2p.NetAddress, o.count)
	for i := range addrs {
		addrs[i], sources[i] = randomAddress(r), randomAddress(r)
	}
	book := pex.NewAddrBook(filepath.Join(dir, "addrbook.json"), true)
	book.SetLogger(log.NewNopLogger())
	begin := time.Now()
	for i := range addrs {
		if err := book.AddAddress(addrs[i], sources[i]); err != nil {
			failed(err.Error())
		}
	}
	adding := time.Since(begin)
	size := book.Size()
	begin = time.Now()
	for range o.count {
		book.PickAddress(50)
	}
	picking := time.Since(begin)
	// What is left is what the book holds, the addresses it keeps among it.
	addrs, sources = nil, nil
	held := heap() - before
	emit("book", "count", o.count, "size", size, "adds_per_s", float64(o.count)/adding.Seconds(),
		"picks_per_s", float64(o.count)/picking.Seconds(), "bytes", held)
	runtime.KeepAlive(book)
}

// runSecret sends --bytes through one SecretConnection over loopback, --size at a time.
func runSecret(o *options) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		failed(err.Error())
	}
	done := make(chan error, 1)
	go func() {
		fd, err := listener.Accept()
		if err != nil {
			done <- err
			return
		}
		secret, err := conn.MakeSecretConnection(fd, ed25519.GenPrivKey())
		if err == nil {
			_, err = io.CopyBuffer(writerOnly{io.Discard}, io.LimitReader(secret, o.bytes), make([]byte, 64<<10))
		}
		done <- err
	}()
	fd, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		failed(err.Error())
	}
	secret, err := conn.MakeSecretConnection(fd, ed25519.GenPrivKey())
	if err != nil {
		failed(err.Error())
	}
	data := make([]byte, o.size)
	rand.New(rand.NewSource(1)).Read(data)
	begin := time.Now()
	for left := o.bytes; left > 0; {
		n := min(left, int64(len(data)))
		if _, err := secret.Write(data[:n]); err != nil {
			failed(err.Error())
		}
		left -= n
	}
	if err := <-done; err != nil {
		failed(err.Error())
	}
	took := time.Since(begin)
	emit("secret", "bytes", o.bytes, "mb_per_s", float64(o.bytes)/1e6/took.Seconds())
}

// writerOnly hides what else a writer can do, so that a copy uses the buffer it is given.
type writerOnly struct{ io.Writer }
