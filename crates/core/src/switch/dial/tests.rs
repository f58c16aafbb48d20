//! The dial plan alone: time, slots and who is connected are given by hand.

use super::*;

fn id(byte: u8) -> PeerId {
    PeerId::new("test", &[byte]).unwrap()
}

fn at(host: &str, id: Option<PeerId>) -> Candidate {
    Candidate { wire: "test", id, host: host.into(), port: 1, key: bytes::Bytes::new() }
}

/// Hosts to dial now, with so many slots.
fn next(plan: &mut DialPlan, now: Instant, slots: usize) -> Vec<String> {
    hosts(plan.next(now, Room { free: slots, pending: 50 }, |_| false, |_| false))
}

fn hosts(candidates: Vec<Candidate>) -> Vec<String> {
    candidates.into_iter().map(|candidate| candidate.host).collect()
}

#[test]
fn a_candidate_is_dialled_once_and_rests_afterwards() {
    let (mut plan, now) = (DialPlan::default(), Instant::now());
    assert!(plan.offer(at("a", None), now));
    assert!(plan.offer(at("a", None), now), "offered twice, queued once");
    assert_eq!(next(&mut plan, now, 9), ["a"]);
    assert_eq!(plan.dialling(), 1);
    assert!(!plan.offer(at("a", None), now + HISTORY - Duration::from_millis(1)));
    assert_eq!(plan.failed(&at("a", None), now, false, 0), None);
    assert_eq!(plan.dialling(), 0);
    assert!(plan.offer(at("a", None), now + HISTORY));
    assert_eq!(next(&mut plan, now + HISTORY, 9), ["a"]);
}

/// One identity at two addresses is one candidate, also when both wait in the queue already.
#[test]
fn an_identity_is_not_dialled_twice_at_once() {
    let (mut plan, now) = (DialPlan::default(), Instant::now());
    for host in ["a", "b", "c"] {
        plan.offer(at(host, Some(id(1))), now);
    }
    plan.offer(at("d", Some(id(2))), now);
    assert_eq!(next(&mut plan, now, 9), ["a", "d"]);
    assert_eq!(next(&mut plan, now + HISTORY, 9), [""; 0], "the others are forgotten, not kept");
}

#[test]
fn a_candidate_that_became_static_leaves_the_queue() {
    let (mut plan, now) = (DialPlan::default(), Instant::now());
    plan.offer(at("a", None), now);
    plan.add_static(at("a", None), now);
    assert!(!plan.offer(at("a", None), now));
    assert_eq!(next(&mut plan, now, 9), ["a"]);
    assert_eq!(next(&mut plan, now, 9), [""; 0]);
}

#[test]
fn the_queue_is_bounded() {
    let (mut plan, now) = (DialPlan::default(), Instant::now());
    for n in 0..MAX_QUEUED {
        assert!(plan.offer(at(&n.to_string(), None), now));
    }
    assert!(!plan.offer(at("one more", None), now));
    assert_eq!(next(&mut plan, now, 2).len(), 2);
    assert!(plan.offer(at("one more", None), now));
}

#[test]
fn back_off_doubles_to_its_most_and_starts_anew_after_a_steady_session() {
    let (mut plan, mut now) = (DialPlan::default(), Instant::now());
    let peer = at("a", None);
    plan.add_static(peer.clone(), now);
    for n in 0..12_u32 {
        assert_eq!(next(&mut plan, now, 1), ["a"]);
        let base = BACKOFF_FIRST.saturating_mul(1 << n.min(10)).min(BACKOFF_MOST);
        let wait = plan.failed(&peer, now, false, u64::from(n) * 997).unwrap();
        assert!((base * 3 / 4..=base * 5 / 4).contains(&wait), "{n}: {wait:?}");
        assert_eq!(plan.wake(|_| true), Some(now + wait));
        assert_eq!(next(&mut plan, now + wait - Duration::from_nanos(1), 1), [""; 0]);
        now += wait;
    }
    for (lasted, longest) in [(STEADY - Duration::from_millis(1), BACKOFF_MOST), (STEADY, BACKOFF_FIRST)] {
        assert_eq!(next(&mut plan, now, 1), ["a"]);
        plan.connected(&peer);
        assert_eq!((plan.dialling(), plan.wake(|_| true)), (0, None));
        plan.lost(Some(&peer), id(1), lasted, now, 500);
        assert_eq!(plan.wake(|_| true), Some(now + longest));
        now += longest;
    }
}

#[test]
fn who_is_connected_is_not_dialled_but_dialled_again_when_lost() {
    let (mut plan, now) = (DialPlan::default(), Instant::now());
    plan.add_static(at("a", Some(id(1))), now);
    plan.add_static(at("b", None), now);
    plan.offer(at("c", Some(id(1))), now);
    let all = Room { free: 9, pending: 9 };
    let dialled = plan.next(now, all, |peer| *peer == id(1), |_| false);
    assert_eq!(hosts(dialled), ["b"]);
    // Who answered is known from now on, whoever is dialled by address only.
    plan.identified(&at("b", None), id(2));
    plan.failed(&at("b", None), now, false, 0);
    let later = now + Duration::from_secs(1);
    assert_eq!(hosts(plan.next(later, all, |peer| *peer == id(2), |_| false)), [""; 0]);
    plan.lost(None, id(1), STEADY, later, 0);
    plan.lost(None, id(2), STEADY, later, 0);
    assert_eq!(next(&mut plan, later + BACKOFF_FIRST, 9), ["a", "b"]);
}

#[test]
fn a_static_peer_beyond_the_slots_is_dialled_when_it_passes_them() {
    let (mut plan, now) = (DialPlan::default(), Instant::now());
    plan.add_static(at("a", Some(id(1))), now);
    plan.add_static(at("b", Some(id(2))), now);
    plan.add_static(at("c", Some(id(3))), now);
    let passes = |peer: &PeerId| *peer != id(1);
    let full = Room { free: 0, pending: 1 };
    assert_eq!(hosts(plan.next(now, full, |_| false, passes)), ["b"], "within the pending slots");
    assert_eq!(plan.wake(|peer| peer.is_some_and(passes)), Some(now), "another waits for a pending slot");
    assert_eq!(hosts(plan.next(now, full, |_| false, passes)), ["c"]);
    assert_eq!(plan.wake(|peer| peer.is_some_and(passes)), None, "who cannot be dialled wakes nobody");
    assert_eq!(next(&mut plan, now, 1), ["a"]);
}

#[test]
fn ourselves_are_forgotten_and_what_is_removed_is_not_dialled() {
    let (mut plan, now) = (DialPlan::default(), Instant::now());
    plan.add_static(at("a", None), now);
    plan.add_static(at("b", None), now);
    assert_eq!(next(&mut plan, now, 9), ["a", "b"]);
    assert_eq!(plan.failed(&at("a", None), now, true, 0), None);
    plan.remove_static(&at("b", None));
    assert_eq!(plan.failed(&at("b", None), now, false, 0), None);
    assert_eq!((plan.dialling(), plan.wake(|_| true)), (0, None));
    assert_eq!(plan.failed(&at("b", None), now, false, 0), None);
    assert_eq!(plan.dialling(), 0, "one too many is no underflow");
}
