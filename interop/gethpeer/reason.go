package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/ethereum/go-ethereum/p2p"
)

// reasonCode finds the wire's number for a text the package gives a reason.
func reasonCode(text string) (int, bool) {
	for code := range 256 {
		name := p2p.DiscReason(code).Error()
		if name == text && !strings.HasPrefix(name, "unknown") {
			return code, true
		}
	}
	var code int
	if n, err := fmt.Sscanf(text, "unknown disconnect reason %d", &code); n == 1 && err == nil {
		return code, true
	}
	return 0, false
}

// refusal is a connection that ended before it became a peer. Server tells of these only in its
// log, so the log is where we listen.
type refusal struct {
	stage, reason, id string
	inbound           bool
	code              int // -1: none
}

func (r refusal) fields() []any {
	kv := []any{"reason", r.reason, "stage", r.stage}
	if r.id != "" {
		kv = append(kv, "id", r.id)
	}
	if r.code >= 0 {
		kv = append(kv, "code", r.code)
	}
	return kv
}

// refusalHook is a log handler that keeps quiet about all but failed connections.
type refusalHook struct {
	heard func(refusal)
	attrs []slog.Attr
}

func (h *refusalHook) Enabled(context.Context, slog.Level) bool { return true }
func (h *refusalHook) WithGroup(string) slog.Handler            { return h }

func (h *refusalHook) WithAttrs(attrs []slog.Attr) slog.Handler {
	all := append(append([]slog.Attr(nil), h.attrs...), attrs...)
	return &refusalHook{heard: h.heard, attrs: all}
}

func (h *refusalHook) Handle(_ context.Context, rec slog.Record) error {
	r := refusal{stage: rec.Message, code: -1}
	switch rec.Message {
	case "Rejected inbound connection":
		r.inbound = true
	case "Setting up connection failed", "Failed RLPx handshake", "Rejected peer", "Failed p2p handshake", "Dial error":
	case "Wrong devp2p handshake identity":
		r.reason, r.code = p2p.DiscUnexpectedIdentity.Error(), int(p2p.DiscUnexpectedIdentity)
	default:
		return nil
	}
	see := func(a slog.Attr) bool {
		switch a.Key {
		case "err":
			err, ok := a.Value.Any().(error)
			r.reason = fmt.Sprint(a.Value.Any())
			var d p2p.DiscReason
			if ok && errors.As(err, &d) {
				r.code = int(d)
			}
		case "id":
			r.id = fmt.Sprint(a.Value.Any())
		case "conn":
			r.inbound = strings.Contains(fmt.Sprint(a.Value.Any()), "inbound")
		}
		return true
	}
	for _, a := range h.attrs {
		see(a)
	}
	rec.Attrs(see)
	h.heard(r)
	return nil
}
