//! A ledger below another, alone and with many takers.

use super::*;
use std::time::Duration;
use tokio::time::timeout;

#[test]
fn caps_hold_here_and_above_and_a_refusal_takes_nothing() {
    let node = Ledger::new(100);
    let (a, b) = (node.child(80), node.child(80));
    assert!(a.try_take(60));
    assert!(!a.try_take(21), "its own cap");
    assert!(!b.try_take(41), "the node's cap, though it is empty itself");
    assert_eq!((a.held(), b.held(), node.held()), (60, 0, 60));
    assert!(b.try_take(40));
    assert_eq!((a.held(), b.held(), node.held()), (60, 40, 100));
    a.give(60);
    b.give(40);
    assert_eq!((a.held(), b.held(), node.held()), (0, 0, 0));
}

#[test]
fn one_message_fits_into_an_empty_ledger_and_nothing_overflows() {
    let ledger = Ledger::new(10);
    assert!(ledger.try_take(1000));
    assert!(!ledger.try_take(1));
    assert!(!ledger.try_take(usize::MAX));
    assert!(ledger.try_take(0), "nothing always fits");
    ledger.give(1000);
    assert!(ledger.try_take_to_send(1000));
    ledger.give(1000);
    assert_eq!(ledger.held(), 0);
}

#[test]
fn senders_leave_a_share_to_what_is_received() {
    let ledger = Ledger::new(100);
    assert!(ledger.try_take_to_send(75));
    assert!(!ledger.try_take_to_send(1));
    assert!(ledger.try_take(25));
    assert!(!ledger.try_take(1));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_goes_on_when_there_is_room_here_or_above() {
    let node = Ledger::new(100);
    let (a, b) = (node.child(100), node.child(100));
    assert!(a.try_take(75));
    // First the node is full, then its own ledger.
    assert!(timeout(Duration::from_secs(1), b.take(10)).await.is_err());
    assert_eq!((b.held(), node.held()), (0, 75), "who gives up holds nothing");
    let waits = tokio::spawn({
        let b = Arc::clone(&b);
        async move { b.take(10).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waits.is_finished());
    a.give(75);
    timeout(Duration::from_secs(1), waits).await.unwrap().unwrap();
    assert_eq!((a.held(), b.held(), node.held()), (0, 10, 10));
}

/// Takers of all sizes on several threads, some of whom give up: nobody waits for ever, nothing stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_of_takers_gets_everything_and_leaves_nothing() {
    let node = Ledger::new(1000);
    let peers: Vec<_> = (0..4).map(|_| node.child(400)).collect();
    let mut takers = tokio::task::JoinSet::new();
    for n in 0..64_usize {
        let ledger = Arc::clone(&peers[n % 4]);
        takers.spawn(async move {
            for round in 0..200 {
                let bytes = 1 + (n * 37 + round * 11) % 290;
                let patience = if n % 8 == 0 { Duration::ZERO } else { Duration::from_secs(60) };
                let took = timeout(patience, ledger.take(bytes)).await;
                assert!(took.is_ok() || n % 8 == 0, "a taker was forgotten");
                if took.is_ok() {
                    tokio::task::yield_now().await;
                    ledger.give(bytes);
                }
            }
        });
    }
    takers.join_all().await;
    assert_eq!((node.held(), peers.iter().map(|p| p.held()).sum::<usize>()), (0, 0));
}
