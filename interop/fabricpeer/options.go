package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// options is the command line of every peer here, plus what only Fabric needs. A flag this wire has
// no use for is accepted and ignored, so one driver can pass the same line to all.
type options struct {
	cmd, url string

	key, org, listen, log  string
	trust, dials           list
	tls12, mspCheck, split bool

	do, payload, expectID, sizes string
	size, count, inFlight        int
	parallel, peers              int
	bytes                        int64
	seconds                      float64
	timeout                      time.Duration
	out                          string

	channel, external, blocksFrom string
	bootstrap                     list
	election                      bool
	grace                         time.Duration

	state                               bool
	stateInterval, pullRetry, reconcile time.Duration
	collections                         list
	privateFrom                         string
}

type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

func parseOptions(args []string) *options {
	const help = "usage: serve | gossip | dial fabric://HOST:PORT --do JOB | record --out DIR | keygen --out DIR | crowd --out DIR | msp-check --key DIR   (-h after a command lists its flags)"
	if len(args) == 0 {
		usage(help)
	}
	o := &options{cmd: strings.TrimLeft(args[0], "-")}
	args = args[1:]
	// The URL stands before the flags, where package flag would stop reading.
	if o.cmd == "dial" {
		if len(args) == 0 || strings.HasPrefix(args[0], "-") {
			usage("dial needs a URL right after it")
		}
		o.url, args = args[0], args[1:]
	}
	f := flag.NewFlagSet(o.cmd, flag.ExitOnError) // exits with 2, as the contract asks
	f.StringVar(&o.key, "key", "", "peer folder with msp/ and tls/")
	f.StringVar(&o.org, "org", "Org1MSP", "MSP id of the peer folder")
	f.Var(&o.trust, "trust", "another organisation, as MSPID=FOLDER where FOLDER is an msp folder (repeatable)")
	f.BoolVar(&o.tls12, "tls12", false, "TLS 1.2 only; a server then uses Fabric's own server credentials")
	f.BoolVar(&o.mspCheck, "msp-check", false, "print what Fabric's MSP code makes of the peer folder first")
	f.StringVar(&o.log, "log", "error", "Fabric's logging specification (standard error)")
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "address to listen on")
	f.Var(&o.dials, "dial", "peer to keep connected to (repeatable)")
	f.StringVar(&o.do, "do", "connect", "echo, bulk, idle, connect, handshakes or ping")
	f.IntVar(&o.size, "size", 1024, "payload bytes of a message")
	f.StringVar(&o.sizes, "sizes", "", "echo: several sizes, comma between, in one session")
	f.IntVar(&o.count, "count", 100, "messages, handshakes or pings")
	f.IntVar(&o.inFlight, "in-flight", 1, "echo requests under way at once")
	f.Int64Var(&o.bytes, "bytes", 64<<20, "bulk bytes")
	f.StringVar(&o.payload, "payload", "random", "bulk payload: random or zeros")
	f.IntVar(&o.parallel, "parallel", 1, "handshakes under way at once")
	f.Float64Var(&o.seconds, "seconds", 5, "how long idle stays")
	f.StringVar(&o.expectID, "expect-id", "", "PKI-ID to insist on, in hex")
	f.DurationVar(&o.timeout, "timeout", 2*time.Minute, "limit for a whole dial job")
	f.StringVar(&o.out, "out", "", "record, keygen, crowd: folder to write to")
	f.StringVar(&o.channel, "channel", "mychannel", "gossip: channel to join")
	f.Var(&o.bootstrap, "bootstrap", "gossip: peer to connect to first, as HOST:PORT (repeatable)")
	f.StringVar(&o.external, "external", "", "gossip: endpoint for other organisations, same or HOST:PORT")
	f.StringVar(&o.blocksFrom, "blocks-from", "", "gossip: folder with 1.block, 2.block … to gossip as they appear")
	f.BoolVar(&o.election, "election", false, "gossip: elect a leader, who alone reads blocks")
	f.DurationVar(&o.grace, "election-grace", 15*time.Second, "gossip: how long the membership may take to become stable")
	f.BoolVar(&o.state, "state", false, "gossip: Fabric's own state transfer over a ledger in memory")
	f.DurationVar(&o.stateInterval, "state-interval", 10*time.Second, "gossip: how often state transfer compares heights")
	f.Var(&o.collections, "collection", "gossip: private collections, as CHANNEL/CHAINCODE=FILE (repeatable; needs --state)")
	f.StringVar(&o.privateFrom, "private-from", "", "gossip: folder with TXID.private files to push to their collections' members")
	f.DurationVar(&o.pullRetry, "pull-retry", time.Minute, "gossip: how long private data is pulled at commit")
	f.DurationVar(&o.reconcile, "reconcile", time.Minute, "gossip: how often missing private data is asked for again")
	f.IntVar(&o.peers, "peers", 2, "keygen, crowd: how many peers")
	f.BoolVar(&o.split, "client-cert", false, "keygen: a TLS certificate of its own for dialling")
	for _, unused := range []string{"network", "name", "protocols", "cast-dir", "cast", "cast-chunk", "max-peers", "reason", "flush-throttle", "rates"} {
		f.String(unused, "", "not used on this wire")
	}
	f.Parse(args)
	if f.NArg() > 0 {
		usage("do not know what to do with %q", f.Arg(0))
	}
	if err := o.check(); err != nil {
		usage("%v", err)
	}
	return o
}

func (o *options) check() error {
	needsKey := o.cmd == "serve" || o.cmd == "gossip" || o.cmd == "dial" || o.cmd == "msp-check"
	switch {
	case !needsKey && o.cmd != "record" && o.cmd != "keygen" && o.cmd != "crowd":
		return fmt.Errorf("%q is no command", o.cmd)
	case needsKey && o.key == "":
		return fmt.Errorf("%s needs --key DIR: an identity is worth nothing without the organisation that issued it", o.cmd)
	case !needsKey && o.out == "":
		return fmt.Errorf("%s needs --out DIR", o.cmd)
	case o.payload != "random" && o.payload != "zeros":
		return fmt.Errorf("--payload is random or zeros")
	case o.size < 0 || o.count < 1 || o.inFlight < 1 || o.parallel < 1 || o.bytes < 0 || o.seconds < 0:
		return fmt.Errorf("a number is out of range")
	case o.count > 10_000_000:
		return fmt.Errorf("--count is at most 10000000")
	case o.peers < 1 || o.peers > 1000:
		return fmt.Errorf("--peers is 1 to 1000")
	}
	_, err := parseSizes(o.sizes)
	return err
}

func parseSizes(text string) ([]int, error) {
	var sizes []int
	if text == "" {
		return nil, nil
	}
	for _, s := range strings.Split(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil || n < 0 {
			return nil, fmt.Errorf("--sizes: %q is no size", s)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}

// echoSizes is --sizes, or the one of --size.
func (o *options) echoSizes() []int {
	if sizes, err := parseSizes(o.sizes); err == nil && len(sizes) > 0 {
		return sizes
	}
	return []int{o.size}
}

func main() {
	o := parseOptions(os.Args[1:])
	logTo(o.log)
	switch o.cmd {
	case "serve":
		serve(o)
	case "gossip":
		runGossip(o)
	case "dial":
		dial(o)
	case "record":
		record(o)
	case "keygen":
		keygen(o)
	case "crowd":
		runCrowd(o)
	case "msp-check":
		mspCheck(o)
	}
}
