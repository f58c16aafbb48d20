package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The bytes of docs/cast.md, and nothing else: no state, no IO.

const (
	castAnnounce = 0 // channel numbers, which are also the devp2p message codes
	castRequest  = 1
	castChunk    = 2

	castPage       = 1024 // chunks a page covers
	castMaxPages   = 1024
	castMaxSize    = 1 << 40
	castMinChunk   = 1024
	castMaxChunk   = 1 << 20
	castMaxWant    = 64
	castMaxCasts   = 64
	castMaxUploads = 1024
)

// castLimit is the largest message of each channel.
var castLimit = [3]int{40_000, 1_024, 1_048_640}

type castID [32]byte

func (id castID) String() string { return hex.EncodeToString(id[:]) }

type castHeader struct {
	size   uint64
	chunk  uint32
	name   string
	pages  [][32]byte
	chunks uint32
	id     castID
	raw    []byte
}

func castIDOf(raw []byte) castID {
	h := sha256.New()
	h.Write([]byte("switchboard cast 1"))
	h.Write(raw)
	return castID(h.Sum(nil))
}

func nameAllowed(name string) bool {
	return len(name) <= 255 && utf8.ValidString(name) && !strings.ContainsAny(name, `/\`) &&
		!strings.ContainsFunc(name, unicode.IsControl)
}

func newCastHeader(size uint64, chunk uint32, name string, pages [][32]byte) (*castHeader, error) {
	raw := binary.BigEndian.AppendUint64(nil, size)
	raw = binary.BigEndian.AppendUint32(raw, chunk)
	if len(name) > 255 {
		return nil, errors.New("cast name is longer than 255 bytes")
	}
	raw = append(raw, byte(len(name)))
	raw = append(raw, name...)
	if len(pages) > castMaxPages {
		return nil, errors.New("file has too many chunks of that size")
	}
	raw = binary.BigEndian.AppendUint16(raw, uint16(len(pages)))
	for _, p := range pages {
		raw = append(raw, p[:]...)
	}
	return parseCastHeader(raw)
}

func parseCastHeader(raw []byte) (*castHeader, error) {
	if len(raw) < 15 {
		return nil, errors.New("cast header is too short")
	}
	h := &castHeader{size: binary.BigEndian.Uint64(raw), chunk: binary.BigEndian.Uint32(raw[8:])}
	n := int(raw[12])
	if len(raw) < 15+n {
		return nil, errors.New("cast header is too short for its name")
	}
	h.name = string(raw[13 : 13+n])
	pages := int(binary.BigEndian.Uint16(raw[13+n:]))
	switch {
	case h.size > castMaxSize:
		return nil, fmt.Errorf("cast of %d bytes is too large", h.size)
	case h.chunk < castMinChunk || h.chunk > castMaxChunk:
		return nil, fmt.Errorf("chunk size %d is out of bounds", h.chunk)
	case !nameAllowed(h.name):
		return nil, errors.New("cast name is not allowed")
	case pages > castMaxPages || len(raw) != 15+n+32*pages:
		return nil, errors.New("cast header does not fit its page count")
	}
	chunks := (h.size + uint64(h.chunk) - 1) / uint64(h.chunk)
	if (chunks+castPage-1)/castPage != uint64(pages) {
		return nil, errors.New("page count does not agree with size and chunk")
	}
	h.chunks = uint32(chunks)
	for i := range pages {
		h.pages = append(h.pages, [32]byte(raw[15+n+32*i:]))
	}
	h.raw = append([]byte(nil), raw...)
	h.id = castIDOf(raw)
	return h, nil
}

// chunkLen is how long chunk i must be.
func (h *castHeader) chunkLen(i uint32) int {
	if left := h.size - uint64(i)*uint64(h.chunk); left < uint64(h.chunk) {
		return int(left)
	}
	return int(h.chunk)
}

// pageLen is how many bytes of hashes page p has.
func (h *castHeader) pageLen(p int) int {
	return 32 * int(min(h.chunks-uint32(p)*castPage, castPage))
}

func castMessage(kind byte, id castID, more ...any) []byte {
	b := append([]byte{kind}, id[:]...)
	for _, m := range more {
		switch v := m.(type) {
		case uint8:
			b = append(b, v)
		case uint16:
			b = binary.BigEndian.AppendUint16(b, v)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, v)
		case []byte:
			b = append(b, v...)
		}
	}
	return b
}

// splitCastMessage gives kind, id and the rest; every message starts alike.
func splitCastMessage(b []byte) (kind byte, id castID, rest []byte, err error) {
	if len(b) < 33 {
		return 0, id, nil, fmt.Errorf("cast message of %d bytes is too short", len(b))
	}
	return b[0], castID(b[1:33]), b[33:], nil
}

// chunkHead is the front of a chunk message, so that the chunk can be read right behind it.
func chunkHead(id castID, index uint32) []byte { return castMessage(1, id, index) }

// bitset has a fixed length and knows how many bits are set.
type bitset struct {
	words []uint64
	count uint32
}

func newBitset(n uint32) *bitset { return &bitset{words: make([]uint64, (n+63)/64)} }

func (b *bitset) has(i uint32) bool { return b.words[i/64]&(1<<(i%64)) != 0 }

func (b *bitset) set(i uint32) {
	if !b.has(i) {
		b.words[i/64] |= 1 << (i % 64)
		b.count++
	}
}

func (b *bitset) clear(i uint32) {
	if b.has(i) {
		b.words[i/64] &^= 1 << (i % 64)
		b.count--
	}
}
