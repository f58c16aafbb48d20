package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// Standard output carries nothing but events. One lock and one write a line keep lines whole
// whatever goroutine they come from, and os.Stdout is unbuffered, so a reader sees each at once.
var outMu sync.Mutex

// emit prints one event; kv is name, value, name, value, … and keeps its order, so a line reads
// the same each time.
func emit(kind string, kv ...any) {
	var b strings.Builder
	b.WriteString(`{"event":`)
	writeJSON(&b, kind)
	for i := 0; i+1 < len(kv); i += 2 {
		b.WriteByte(',')
		writeJSON(&b, fmt.Sprint(kv[i]))
		b.WriteByte(':')
		writeJSON(&b, kv[i+1])
	}
	b.WriteString("}\n")
	outMu.Lock()
	defer outMu.Unlock()
	io.WriteString(os.Stdout, b.String())
}

func writeJSON(b *strings.Builder, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		raw, _ = json.Marshal(fmt.Sprint(v))
	}
	b.Write(raw)
}

// usage is a mistake of whoever started us: exit code 2.
func usage(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(2)
}

// failed ends the program after a job that did not work out: exit code 1.
func failed(reason string, kv ...any) {
	emit("failed", append([]any{"reason", reason}, kv...)...)
	exit(1)
}

// stdinClosed is closed when standard input ends, so that a test that dies takes us along.
func stdinClosed() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(done)
	}()
	return done
}

var (
	exitMu    sync.Mutex
	exitTasks []func()
)

// atExit remembers a clean-up for the end of the program.
func atExit(task func()) {
	exitMu.Lock()
	defer exitMu.Unlock()
	exitTasks = append(exitTasks, task)
}

// leave ends the program after a job that worked.
func leave() { exit(0) }

// exit keeps the lock: whoever else wants to end the program meanwhile has come too late.
func exit(code int) {
	exitMu.Lock()
	for _, task := range exitTasks {
		task()
	}
	os.Exit(code)
}
