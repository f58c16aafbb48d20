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

#[test]
fn under_pressure_whoever_holds_most_is_told_and_the_others_go_on() {
    let node = Ledger::new(800);
    let peers: Vec<_> = (0..4).map(|_| node.child(800)).collect();
    let told = || peers.iter().map(|p| p.told.load(Ordering::Relaxed)).collect::<Vec<_>>();
    assert!(peers[0].try_take(100) && peers[1].try_take(400) && peers[2].try_take(200));
    assert_eq!(told(), [false; 4], "seven eighths are free of pressure");
    assert!(peers[3].try_take(10), "who holds little goes on");
    assert_eq!(told(), [false, true, false, false]);
    assert!(peers[0].try_take(10) && !peers[1].try_take(1), "who was told gets nothing more");
    assert_eq!(told(), [false, true, false, false], "one at a time");
    peers[1].give(400);
    assert!(peers[3].try_take(300));
    assert_eq!(told(), [false, true, false, false], "the pressure is gone");
    let before = (peers[3].held(), node.held());
    assert!(!peers[3].try_take(150), "the largest itself asks for more");
    assert_eq!((peers[3].held(), node.held()), before);
    assert_eq!(told(), [false, true, false, true]);
}

#[test]
fn who_is_alone_keeps_to_the_cap_only() {
    let node = Ledger::new(800);
    let (a, b) = (node.child(800), node.child(800));
    assert!(a.try_take(800));
    assert!(!a.told.load(Ordering::Relaxed));
    assert!(!b.try_take(1), "the cap is the cap");
    drop(b);
    drop(node.child(1));
    assert_eq!(node.children.lock().len(), 2, "the dead are forgotten when one comes");
}

/// Whatever is taken and given, in whatever order, the sums are right and nothing passes the cap.
#[test]
fn a_long_run_of_takes_and_gives_adds_up() {
    let node = Ledger::new(10_000);
    let peers: Vec<_> = (0..8).map(|_| node.child(6_000)).collect();
    let mut held = [0_usize; 8];
    let mut seed = 7_u64;
    for _ in 0..20_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (who, bytes) = ((seed >> 33) as usize % 8, (seed >> 40) as usize % 900);
        if seed >> 63 == 0 && peers[who].try_take(bytes) {
            held[who] += bytes;
        } else if seed >> 62 == 3 {
            peers[who].give(held[who]);
            held[who] = 0;
        }
        assert_eq!(node.held(), held.iter().sum::<usize>());
        assert!(node.held() <= node.cap());
        assert!(peers.iter().zip(held).all(|(peer, held)| peer.held() == held));
    }
}

/// What strangers send us does not keep us from sending to those who hold little.
#[test]
fn a_full_ledger_silences_nobody_who_holds_little() {
    let node = Ledger::new(1600);
    let peers: Vec<_> = (0..4).map(|_| node.child(1600)).collect();
    assert!(peers[0].try_take(700) && peers[1].try_take(650));
    assert!(peers[2].try_take_to_send(50), "its part of the last eighth");
    assert!(!peers[2].try_take_to_send(1));
    assert!(!peers[3].try_take_to_send(51) && peers[3].try_take_to_send(50));
    assert!(!peers[0].try_take_to_send(1), "who holds much waits");
    assert_eq!(node.held(), 1450);
}
