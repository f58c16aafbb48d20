//! The dial plan alone: time, slots and who is connected are given by hand.

use super::*;

fn id(byte: u8) -> PeerId {
    PeerId::new("test", &[byte]).unwrap()
}

fn at(host: &str, id: Option<PeerId>) -> Candidate {
    Candidate::new("test", host, 1).maybe_id(id)
}

const HISTORY: Duration = Duration::from_secs(30);
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MOST: Duration = Duration::from_secs(60);
const STEADY: Duration = Duration::from_secs(30);

fn room(free: usize, pending: usize) -> DialRoom {
    DialRoom { free, reserved: 0, pending }
}

/// Hosts to dial now, with so many slots.
fn next(plan: &mut DialPlan, now: Instant, slots: usize) -> Vec<String> {
    next_but(plan, now, room(slots, 50), |_| false, |_| false)
}

fn next_but(
    plan: &mut DialPlan,
    now: Instant,
    room: DialRoom,
    connected: impl Fn(&PeerId) -> bool,
    passes: impl Fn(&PeerId) -> bool,
) -> Vec<String> {
    let mut out = plan.statics(now, room, &connected, passes);
    let left = room.free.min(room.pending).saturating_sub(out.len());
    let skip = |c: &Candidate| c.id.as_ref().is_some_and(&connected).then_some(Skip::Connected);
    out.extend(plan.others(now, left, skip, || None, |_, _| {}));
    hosts(out)
}

fn hosts(candidates: Vec<Candidate>) -> Vec<String> {
    candidates.into_iter().map(|candidate| candidate.host).collect()
}

fn assert_ok(offered: Result<(), Skip>) {
    assert_eq!(offered, Ok(()));
}

fn assert_err(offered: Result<(), Skip>) {
    assert!(offered.is_err());
}

/// Offers and sources take turns; who is skipped is told, and takes no turn of the history.
#[test]
fn offers_and_sources_take_turns() {
    let (mut plan, now) = (DialPlan::default(), Instant::now());
    for host in ["a", "b", "c"] {
        assert_ok(plan.offer(at(host, None), now));
    }
    let mut given = ["x", "a", "y", "z"].into_iter().map(|host| at(host, None));
    let mut told = Vec::new();
    let skip = |c: &Candidate| (c.host == "y").then_some(Skip::Subnet);
    let out = plan.others(now, 5, skip, || given.next(), |c, why| told.push((c.host.clone(), why)));
    assert_eq!(hosts(out), ["a", "x", "b", "c", "z"]);
    assert_eq!(told, [("a".into(), Skip::Dialling), ("y".into(), Skip::Subnet)]);
    assert_eq!(plan.dialling(), 5);
    let asked = || panic!("asked without room");
    assert!(plan.others(now, 0, |_| None, asked, |_, _| {}).is_empty());
}

/// An identity without an address is looked for less and less often.
#[test]
fn a_static_peer_without_address_waits_for_longer_each_time() {
    let (mut plan, mut now) = (DialPlan::default(), Instant::now());
    let peer = Candidate::unresolved(id(1));
    plan.add_static(peer.clone(), now);
    for secs in [60, 120, 240, 480, 960, 1_920, 3_600, 3_600] {
        assert_eq!(next(&mut plan, now, 1).len(), 1);
        assert_eq!(plan.failed(&peer, now, Miss::NoAddress, 0), Some(Duration::from_secs(secs)));
        now += Duration::from_secs(secs);
    }
    assert_eq!(plan.waiting(), 1);
}

#[test]
fn what_the_program_asks_for_is_dialled_at_once_and_only_once() {
    let (mut plan, now) = (DialPlan::default(), Instant::now());
    let peer = at("a", None);
    assert_ok(plan.offer(peer.clone(), now));
    assert_eq!(next(&mut plan, now, 1), ["a"]);
    assert!(!plan.ask(&peer, now), "under way");
    plan.failed(&peer, now, Miss::Again, 0);
    assert!(plan.ask(&peer, now), "whenever it was dialled last");
    plan.add_static(peer.clone(), now);
    assert_eq!(next(&mut plan, now, 1), [""; 0], "not twice at once");
    plan.connected(&peer);
    assert_eq!(plan.dialling(), 0);
}

