//! When to ping and when to give up, with time given by hand; what ends a session and who is at fault.

use super::*;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn rules(ping: u64, pong: u64, idle: u64) -> Liveness {
    let some = |n| (n > 0).then_some(secs(n));
    Liveness { ping_every: some(ping), pong_within: some(pong), idle_limit: some(idle) }
}

/// Runs a watch for a while with a peer that is heard at these seconds; gives what it did and when.
fn run(rules: Liveness, heard: &[u64], limit: u64) -> Vec<(u64, Tick)> {
    let start = Instant::now();
    let mut watch = LivenessWatch::new(rules, start);
    let mut done = Vec::new();
    for _ in 0..1000 {
        let Some(at) = watch.wake.filter(|at| *at <= start + secs(limit)) else { return done };
        let last = heard.iter().map(|n| start + secs(*n)).filter(|t| *t <= at).max().unwrap_or(start);
        let tick = watch.tick(at, last);
        assert!(tick != Tick::Nothing || watch.wake > Some(at), "it would spin at {:?}", at - start);
        let dead = matches!(tick, Tick::Dead(_));
        if tick != Tick::Nothing {
            done.push(((at - start).as_secs(), tick));
        }
        if dead {
            return done;
        }
    }
    panic!("it never ends: {done:?}");
}

#[test]
fn without_rules_it_never_wakes() {
    assert_eq!(run(rules(0, 0, 0), &[], 1 << 30), []);
}

#[test]
fn a_silent_peer_is_pinged_and_given_up() {
    use Tick::{Dead, Ping};
    assert_eq!(run(rules(10, 3, 0), &[], 99), [(10, Ping), (13, Dead(Reason::PongTimeout))]);
    assert_eq!(run(rules(10, 0, 25), &[], 99), [(10, Ping), (20, Ping), (25, Dead(Reason::IdleTimeout))]);
    assert_eq!(
        run(rules(0, 3, 25), &[], 99),
        [(25, Dead(Reason::IdleTimeout))],
        "no ping, no pong to wait for"
    );
    // A pong may take longer than the next ping; it is the first unanswered ping that counts.
    let pings = [(10, Ping), (20, Ping), (30, Ping), (35, Dead(Reason::PongTimeout))];
    assert_eq!(run(rules(10, 25, 0), &[], 99), pings);
}

#[test]
fn whatever_is_heard_after_a_ping_answers_it() {
    use Tick::{Dead, Ping};
    let heard: Vec<u64> = (0..10).map(|n| n * 10 + 2).collect();
    let pings: Vec<_> = (1..=9).map(|n| (n * 10, Ping)).collect();
    assert_eq!(run(rules(10, 3, 11), &heard, 95), pings);
    let dead = [(10, Ping), (20, Ping), (23, Dead(Reason::PongTimeout))];
    assert_eq!(run(rules(10, 3, 0), &[11, 12, 13], 99), dead);
    assert_eq!(run(rules(10, 3, 0), &[10], 12), [(10, Ping)], "heard in the moment of the ping");
    assert_eq!(run(rules(10, 3, 0), &[9], 99), [(10, Ping), (13, Dead(Reason::PongTimeout))], "before it");
}

#[test]
fn only_who_is_not_at_fault_gets_what_was_queued() {
    for reason in [Reason::Requested, Reason::Quitting, Reason::TooManyPeers, Reason::AlreadyConnected] {
        assert!(!is_fault(&reason), "{reason}");
    }
    for reason in [Reason::Breach("x"), Reason::MemoryCap, Reason::IdleTimeout, Reason::LocalFault] {
        assert!(is_fault(&reason), "{reason}");
    }
}

#[tokio::test]
async fn what_the_end_of_a_protocol_means() {
    let done = |result| Ok(("p".to_owned(), result));
    assert!(judge(done(Ok(())), false).is_none(), "others still run");
    assert!(judge(done(Err(ProtocolError::Closed)), false).is_none());
    assert_eq!(judge(done(Ok(())), true).unwrap().reason, Reason::Quitting);
    let end = judge(done(Err(ProtocolError::Breach("rule"))), false).unwrap();
    assert_eq!(
        (end.reason, end.by, end.detail.as_deref()),
        (Reason::Breach("rule"), By::Us, Some("p: breach of protocol: rule"))
    );
    let gone = tokio::spawn(std::future::pending::<()>());
    gone.abort();
    let end = judge(Err(gone.await.unwrap_err()), false).unwrap();
    assert_eq!(end.reason, Reason::ProtocolError);
}

#[test]
fn who_broke_a_connection() {
    use std::io::{Error, ErrorKind};
    for (error, reason, by) in [
        (ErrorKind::ConnectionReset.into(), Reason::RemoteClosed, By::Peer),
        (ErrorKind::UnexpectedEof.into(), Reason::RemoteClosed, By::Peer),
        (ErrorKind::HostUnreachable.into(), Reason::NetworkError, By::Network),
        (Error::other(Fault::breach("rule", "said so")), Reason::Breach("rule"), By::Us),
        (Error::new(ErrorKind::ConnectionReset, Fault::breach("rule", "so")), Reason::Breach("rule"), By::Us),
    ] {
        let end = broken(&error);
        assert_eq!((end.reason, end.by), (reason, by), "{error}");
    }
}
