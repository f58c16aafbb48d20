package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	pb "github.com/hyperledger/fabric/protos/gossip"
)

// Many members in one process, as crates/fabric-gossip/tests/fifty.rs runs ours: how long until all know all, until all know all
// heights and until a block is everywhere, and what that cost.

const (
	crowdBlocks = 5
	crowdBytes  = 1000
	crowdStage  = 5 * time.Minute
)

// cost is processor time in milliseconds and resident memory in KiB, a node.
func cost(nodes int) (int64, int64) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		failed(err.Error())
	}
	millis := (used.Utime.Nano() + used.Stime.Nano()) / int64(time.Millisecond)
	status, _ := os.ReadFile("/proc/self/status")
	kib := int64(0)
	for line := range strings.Lines(string(status)) {
		if rest, is := strings.CutPrefix(line, "VmRSS:"); is {
			kib, _ = strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		}
	}
	return millis / int64(nodes), kib / int64(nodes)
}

func runCrowd(o *options) {
	if err := makeOrg(o.out, o.org, o.peers, false); err != nil {
		failed(err.Error())
	}
	begin := time.Now()
	type told struct {
		number uint64
		at     time.Time
	}
	stored := make(chan told, o.peers*crowdBlocks)
	members := []*member{}
	for n := range o.peers {
		of := *o
		of.key = filepath.Join(o.out, fmt.Sprintf("peer%d", n))
		m, endpoint, _ := newMember(&of)
		m.tells = func(_ string, kv ...any) { stored <- told{kv[3].(uint64), time.Now()} }
		m.receive()
		if n == 0 {
			o.bootstrap = list{endpoint}
		}
		members = append(members, m)
	}
	stage := func(name string, more ...any) {
		millis, kib := cost(o.peers)
		emit(name, append([]any{"nodes", o.peers, "seconds", time.Since(begin).Seconds(), "cpu_ms_a_node", millis, "kib_a_node", kib}, more...)...)
	}
	all := func(name string, count func(m *member) int) {
		for _, m := range members {
			for count(m) < o.peers-1 {
				if time.Since(begin) > crowdStage {
					failed(name + " took too long")
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
		stage(name)
	}
	all("membership", func(m *member) int { return len(m.gossip.Peers()) })
	all("state_info", func(m *member) int { return len(m.gossip.PeersOfChannel(m.channel)) })
	spreads := []float64{}
	for number := range uint64(crowdBlocks) {
		data := make([]byte, crowdBytes)
		if members[0].store(number+1, data) {
			members[0].tell(&pb.Payload{SeqNum: number + 1, Data: data})
		}
		first, last := time.Time{}, time.Time{}
		for range members {
			select {
			case one := <-stored:
				if first.IsZero() {
					first = one.at
				}
				last = one.at
			case <-time.After(crowdStage):
				failed("a block took too long")
			}
		}
		spreads = append(spreads, last.Sub(first).Seconds())
	}
	slices.Sort(spreads)
	stage("blocks", "median_seconds", spreads[len(spreads)/2], "worst_seconds", spreads[len(spreads)-1])
	leave()
}
