package main

import (
	"flag"
	"os"
	"strconv"
	"strings"
	"time"
)

// options is the command line, the same for every peer. A flag a wire has no use for is accepted
// and ignored, so one driver can pass the same line to all.
type options struct {
	cmd, url string

	key, listen, network, name, protocols string
	dials, bootnodes                      list
	discovery                             string
	castDir, castFile                     string
	castChunk, maxPeers                   int

	do, payload, expectID, sizes string
	size, count, inFlight        int
	parallel, reason             int
	bytes                        int64
	seconds                      float64
	timeout, flushThrottle       time.Duration
	rates, out                   string
	everyMS, beside              int

	pex, seedMode, unsolicited bool
	seeds, addrBook            string
	ensurePeriod               time.Duration
}

type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

func parseOptions(args []string) *options {
	const help = "usage: serve | dial URL --do JOB | record --out DIR   (-h after a command lists its flags)"
	if len(args) == 0 {
		usage(help)
	}
	o := &options{cmd: args[0]}
	args = args[1:]
	// The URL stands before the flags, where package flag would stop reading.
	if o.cmd == "dial" {
		if len(args) == 0 || strings.HasPrefix(args[0], "-") {
			usage("dial needs a URL right after it")
		}
		o.url, args = args[0], args[1:]
	}
	f := flag.NewFlagSet(o.cmd, flag.ExitOnError) // exits with 2, as the contract asks
	f.StringVar(&o.key, "key", "", "key file; absent: a fresh random key")
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "address to listen on")
	f.Var(&o.dials, "dial", "peer to keep connected to (repeatable)")
	f.StringVar(&o.discovery, "discovery", "", "versions of discovery to run: v4, v5 or v4,v5 (devp2p)")
	f.Var(&o.bootnodes, "bootnode", "node to start discovery from (repeatable, devp2p)")
	f.StringVar(&o.protocols, "protocols", "bench,cast", "bench, cast, both or none; eth (devp2p)")
	f.StringVar(&o.network, "network", "switchboard", "network name (comet)")
	f.StringVar(&o.name, "name", "", "client name or moniker")
	f.StringVar(&o.castDir, "cast-dir", "", "where casts are stored; absent: a temporary folder")
	f.StringVar(&o.castFile, "cast", "", "file to start a cast of")
	f.IntVar(&o.castChunk, "cast-chunk", 65536, "chunk size of a cast we start")
	f.IntVar(&o.maxPeers, "max-peers", 50, "limit of peers")
	f.StringVar(&o.do, "do", "connect", "echo, bulk, urgent, idle, connect, handshakes, ping or pex")
	f.IntVar(&o.everyMS, "every-ms", 10, "urgent: milliseconds from one echo to the next (comet)")
	f.IntVar(&o.beside, "beside", 65536, "urgent: bytes of a message of the flow beside them (comet)")
	f.IntVar(&o.size, "size", 1024, "payload bytes of a message")
	f.StringVar(&o.sizes, "sizes", "", "echo: several sizes, comma between, in one session")
	f.IntVar(&o.count, "count", 100, "messages, handshakes or pings")
	f.IntVar(&o.inFlight, "in-flight", 1, "echo requests under way at once")
	f.Int64Var(&o.bytes, "bytes", 64<<20, "bulk bytes")
	f.StringVar(&o.payload, "payload", "random", "bulk payload: random or zeros")
	f.IntVar(&o.parallel, "parallel", 1, "handshakes under way at once")
	f.Float64Var(&o.seconds, "seconds", 5, "how long idle stays")
	f.IntVar(&o.reason, "reason", 8, "disconnect reason sent by connect (devp2p)")
	f.StringVar(&o.expectID, "expect-id", "", "identity to insist on in place of the URL's")
	f.DurationVar(&o.timeout, "timeout", 2*time.Minute, "limit for a whole dial job")
	f.DurationVar(&o.flushThrottle, "flush-throttle", 0, "comet: 0 keeps the module's default")
	f.StringVar(&o.rates, "rates", "huge", "comet: huge or default send and receive rates")
	f.BoolVar(&o.pex, "pex", false, "comet: with address book and peer exchange")
	f.BoolVar(&o.seedMode, "seed-mode", false, "comet: as a seed node")
	f.BoolVar(&o.unsolicited, "unsolicited", false, "comet: first send an answer nobody asked for")
	f.StringVar(&o.seeds, "seeds", "", "comet: seeds, comma between")
	f.StringVar(&o.addrBook, "addrbook", "", "comet: the address book's file; absent: a temporary one")
	f.DurationVar(&o.ensurePeriod, "ensure-period", 0, "comet: 0 keeps the module's default")
	f.StringVar(&o.out, "out", "", "record: folder for the vector files")
	f.Parse(args)
	if f.NArg() > 0 {
		usage("do not know what to do with %q", f.Arg(0))
	}
	switch {
	case o.cmd != "serve" && o.cmd != "dial" && o.cmd != "record":
		usage(help)
	case o.cmd == "record" && o.out == "":
		usage("record needs --out DIR")
	case o.payload != "random" && o.payload != "zeros":
		usage("--payload is random or zeros")
	case o.rates != "huge" && o.rates != "default":
		usage("--rates is huge or default")
	case o.size < 0 || o.count < 1 || o.inFlight < 1 || o.parallel < 1 || o.bytes < 0 || o.maxPeers < 0 || o.seconds < 0 ||
		o.everyMS < 1 || o.beside < 1:
		usage("a number is out of range")
	case o.count > 10_000_000:
		usage("--count is at most 10000000")
	}
	if o.cmd == "dial" {
		limit := o.timeout
		if o.do == "idle" {
			limit += time.Duration(o.seconds * float64(time.Second))
		}
		time.AfterFunc(limit, func() { failed("not done within " + limit.String()) })
	}
	return o
}

// has tells whether a protocol is switched on.
func (o *options) has(protocol string) bool {
	for _, p := range strings.Split(o.protocols, ",") {
		if strings.TrimSpace(p) == protocol {
			return true
		}
	}
	return false
}

// echoSizes is --sizes, or the one of --size.
func (o *options) echoSizes() []int {
	if o.sizes == "" {
		return []int{o.size}
	}
	var sizes []int
	for _, s := range strings.Split(o.sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil || n < 0 {
			usage("--sizes: %q is no size", s)
		}
		sizes = append(sizes, n)
	}
	return sizes
}

func main() {
	o := parseOptions(os.Args[1:])
	switch o.cmd {
	case "serve":
		serve(o)
	case "dial":
		dial(o)
	case "record":
		record(o)
	}
}
