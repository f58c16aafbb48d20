package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// source is a file of n chunks of the smallest size, as its own node would announce it.
func source(t *testing.T, bytesLong int) (*castHeader, [][]byte, []byte) {
	t.Helper()
	data := make([]byte, bytesLong)
	for i := range data {
		data[i] = byte(i * 31 >> 3)
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	h, pages, store, sum, err := scanFile(path, castMinChunk)
	if err != nil {
		t.Fatal(err)
	}
	defer store.f.Close()
	if sum != sha256.Sum256(data) {
		t.Fatal("whole-file hash is wrong")
	}
	return h, pages, data
}

func testNode(t *testing.T) *castNode {
	t.Helper()
	return &castNode{dir: t.TempDir()}
}

func testPeer(n *castNode) *castPeer {
	p := newCastPeer(n, func(int, []byte) error { return nil })
	n.attach(p)
	return p
}

// due collects what the node would send to p now.
func due(p *castPeer) (out []string, wants [][]byte) {
	for range 1000 {
		channel, msg, _ := p.next()
		if msg == nil {
			break
		}
		out = append(out, string(rune('0'+channel))+string(rune('0'+msg[0])))
		if channel == castRequest {
			wants = append(wants, msg)
		}
	}
	return out, wants
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func breach(t *testing.T, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Fatalf("want a breach with %q, got %v", part, err)
	}
}

func TestHeaderBounds(t *testing.T) {
	h, _, _ := source(t, 3*castMinChunk+1)
	if h.chunks != 4 || h.chunkLen(3) != 1 || h.chunkLen(2) != castMinChunk || h.pageLen(0) != 4*32 {
		t.Fatalf("wrong geometry: %+v", h)
	}
	change := func(at int, b ...byte) []byte {
		raw := bytes.Clone(h.raw)
		copy(raw[at:], b)
		return raw
	}
	for name, raw := range map[string][]byte{
		"cut":         h.raw[:len(h.raw)-1],
		"long":        append(bytes.Clone(h.raw), 0),
		"empty":       nil,
		"size":        change(0, 1),
		"chunk small": change(8, 0, 0, 3, 0xFF),
		"chunk large": change(8, 0, 16, 0, 1),
		"slash":       change(13, '/'),
		"control":     change(13, 7),
		"not utf-8":   change(13, 0xFF),
		"page count":  change(13+len(h.name), 0, 0),
		"more chunks": change(0, 0, 0, 0, 0, 1),
	} {
		if _, err := parseCastHeader(raw); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
	if _, err := parseCastHeader(h.raw); err != nil {
		t.Fatal(err)
	}
}

// TestReceive walks a cast of two pages through a node by hand, with the last page short.
func TestReceive(t *testing.T) {
	h, pages, data := source(t, castMinChunk*(castPage+5))
	n := testNode(t)
	p := testPeer(n)
	must(t, n.handle(p, castAnnounce, castMessage(0, h.id, uint8(3), h.chunks, h.raw)))
	must(t, n.handle(p, castAnnounce, castMessage(1, h.id, uint32(0), h.chunks)))
	sent, _ := due(p)
	if sent[0] != "00" || n.casts[0].hops != 4 {
		t.Fatalf("first comes our announce, one hop further: %v", sent)
	}
	for i, page := range pages {
		must(t, n.handle(p, castChunk, castMessage(0, h.id, uint16(i), page)))
	}
	got := 0
	for got < int(h.chunks) {
		_, wants := due(p)
		if len(wants) == 0 {
			t.Fatalf("nothing asked for with %d of %d chunks", got, h.chunks)
		}
		for _, w := range wants {
			first, count := binary.BigEndian.Uint32(w[33:]), uint32(binary.BigEndian.Uint16(w[37:]))
			if count > castMaxWant || len(p.asked) > castMaxWant {
				t.Fatal("too many chunks in flight")
			}
			for i := first; i < first+count; i++ {
				at := int(i) * castMinChunk
				must(t, n.handle(p, castChunk, castMessage(1, h.id, i, data[at:at+h.chunkLen(i)])))
				got++
			}
		}
	}
	for range 200 {
		n.mu.Lock()
		done := n.casts[0].finished
		n.mu.Unlock()
		if done {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	file, err := os.ReadFile(filepath.Join(n.dir, h.id.String()))
	if err != nil || !bytes.Equal(file, data) {
		t.Fatalf("stored file differs (%v)", err)
	}
	time.Sleep(2 * haveGather)
	if sent, _ := due(p); len(sent) == 0 || sent[len(sent)-1] != "02" {
		t.Fatalf("done was not told: %v", sent)
	}
}

func TestBreaches(t *testing.T) {
	h, pages, data := source(t, 8*castMinChunk)
	n := testNode(t)
	p := testPeer(n)
	say := func(channel int, kind byte, more ...any) error {
		return n.handle(p, channel, castMessage(kind, h.id, more...))
	}
	breach(t, n.handle(p, castAnnounce, []byte{0, 1}), "too short")
	breach(t, say(castAnnounce, 9), "unknown kind")
	breach(t, say(castAnnounce, 0, uint8(0), h.chunks+1, h.raw), "more chunks")
	breach(t, n.handle(p, castAnnounce, castMessage(0, castID{1}, uint8(0), uint32(0), h.raw)), "hash")
	breach(t, say(castChunk, 0, uint16(0), pages[0]), "nobody asked")
	must(t, say(castAnnounce, 0, uint8(0), h.chunks, h.raw))
	breach(t, say(castAnnounce, 1, uint32(7), uint32(2)), "out of bounds")
	breach(t, say(castAnnounce, 1, uint32(7), uint32(0)), "out of bounds")
	breach(t, say(castRequest, 1, uint32(0), uint16(0)), "no chunk")
	breach(t, say(castRequest, 1, uint32(0), uint16(65)), "too many")
	breach(t, say(castRequest, 1, uint32(7), uint16(2)), "out of bounds")
	breach(t, say(castRequest, 0, uint16(1)), "out of bounds")
	breach(t, say(castChunk, 1, uint32(0), data[:castMinChunk]), "nobody asked")
	breach(t, say(castChunk, 2, uint8(1), uint32(0)), "nobody asked")
	must(t, say(castAnnounce, 1, uint32(0), h.chunks))
	due(p)
	wrong := bytes.Clone(pages[0])
	wrong[5] ^= 1
	breach(t, say(castChunk, 0, uint16(0), wrong), "differs")
	delete(p.asked, askKey{n.casts[0], true, 0})
	due(p)
	must(t, say(castChunk, 0, uint16(0), pages[0]))
	due(p)
	bad := bytes.Clone(data[:castMinChunk])
	bad[0] ^= 1
	breach(t, say(castChunk, 1, uint32(0), bad), "differs")
	if n.casts[0].held.count != 0 {
		t.Fatal("a wrong chunk was kept")
	}
	var err error
	for range castMaxUploads + 1 {
		if err = say(castRequest, 1, uint32(0), uint16(1)); err != nil {
			break
		}
	}
	breach(t, err, "too many chunks asked")
}

// TestAskAnother sees a chunk asked of a second peer after missing, after the loss of the first,
// and after too long a wait, when a late answer is still no breach.
func TestAskAnother(t *testing.T) {
	h, pages, data := source(t, 3*castMinChunk)
	n := testNode(t)
	a, b := testPeer(n), testPeer(n)
	for _, p := range []*castPeer{a, b} {
		must(t, n.handle(p, castAnnounce, castMessage(0, h.id, uint8(0), h.chunks, h.raw)))
		must(t, n.handle(p, castAnnounce, castMessage(1, h.id, uint32(0), h.chunks)))
	}
	due(a)
	must(t, n.handle(a, castChunk, castMessage(0, h.id, uint16(0), pages[0])))
	due(a)
	if _, wants := due(b); len(wants) != 0 || len(a.asked) != 3 {
		t.Fatal("each chunk is asked of one peer at a time")
	}
	must(t, n.handle(a, castChunk, castMessage(2, h.id, uint8(1), uint32(1))))
	if _, wants := due(b); len(wants) != 1 || wants[0][36] != 1 {
		t.Fatal("a missing chunk goes to the other peer")
	}
	c := n.casts[0]
	key := askKey{c, false, 0}
	delete(c.asked, key) // as expire does
	due(b)
	if c.asked[key].of != b {
		t.Fatal("an overdue chunk goes to the other peer")
	}
	must(t, n.handle(a, castChunk, castMessage(1, h.id, uint32(0), data[:castMinChunk])))
	must(t, n.handle(b, castChunk, castMessage(1, h.id, uint32(0), data[:castMinChunk])))
	n.detach(a)
	if sent, _ := due(a); len(sent) != 0 {
		t.Fatal("nothing is due to a lost peer")
	}
	due(b)
	if c.asked[askKey{c, false, 2}].of != b {
		t.Fatal("what a lost peer was asked for goes to the other")
	}
}
