package main

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// castNode is our side of every cast. One lock guards all of it; hashing, disk and network happen
// outside the lock. What is owed to a peer is not queued but worked out when that peer's writer is
// free (see castpeer.go), so a slow peer costs no memory.
type castNode struct {
	mu     sync.Mutex
	dir    string
	casts  []*cast // in the order learnt, so that nothing depends on map order
	peers  []*castPeer
	warned bool
}

type cast struct {
	h        *castHeader
	hops     uint8
	store    *castStore
	pages    [][]byte // nil until known
	held     *bitset
	order    []uint32 // chunks in the order they came: each peer has its place in it
	asked    map[askKey]ask
	finished bool
	sum      [32]byte
}

// askKey names a page or a chunk of some cast that was asked for.
type askKey struct {
	c     *cast
	page  bool
	index uint32
}

type ask struct {
	of *castPeer
	at time.Time
}

const castPatience = 10 * time.Second

func newCastNode(o *options) *castNode {
	n := &castNode{dir: o.castDir}
	if n.dir != "" {
		if err := os.MkdirAll(n.dir, 0o755); err != nil {
			failed(err.Error())
		}
	}
	if o.castFile != "" {
		if err := n.startCast(o.castFile, o.castChunk); err != nil {
			failed(err.Error())
		}
	}
	go n.expire()
	return n
}

func (n *castNode) startCast(path string, chunk int) error {
	if chunk < castMinChunk || chunk > castMaxChunk {
		return fmt.Errorf("--cast-chunk is %d to %d", castMinChunk, castMaxChunk)
	}
	h, pages, store, sum, err := scanFile(path, chunk)
	if err != nil {
		return err
	}
	c := n.add(h, 0, store)
	c.pages, c.sum, c.finished = pages, sum, true
	for i := range h.chunks {
		c.held.set(i)
		c.order = append(c.order, i)
	}
	emit("cast_started", "id", h.id.String(), "sha256", fmt.Sprintf("%x", sum), "bytes", h.size, "chunks", h.chunks)
	return nil
}

func (n *castNode) add(h *castHeader, hops uint8, store *castStore) *cast {
	c := &cast{h: h, hops: hops, store: store, pages: make([][]byte, len(h.pages)),
		held: newBitset(h.chunks), asked: map[askKey]ask{}}
	n.casts = append(n.casts, c)
	return c
}

// newStore makes the file of a cast we learnt of, and at the first one a folder if none was named.
func (n *castNode) newStore(h *castHeader) (*castStore, error) {
	if n.dir == "" {
		dir, err := os.MkdirTemp("", "cast")
		if err != nil {
			return nil, err
		}
		n.dir = dir
		atExit(func() { os.RemoveAll(dir) })
	}
	return newCastStore(n.dir, h)
}

func (n *castNode) find(id castID) *cast {
	for _, c := range n.casts {
		if c.h.id == id {
			return c
		}
	}
	return nil
}

// kick lets every peer's writer look again at what it owes and what it could ask for.
func (n *castNode) kick() {
	for _, p := range n.peers {
		p.kick()
	}
}

func (n *castNode) attach(p *castPeer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.peers = append(n.peers, p)
}

// detach gives up what was asked of a peer that is gone: others may have it. The peer's writer may
// still be at work, so it is told as well that nothing more is due.
func (n *castNode) detach(p *castPeer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p.detached = true
	n.peers = slices.DeleteFunc(n.peers, func(q *castPeer) bool { return q == p })
	for key := range p.asked {
		if key.c.asked[key].of == p {
			delete(key.c.asked, key)
		}
	}
	n.kick()
}

// expire frees what nobody answered in time. The slow peer keeps it on its own list, so a late
// answer is still known as one that was asked for.
func (n *castNode) expire() {
	for range time.Tick(time.Second) {
		n.mu.Lock()
		for _, c := range n.casts {
			for key, a := range c.asked {
				if time.Since(a.at) > castPatience {
					delete(c.asked, key)
				}
			}
		}
		n.kick()
		n.mu.Unlock()
	}
}