#[test]
fn a_candidate_is_dialled_once_and_rests_afterwards() {
    let (mut plan, now) = (DialPlan::default(), Instant::now());
    assert_ok(plan.offer(at("a", None), now));
    assert_ok(plan.offer(at("a", None), now));
    assert_eq!(next(&mut plan, now, 9), ["a"]);
    assert_eq!(plan.dialling(), 1);
    assert_err(plan.offer(at("a", None), now + HISTORY - Duration::from_millis(1)));
    assert_eq!(plan.failed(&at("a", None), now, Miss::Again, 0), None);
    assert_eq!(plan.dialling(), 0);
    assert_ok(plan.offer(at("a", None), now + HISTORY));
    assert_eq!(next(&mut plan, now + HISTORY, 9), ["a"]);
}

/// One identity at two addresses is one candidate, also when both wait in the queue already.
#[test]
fn an_identity_is_not_dialled_twice_at_once() {
    let (mut plan, now) = (DialPlan::default(), Instant::now());
    for host in ["a", "b", "c"] {
        assert_ok(plan.offer(at(host, Some(id(1))), now));
    }
    assert_ok(plan.offer(at("d", Some(id(2))), now));
    assert_eq!(next(&mut plan, now, 9), ["a", "d"]);
    assert_eq!(next(&mut plan, now + HISTORY, 9), [""; 0], "the others are forgotten, not kept");
}

#[test]
fn a_candidate_that_became_static_leaves_the_queue() {
    let (mut plan, now) = (DialPlan::default(), Instant::now());
    assert_ok(plan.offer(at("a", None), now));
    plan.add_static(at("a", None), now);
    assert_err(plan.offer(at("a", None), now));
    assert_eq!(next(&mut plan, now, 9), ["a"]);
    assert_eq!(next(&mut plan, now, 9), [""; 0]);
}

#[test]
fn the_queue_is_bounded() {
    let (mut plan, now) = (DialPlan::default(), Instant::now());
    for n in 0..MAX_QUEUED {
        assert_ok(plan.offer(at(&n.to_string(), None), now));
    }
    assert_err(plan.offer(at("one more", None), now));
    assert_eq!(next(&mut plan, now, 2).len(), 2);
    assert_ok(plan.offer(at("one more", None), now));
}

/// Dials without end, each to somebody else: the oldest are forgotten first, and all when their time is over.
#[test]
fn the_history_is_bounded() {
    let (mut plan, now) =
        (DialPlan::new(DialRules { history: HISTORY, ..DialRules::default() }), Instant::now());
    let name = |n: usize| n.to_string();
    for n in 0..MAX_HISTORY + 100 {
        let peer = at(&name(n), None);
        assert!(plan.ask(&peer, now));
        plan.failed(&peer, now, Miss::Again, 0);
        assert!(plan.history.len() <= MAX_HISTORY && plan.order.len() <= MAX_HISTORY);
    }
    assert_ok(plan.offer(at(&name(99), None), now));
    assert_err(plan.offer(at(&name(MAX_HISTORY + 99), None), now));
    // Renewed again and again it takes one place.
    let mut last = now;
    for _ in 0..2 * MAX_HISTORY {
        let peer = at("again", None);
        last += Duration::from_nanos(1);
        assert!(plan.ask(&peer, last));
        plan.failed(&peer, last, Miss::Again, 0);
    }
    assert_eq!((plan.history.len(), plan.order.len()), (1, MAX_HISTORY));
    assert_ok(plan.offer(at("again", None), last + HISTORY));
    assert_eq!((plan.history.len(), plan.order.len()), (0, 0));
}

