package main

import (
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
)

// castStore is one cast's file. A cast on its way in is named ID.part and loses the ending when it
// is whole; the cast's own name is a label and never becomes part of a path.
type castStore struct {
	f     *os.File
	path  string
	chunk int64
}

func newCastStore(dir string, h *castHeader) (*castStore, error) {
	path := filepath.Join(dir, h.id.String()+".part")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	return &castStore{f: f, path: path, chunk: int64(h.chunk)}, nil
}

func (s *castStore) write(i uint32, data []byte) error {
	_, err := s.f.WriteAt(data, int64(i)*s.chunk)
	return err
}

// read fills buf with chunk i.
func (s *castStore) read(i uint32, buf []byte) error {
	_, err := io.ReadFull(io.NewSectionReader(s.f, int64(i)*s.chunk, int64(len(buf))), buf)
	return err
}

func (s *castStore) sum(size uint64) (sum [32]byte, err error) {
	h := sha256.New()
	if _, err = io.Copy(h, io.NewSectionReader(s.f, 0, int64(size))); err == nil {
		sum = [32]byte(h.Sum(nil))
	}
	return sum, err
}

func (s *castStore) finish(dir string, h *castHeader) error {
	path := filepath.Join(dir, h.id.String())
	if err := os.Rename(s.path, path); err != nil {
		return err
	}
	s.path = path
	return nil
}

// scanFile makes the header, the pages and the whole-file hash of a file we are the source of.
func scanFile(path string, chunk int) (*castHeader, [][]byte, *castStore, [32]byte, error) {
	var none [32]byte
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, nil, none, err
	}
	var (
		whole  = sha256.New()
		buf    = make([]byte, chunk)
		pages  [][]byte
		hashes [][32]byte
		size   uint64
		chunks int
	)
	for {
		n, err := io.ReadFull(f, buf)
		if n > 0 {
			if chunks%castPage == 0 {
				pages = append(pages, nil)
			}
			sum := sha256.Sum256(buf[:n])
			last := len(pages) - 1
			pages[last] = append(pages[last], sum[:]...)
			whole.Write(buf[:n])
			size += uint64(n)
			chunks++
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return nil, nil, nil, none, err
		}
	}
	for _, p := range pages {
		hashes = append(hashes, sha256.Sum256(p))
	}
	name := filepath.Base(path)
	if !nameAllowed(name) {
		name = ""
	}
	h, err := newCastHeader(size, uint32(chunk), name, hashes)
	if err != nil {
		return nil, nil, nil, none, err
	}
	return h, pages, &castStore{f: f, path: path, chunk: int64(chunk)}, [32]byte(whole.Sum(nil)), nil
}
