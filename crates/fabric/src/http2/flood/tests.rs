use super::*;
use std::time::Duration;

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, 0, 0, 0, 0, 0], payload].concat()
}

#[tokio::test(start_paused = true)]
async fn pings_spend_the_budget_and_time_gives_it_back() {
    let (mut walk, mut budget) = (Walk::new(true), Budget::new(Instant::now()));
    assert!(walk.pass(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &mut budget));
    let ping = frame(6, &[0; 8]);
    for n in 0..BURST {
        assert!(walk.pass(&ping, &mut budget), "ping {n}");
    }
    assert!(!walk.pass(&ping, &mut budget));
    tokio::time::advance(Duration::from_secs(1)).await;
    budget.refill(Instant::now());
    let more = (0..2 * PER_SECOND).take_while(|_| walk.pass(&ping, &mut budget)).count();
    assert_eq!(more as u64, PER_SECOND);
}

/// However frames are cut into reads, the count is the same.
#[tokio::test(start_paused = true)]
async fn every_cut_counts_alike() {
    let mut bytes = Vec::new();
    for (kind, payload) in
        [(4, vec![0; 6]), (0, vec![7; 300]), (1, vec![1; 40]), (8, vec![0; 4]), (0, vec![])]
    {
        bytes.extend(frame(kind, &payload));
    }
    for step in 1..=bytes.len() {
        let (mut walk, mut budget) = (Walk::new(false), Budget::new(Instant::now()));
        budget.left = 100_000;
        assert!(bytes.chunks(step).all(|part| walk.pass(part, &mut budget)));
        assert_eq!(budget.left, 100_000 - 3_000 + 300_000 / EARNS, "step {step}");
        assert_eq!((walk.skip, walk.filled), (0, 0));
    }
}

/// Answers to a flood of pings are small: they do not pay for it.
#[tokio::test(start_paused = true)]
async fn pongs_do_not_pay_for_pings() {
    let (mut walk, mut budget) = (Walk::new(false), Budget::new(Instant::now()));
    let ping = frame(6, &[0; 8]);
    let held = (0..100_000).take_while(|_| {
        budget.earn(17_000 / EARNS);
        walk.pass(&ping, &mut budget)
    });
    assert!((held.count() as u64) < 2 * BURST);
}
