package main

import (
	"math/bits"
	"slices"
	"time"
)

// castPeer is what we know of, and owe to, one peer. Its fields are guarded by the node's lock;
// its writer is the only one that sends, so a reader never waits for the network.
type castPeer struct {
	n        *castNode
	send     func(channel int, msg []byte) error
	wake     chan struct{}
	gone     chan struct{}
	casts    map[*cast]*peerCast
	told     map[*cast]*told
	asked    map[askKey]bool // unanswered, late ones too
	uploads  []upload
	detached bool
	haves    [][]byte  // gathered and ready to go
	haveAt   time.Time // when we last gathered
}

// peerCast is a cast the peer announced to us.
type peerCast struct{ has *bitset }

// told is how far the peer has heard of a cast from us.
type told struct {
	place int // in cast.order
	done  bool
}

// upload is something the peer asked for; c is nil when we do not know the cast.
type upload struct {
	id    castID
	c     *cast
	page  bool
	index uint32
}

const haveGather = 20 * time.Millisecond

func newCastPeer(n *castNode, send func(int, []byte) error) *castPeer {
	return &castPeer{n: n, send: send, wake: make(chan struct{}, 1), gone: make(chan struct{}),
		casts: map[*cast]*peerCast{}, told: map[*cast]*told{}, asked: map[askKey]bool{}}
}

func (p *castPeer) kick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *castPeer) know(c *cast) {
	if p.casts[c] == nil {
		p.casts[c] = &peerCast{has: newBitset(c.h.chunks)}
	}
}

// write sends whatever is due until the peer is gone or a send fails.
func (p *castPeer) write() error {
	for {
		channel, msg, wait := p.next()
		if msg != nil {
			if err := p.send(channel, msg); err != nil {
				return err
			}
			select {
			case <-p.gone:
				return nil
			default:
				continue
			}
		}
		var timer <-chan time.Time
		if wait > 0 {
			timer = time.After(wait)
		}
		select {
		case <-p.wake:
		case <-timer:
		case <-p.gone:
			return nil
		}
	}
}

// next picks the most urgent message: news of casts, our own requests, news of chunks, and only
// then the chunks asked of us, which can fill any link.
func (p *castPeer) next() (channel int, msg []byte, wait time.Duration) {
	p.n.mu.Lock()
	if p.detached {
		p.n.mu.Unlock()
		return 0, nil, 0
	}
	for _, c := range p.n.casts {
		if p.told[c] == nil {
			p.told[c] = &told{}
			msg = castMessage(0, c.h.id, c.hops, c.held.count, c.h.raw)
			p.n.mu.Unlock()
			return castAnnounce, msg, 0
		}
	}
	for _, c := range p.n.casts {
		if msg = p.want(c); msg != nil {
			p.n.mu.Unlock()
			return castRequest, msg, 0
		}
	}
	for _, c := range p.n.casts {
		t := p.told[c]
		if t.place < len(c.order) {
			if wait = haveGather - time.Since(p.haveAt); wait > 0 {
				break // gather a little; uploads may go meanwhile
			}
			p.gather(c, t)
		}
		if len(p.haves) > 0 {
			msg, p.haves = p.haves[0], p.haves[1:]
			p.n.mu.Unlock()
			return castAnnounce, msg, 0
		}
		if c.finished && !t.done {
			t.done = true
			msg = castMessage(2, c.h.id, c.sum[:])
			p.n.mu.Unlock()
			return castAnnounce, msg, 0
		}
	}
	if len(p.uploads) == 0 {
		p.n.mu.Unlock()
		return 0, nil, wait
	}
	u := p.uploads[0]
	p.uploads = p.uploads[1:]
	return castChunk, p.answer(u), 0
}

// gather turns the chunks this peer has not heard of into as few haves as cover them.
func (p *castPeer) gather(c *cast, t *told) {
	// A copy, since the order itself is every peer's.
	news := slices.Clone(c.order[t.place:])
	slices.Sort(news)
	t.place = len(c.order)
	p.haveAt = time.Now()
	for len(news) > 0 {
		first, count := news[0], uint32(1)
		for int(count) < len(news) && news[count] == first+count {
			count++
		}
		p.haves = append(p.haves, castMessage(1, c.h.id, first, count))
		news = news[count:]
	}
}

// answer reads what was asked for. It is called with the lock held and gives it up.
func (p *castPeer) answer(u upload) []byte {
	c := u.c
	var page []byte
	ok := c != nil
	if ok && u.page {
		page = c.pages[u.index]
		ok = page != nil
	} else if ok {
		ok = c.held.has(u.index)
	}
	p.n.mu.Unlock()
	if ok && u.page {
		return castMessage(0, u.id, uint16(u.index), page)
	}
	if ok {
		head := chunkHead(u.id, u.index)
		msg := make([]byte, len(head)+c.h.chunkLen(u.index))
		copy(msg, head)
		if c.store.read(u.index, msg[len(head):]) == nil {
			return msg
		}
	}
	what := uint8(1)
	if u.page {
		what = 0
	}
	return castMessage(2, u.id, what, u.index)
}

// want finds the next thing to ask this peer for: a run of chunks it has, we lack and nobody was
// asked for, or the page that covers such a chunk. Call with the lock held.
func (p *castPeer) want(c *cast) []byte {
	pc := p.casts[c]
	room := castMaxWant - len(p.asked)
	if pc == nil || room <= 0 || c.held.count == c.h.chunks {
		return nil
	}
	var first, count uint32
	for w, word := range pc.has.words {
		for left := word &^ c.held.words[w]; left != 0; left &= left - 1 {
			i := uint32(w*64 + bits.TrailingZeros64(left))
			key := askKey{c, false, i}
			if c.asked[key].of != nil || p.asked[key] {
				if count > 0 {
					return p.wantChunks(c, first, count)
				}
				continue
			}
			if count > 0 && (i != first+count || int(count) == room || c.pages[i/castPage] == nil) {
				return p.wantChunks(c, first, count)
			}
			if pageKey := (askKey{c, true, i / castPage}); c.pages[i/castPage] == nil {
				if c.asked[pageKey].of == nil && !p.asked[pageKey] {
					p.mark(pageKey)
					return castMessage(0, c.h.id, uint16(i/castPage))
				}
				continue
			}
			if count == 0 {
				first = i
			}
			count++
		}
	}
	if count > 0 {
		return p.wantChunks(c, first, count)
	}
	return nil
}

func (p *castPeer) wantChunks(c *cast, first, count uint32) []byte {
	count = min(count, uint32(castMaxWant-len(p.asked)))
	for i := range count {
		p.mark(askKey{c, false, first + i})
	}
	return castMessage(1, c.h.id, first, uint16(count))
}

func (p *castPeer) mark(key askKey) {
	p.asked[key] = true
	key.c.asked[key] = ask{of: p, at: time.Now()}
}