// handle takes one message of a peer. An error is a breach of protocol and must end the session.
func (n *castNode) handle(p *castPeer, channel int, msg []byte) error {
	if len(msg) > castLimit[channel] {
		return fmt.Errorf("cast message of %d bytes on channel %d", len(msg), channel)
	}
	kind, id, rest, err := splitCastMessage(msg)
	if err != nil {
		return err
	}
	switch {
	case channel == castAnnounce && kind == 0:
		return n.onAnnounce(p, id, rest)
	case channel == castAnnounce && kind == 1:
		return n.onHave(p, id, rest)
	case channel == castAnnounce && kind == 2:
		return n.onDone(p, id, rest)
	case channel == castRequest && kind <= 1:
		return n.onWant(p, id, kind == 0, rest)
	case channel == castChunk && kind == 0:
		return n.onPage(p, id, rest)
	case channel == castChunk && kind == 1:
		return n.onChunk(p, id, rest)
	case channel == castChunk && kind == 2:
		return n.onMissing(p, id, rest)
	}
	return fmt.Errorf("cast message of unknown kind %d on channel %d", kind, channel)
}

func (n *castNode) onAnnounce(p *castPeer, id castID, rest []byte) error {
	if len(rest) < 5 {
		return errors.New("announce is too short")
	}
	hops, held, raw := rest[0], binary.BigEndian.Uint32(rest[1:]), rest[5:]
	if castIDOf(raw) != id {
		return errors.New("announced header does not hash to its id")
	}
	h, err := parseCastHeader(raw)
	if err != nil {
		return err
	}
	if held > h.chunks {
		return errors.New("announce holds more chunks than there are")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.find(id)
	if c == nil {
		if len(n.casts) >= castMaxCasts {
			if !n.warned {
				n.warned = true
				emit("cast_ignored", "id", id.String(), "reason", "too many casts")
			}
			return nil
		}
		store, err := n.newStore(h)
		if err != nil {
			emit("cast_ignored", "id", id.String(), "reason", err.Error())
			return nil
		}
		if hops < 255 {
			hops++
		}
		c = n.add(h, hops, store)
		if h.chunks == 0 {
			go n.finish(c)
		}
	}
	p.know(c)
	n.kick()
	return nil
}

func (n *castNode) onHave(p *castPeer, id castID, rest []byte) error {
	if len(rest) != 8 {
		return errors.New("have has a wrong length")
	}
	first, count := binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:])
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.find(id)
	if c == nil || p.casts[c] == nil {
		return nil // of a cast we ignored
	}
	if count == 0 || uint64(first)+uint64(count) > uint64(c.h.chunks) {
		return errors.New("have is out of bounds")
	}
	for i := range count {
		p.casts[c].has.set(first + i)
	}
	p.kick()
	return nil
}

