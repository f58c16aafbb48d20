package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// benchWire is what a wire lends to the measuring jobs. Each call returns once the wire has taken
// the message, and the payload may be reused after it.
type benchWire struct {
	echo    func(payload []byte) error
	data    func(payload []byte) error
	start   func() error               // before the first data message
	request func() error               // asks for the report
	report  <-chan benchReport         // answers to request
	lost    <-chan error               // the session ended
	onEcho  func(handler func([]byte)) // sets who takes echo replies
}

// benchReport is what the far end counted.
type benchReport struct{ bytes, msgs, ns uint64 }

// benchCount is the counting side: nanoseconds run from the first counted message.
type benchCount struct {
	bytes, msgs uint64
	first       time.Time
}

func (c *benchCount) add(n int) {
	if c.msgs == 0 {
		c.first = time.Now()
	}
	c.msgs++
	c.bytes += uint64(n)
}

// take returns the report and starts over.
func (c *benchCount) take() benchReport {
	r := benchReport{bytes: c.bytes, msgs: c.msgs}
	if c.msgs > 0 {
		r.ns = uint64(time.Since(c.first))
	}
	*c = benchCount{}
	return r
}

// echoRun is one series of echoes. Replies come in order on every wire here, so the sequence
// number stamped on each message tells which one is due, and a lost or doubled one shows.
type echoRun struct {
	want    []byte
	started []time.Time
	took    []time.Duration
	slots   chan struct{}
	done    chan error
	failed  atomic.Bool
}

func stamp(b []byte, seq int) {
	if len(b) >= 8 {
		binary.BigEndian.PutUint64(b, uint64(seq))
	}
}

func (r *echoRun) reply(got []byte) {
	i := len(r.took)
	if i == cap(r.took) || r.failed.Load() {
		return
	}
	stamp(r.want, i)
	if !bytes.Equal(got, r.want) {
		r.fail(fmt.Errorf("reply %d differs from what was sent (%d bytes for %d)", i, len(got), len(r.want)))
		return
	}
	r.took = append(r.took, time.Since(r.started[i]))
	<-r.slots
	if len(r.took) == cap(r.took) {
		r.done <- nil
	}
}

func (r *echoRun) fail(err error) {
	if r.failed.CompareAndSwap(false, true) {
		r.done <- err
	}
}

func payload(size int, kind string) []byte {
	b := make([]byte, size)
	if kind == "random" {
		rand.New(rand.NewSource(int64(size) + 1)).Read(b)
	}
	return b
}

// runEcho sends count messages with at most inFlight unanswered and prints the result line.
func runEcho(w *benchWire, size, count, inFlight int) error {
	send := payload(size, "random")
	r := &echoRun{
		want:    bytes.Clone(send),
		started: make([]time.Time, count),
		took:    make([]time.Duration, 0, count),
		slots:   make(chan struct{}, inFlight),
		done:    make(chan error, 2),
	}
	w.onEcho(r.reply)
	defer w.onEcho(nil)
	begin := time.Now()
	go func() {
		for i := 0; i < count && !r.failed.Load(); i++ {
			r.slots <- struct{}{}
			stamp(send, i)
			r.started[i] = time.Now()
			if err := w.echo(send); err != nil {
				r.fail(err)
				return
			}
		}
	}()
	select {
	case err := <-r.done:
		if err != nil {
			return err
		}
	case err := <-w.lost:
		return lostError(err)
	}
	s := time.Since(begin).Seconds()
	sort.Slice(r.took, func(i, j int) bool { return r.took[i] < r.took[j] })
	us := func(q float64) float64 {
		return float64(r.took[int(q*float64(len(r.took)-1))].Nanoseconds()) / 1e3
	}
	emit("echo", "size", size, "count", count, "ok", true, "seconds", s, "rate", float64(count)/s,
		"p50_us", us(0.5), "p99_us", us(0.99))
	return nil
}