#[test]
fn back_off_doubles_to_its_most_and_starts_anew_after_a_steady_session() {
    let (mut plan, mut now) = (DialPlan::default(), Instant::now());
    let peer = at("a", None);
    plan.add_static(peer.clone(), now);
    for n in 0..12_u32 {
        assert_eq!(next(&mut plan, now, 1), ["a"]);
        let base = BACKOFF_FIRST.saturating_mul(1 << n.min(10)).min(BACKOFF_MOST);
        let wait = plan.failed(&peer, now, Miss::Again, u64::from(n) * 997).unwrap();
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
    assert_eq!(plan.offer(at("c", Some(id(1))), now), Err(Skip::Static));
    let all = room(9, 9);
    assert_eq!(next_but(&mut plan, now, all, |peer| *peer == id(1), |_| false), ["b"]);
    // Who answered is known from now on, whoever is dialled by address only.
    plan.identified(&at("b", None), id(2));
    plan.failed(&at("b", None), now, Miss::Again, 0);
    let later = now + Duration::from_secs(1);
    // A static peer that is connected is looked at again when it is lost.
    assert_eq!(next_but(&mut plan, later, all, |peer| *peer == id(2), |_| false), [""; 0]);
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
    let full = room(0, 1);
    assert_eq!(next_but(&mut plan, now, full, |_| false, passes), ["b"], "within the pending slots");
    assert_eq!(plan.wake(|peer| peer.is_some_and(passes)), Some(now), "another waits for a pending slot");
    assert_eq!(next_but(&mut plan, now, full, |_| false, passes), ["c"]);
    assert_eq!(plan.wake(|peer| peer.is_some_and(passes)), None, "who cannot be dialled wakes nobody");
    assert_eq!(next(&mut plan, now, 1), ["a"]);
}

#[test]
fn ourselves_are_forgotten_and_what_is_removed_is_not_dialled() {
    let (mut plan, now) = (DialPlan::default(), Instant::now());
    plan.add_static(at("a", None), now);
    plan.add_static(at("b", None), now);
    assert_eq!(next(&mut plan, now, 9), ["a", "b"]);
    assert_eq!(plan.failed(&at("a", None), now, Miss::Hopeless, 0), None);
    plan.remove_static(&at("b", None));
    assert_eq!(plan.failed(&at("b", None), now, Miss::Again, 0), None);
    assert_eq!((plan.dialling(), plan.wake(|_| true)), (0, None));
    assert_eq!(plan.failed(&at("b", None), now, Miss::Again, 0), None);
    assert_eq!(plan.dialling(), 0, "one too many is no underflow");
}

/// A list of waits is kept to, with its random part; at its end comes the last pace, or nothing until the peer comes by
/// itself or is named again.
#[test]
fn a_list_of_waits_is_kept_to_and_may_end() {
    let secs = Duration::from_secs;
    let redial = crate::preset::Redial::new(vec![secs(0), secs(5), secs(8)], secs(100)).jitter(secs(3));
    for (redial, then) in [(redial.clone(), Some(100)), (redial.then_never(), None)] {
        let rules = DialRules { redial: Some(redial), ..DialRules::default() };
        let (mut plan, mut now) = (DialPlan::new(rules), Instant::now());
        let peer = at("a", Some(id(1)));
        plan.add_static(peer.clone(), now);
        for wait in [0, 5, 8] {
            assert_eq!(next(&mut plan, now, 1), ["a"]);
            assert_eq!(
                plan.failed(&peer, now, Miss::Again, 500),
                Some(secs(wait) + Duration::from_millis(1_500))
            );
            assert_eq!(plan.waiting(), 1);
            now += secs(wait + 3);
        }
        assert_eq!(next(&mut plan, now, 1), ["a"]);
        assert_eq!(plan.failed(&peer, now, Miss::Again, 0), then.map(secs));
        assert_eq!(
            (plan.waiting(), plan.wake(|_| true)),
            (then.iter().count(), then.map(|wait| now + secs(wait)))
        );
        assert!(plan.is_static(&id(1)));
        if then.is_none() {
            assert_eq!(next(&mut plan, now + secs(1_000_000), 1), [""; 0], "given up");
            // It came, and left again at once: it is looked for from the beginning.
            plan.lost(None, id(1), secs(1), now, 0);
            assert_eq!(plan.wake(|_| true), Some(now));
            for _ in 0..3 {
                assert_eq!(next(&mut plan, now, 1), ["a"]);
                plan.failed(&peer, now, Miss::Again, 0);
                now += secs(10);
            }
            plan.add_static(peer.clone(), now);
            assert_eq!(next(&mut plan, now, 1), ["a"], "named again");
        }
    }
}