func (n *castNode) onDone(p *castPeer, id castID, rest []byte) error {
	if len(rest) != 32 {
		return errors.New("done has a wrong length")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.find(id)
	if c == nil || p.casts[c] == nil {
		return nil
	}
	for i := range c.h.chunks {
		p.casts[c].has.set(i)
	}
	p.kick()
	return nil
}

func (n *castNode) onWant(p *castPeer, id castID, page bool, rest []byte) error {
	var first, count uint32
	switch {
	case page && len(rest) == 2:
		first, count = uint32(binary.BigEndian.Uint16(rest)), 1
	case !page && len(rest) == 6:
		first, count = binary.BigEndian.Uint32(rest), uint32(binary.BigEndian.Uint16(rest[4:]))
	default:
		return errors.New("want has a wrong length")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.find(id)
	switch {
	case count == 0 || count > castMaxWant:
		return errors.New("want asks for no chunk or too many")
	case c != nil && page && first >= uint32(len(c.h.pages)):
		return errors.New("wanted page is out of bounds")
	case c != nil && !page && uint64(first)+uint64(count) > uint64(c.h.chunks):
		return errors.New("wanted chunk is out of bounds")
	case len(p.uploads)+int(count) > castMaxUploads:
		return errors.New("too many chunks asked for at once")
	}
	for i := range count {
		p.uploads = append(p.uploads, upload{id: id, c: c, page: page, index: first + i})
	}
	p.kick()
	return nil
}

// answered checks that p was asked for this and takes it off the lists. Call with the lock held.
func (n *castNode) answered(p *castPeer, key askKey) error {
	if !p.asked[key] {
		return errors.New("an answer nobody asked for")
	}
	delete(p.asked, key)
	if key.c.asked[key].of == p {
		delete(key.c.asked, key)
	}
	return nil
}

func (n *castNode) onPage(p *castPeer, id castID, rest []byte) error {
	if len(rest) < 2 {
		return errors.New("page is too short")
	}
	index, hashes := int(binary.BigEndian.Uint16(rest)), rest[2:]
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.find(id)
	if c == nil || index >= len(c.h.pages) {
		return errors.New("a page nobody asked for")
	}
	if err := n.answered(p, askKey{c, true, uint32(index)}); err != nil {
		return err
	}
	if len(hashes) != c.h.pageLen(index) || sha256.Sum256(hashes) != c.h.pages[index] {
		return errors.New("page differs from its header")
	}
	if c.pages[index] == nil {
		c.pages[index] = slices.Clone(hashes)
	}
	n.kick()
	return nil
}

func (n *castNode) onChunk(p *castPeer, id castID, rest []byte) error {
	if len(rest) < 4 {
		return errors.New("chunk is too short")
	}
	index, data := binary.BigEndian.Uint32(rest), rest[4:]
	n.mu.Lock()
	c := n.find(id)
	if c == nil || index >= c.h.chunks {
		n.mu.Unlock()
		return errors.New("a chunk nobody asked for")
	}
	key := askKey{c, false, index}
	if !p.asked[key] {
		n.mu.Unlock()
		return errors.New("an answer nobody asked for")
	}
	want := c.pages[index/castPage][32*(index%castPage):][:32]
	known := c.held.has(index)
	n.mu.Unlock()
	// The chunk stays marked as asked of p while it is hashed and written, so nobody else is
	// asked for it meanwhile.
	if len(data) != c.h.chunkLen(index) || sha256.Sum256(data) != [32]byte(want) {
		return errors.New("chunk differs from its page")
	}
	var err error
	if !known {
		err = c.store.write(index, data)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answered(p, key)
	if err != nil {
		emit("cast_ignored", "id", id.String(), "reason", err.Error())
		return nil
	}
	if c.held.has(index) {
		return nil
	}
	c.held.set(index)
	c.order = append(c.order, index)
	if c.held.count == c.h.chunks {
		go n.finish(c)
	}
	n.kick()
	return nil
}

func (n *castNode) onMissing(p *castPeer, id castID, rest []byte) error {
	if len(rest) != 5 || rest[0] > 1 {
		return errors.New("missing has a wrong layout")
	}
	page, index := rest[0] == 0, binary.BigEndian.Uint32(rest[1:])
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.find(id)
	if c == nil {
		return errors.New("an answer nobody asked for")
	}
	if err := n.answered(p, askKey{c, page, index}); err != nil {
		return err
	}
	has := p.casts[c].has
	if !page {
		has.clear(index)
	} else {
		// Without the page none of its chunks can be checked: do not ask this peer for them.
		for i := index * castPage; i < min((index+1)*castPage, c.h.chunks); i++ {
			has.clear(i)
		}
	}
	n.kick()
	return nil
}

// finish hashes the whole file once every chunk is there.
func (n *castNode) finish(c *cast) {
	sum, err := c.store.sum(c.h.size)
	if err == nil {
		err = c.store.finish(n.dir, c.h)
	}
	if err != nil {
		emit("cast_failed", "id", c.h.id.String(), "reason", err.Error())
		return
	}
	n.mu.Lock()
	c.finished, c.sum = true, sum
	n.kick()
	n.mu.Unlock()
	emit("cast_done", "id", c.h.id.String(), "sha256", fmt.Sprintf("%x", sum), "bytes", c.h.size,
		"hops", c.hops, "file", c.store.path)
}