// runUrgent sends small echoes at fixed times while a flow of large messages keeps its channel full. A time is from the
// moment an echo is due, so that one that could not even be sent counts, too.
func runUrgent(w *benchWire, size, count, beside int, every time.Duration) error {
	small, flow := payload(size, "random"), payload(beside, "random")
	// An echo says when its request came.
	if len(small) >= len(stampMe)+16 {
		copy(small, stampMe)
		clear(small[len(stampMe) : len(stampMe)+16])
	}
	want := bytes.Clone(small)
	got := make(chan error, 1)
	var came atomic.Int64
	seq := 0
	w.onEcho(func(b []byte) {
		number(want, seq)
		seq++
		came.Store(0)
		if at := stampIn(b); at != nil {
			came.Store(int64(binary.BigEndian.Uint64(at)))
			b = bytes.Clone(b)
			clear(stampIn(b))
		}
		if !bytes.Equal(b, want) {
			got <- fmt.Errorf("reply %d differs from what was sent", seq-1)
			return
		}
		got <- nil
	})
	defer w.onEcho(nil)
	if err := w.start(); err != nil {
		return err
	}
	stop, failed := make(chan struct{}), make(chan error, 1)
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := w.data(flow); err != nil {
				failed <- err
				return
			}
		}
	}()
	took, oneWay := make([]time.Duration, 0, count), make([]time.Duration, 0, count)
	due := time.Now().Add(300 * time.Millisecond) // the flow has filled its channel by then
	for i := range count {
		time.Sleep(time.Until(due))
		number(small, i)
		if err := w.echo(small); err != nil {
			return err
		}
		select {
		case err := <-got:
			if err != nil {
				return err
			}
		case err := <-failed:
			return err
		case err := <-w.lost:
			return lostError(err)
		}
		took = append(took, time.Since(due))
		if at := came.Load(); at > 0 {
			oneWay = append(oneWay, time.Unix(0, at).Sub(due.Round(0)))
		}
		due = due.Add(every)
		if now := time.Now(); due.Before(now) {
			due = now
		}
	}
	us := func(all []time.Duration, q float64) float64 {
		slices.Sort(all)
		return float64(all[int(q*float64(len(all)-1))].Nanoseconds()) / 1e3
	}
	line := []any{"size", size, "count", count, "beside", beside, "p50_us", us(took, 0.5), "p99_us", us(took, 0.99)}
	if len(oneWay) > 0 {
		line = append(line, "one_way_p50_us", us(oneWay, 0.5), "one_way_p99_us", us(oneWay, 0.99))
	}
	emit("urgent", line...)
	return nil
}

// stampMe begins a request whose echo says when it came: behind it, eight zeros become nanoseconds since 1970.
const stampMe = "stamp me"

// stampIn is where that stands; nil in any other payload.
func stampIn(b []byte) []byte {
	if len(b) < len(stampMe)+8 || string(b[:len(stampMe)]) != stampMe {
		return nil
	}
	return b[len(stampMe) : len(stampMe)+8]
}

// number tells messages apart, behind a stamp.
func number(b []byte, seq int) {
	if len(b) >= len(stampMe)+16 {
		binary.BigEndian.PutUint64(b[len(stampMe)+8:], uint64(seq))
	}
}

// stamped is the echo of a payload that asks when it came; nil for any other, which is echoed as it is.
func stamped(b []byte) []byte {
	if stampIn(b) == nil {
		return nil
	}
	b = bytes.Clone(b)
	binary.BigEndian.PutUint64(stampIn(b), uint64(time.Now().UnixNano()))
	return b
}

// runBulk sends total bytes one way and stops the clock when the report is back: only then is it
// sure that the far end has read everything.
func runBulk(w *benchWire, total int64, size int, kind string) error {
	if size == 0 {
		return errors.New("bulk needs a --size above 0")
	}
	msg := payload(size, kind)
	begin := time.Now()
	if err := w.start(); err != nil {
		return err
	}
	var sent, msgs int64
	for sent < total {
		n := min(int64(size), total-sent)
		if err := w.data(msg[:n]); err != nil {
			return err
		}
		sent += n
		msgs++
	}
	if err := w.request(); err != nil {
		return err
	}
	select {
	case r := <-w.report:
		s := time.Since(begin).Seconds()
		emit("bulk", "sent_bytes", sent, "sent_msgs", msgs, "report_bytes", r.bytes, "report_msgs", r.msgs,
			"report_ns", r.ns, "seconds", s, "mb_per_s", float64(sent)/1e6/s)
		return nil
	case err := <-w.lost:
		return lostError(err)
	}
}

func lostError(err error) error {
	if err == nil {
		return errors.New("session ended")
	}
	return fmt.Errorf("session ended: %w", err)
}

// runHandshakes calls one(i) count times from parallel goroutines. Whatever one needs (keys) is
// made before the clock starts.
func runHandshakes(count, parallel int, one func(i int) error) error {
	var (
		next  atomic.Int64
		first error
		mu    sync.Mutex
		wg    sync.WaitGroup
	)
	begin := time.Now()
	for range min(parallel, count) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				i := int(next.Add(1)) - 1
				if i >= count {
					return
				}
				if err := one(i); err != nil {
					mu.Lock()
					if first == nil {
						first = fmt.Errorf("handshake %d: %w", i, err)
					}
					mu.Unlock()
					next.Store(int64(count))
					return
				}
			}
		}()
	}
	wg.Wait()
	if first != nil {
		return first
	}
	s := time.Since(begin).Seconds()
	emit("handshakes", "count", count, "seconds", s, "rate", float64(count)/s)
	return nil
}

// runBench does the jobs that look the same on every wire.
func runBench(o *options, w *benchWire) error {
	if o.do == "bulk" {
		return runBulk(w, o.bytes, o.size, o.payload)
	}
	for _, size := range o.echoSizes() {
		if err := runEcho(w, size, o.count, o.inFlight); err != nil {
			return fmt.Errorf("echo of %d bytes: %w", size, err)
		}
	}
	return nil
}
