//! When to ping and when to give up, with time given by hand.

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
