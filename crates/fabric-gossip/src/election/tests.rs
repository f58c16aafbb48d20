use super::*;

fn id(n: u8) -> PkiId {
    PkiId([n; 32])
}

fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn new(n: u8) -> Election {
    Election::new(id(n), Options::default(), 3, s(0))
}

/// Brings a peer to its first proposal at second 1.
fn proposing(n: u8) -> Election {
    let mut election = new(n);
    assert_eq!(election.tick(3, s(1)), [Step::Propose]);
    election
}

fn leading(n: u8) -> Election {
    let mut election = proposing(n);
    assert_eq!(election.tick(3, s(6)), [Step::Leader(Some(id(n))), Step::Declare]);
    election
}

/// Row 10.1.
#[test]
fn a_stable_view_is_waited_for_but_not_for_ever() {
    let mut election = new(5);
    for second in 1..15 {
        assert!(election.tick(3 + second as usize, s(second)).is_empty());
    }
    assert_eq!(election.tick(99, s(15)), [Step::Propose]);
    assert!(new(5).tick(3, Duration::from_millis(999)).is_empty());
    let mut told = new(5);
    assert_eq!(told.on_message(id(9), true, s(0)), [Step::Leader(Some(id(9)))]);
    assert!(told.tick(3, s(1)).is_empty(), "a leader exists: no proposal");
}

/// Row 10.2: nobody lower proposed: leader; somebody lower: follower; a declaration ends it.
#[test]
fn the_lowest_that_proposes_leads() {
    assert!(leading(5).leads());
    let mut higher = proposing(5);
    higher.on_message(id(9), false, s(2));
    assert!(higher.tick(3, s(6)).contains(&Step::Declare));
    let mut lower = proposing(5);
    lower.on_message(id(1), false, s(2));
    assert!(lower.tick(3, s(6)).is_empty() && !lower.leads());
    let mut declared = proposing(5);
    assert_eq!(declared.on_message(id(9), true, s(2)), [Step::Leader(Some(id(9)))]);
    assert!(declared.tick(3, s(6)).is_empty() && !declared.leads());
    assert_eq!(declared.leader(), Some(id(9)), "also a higher one that declares itself is followed");
}

/// Row 10.3.
#[test]
fn a_leader_declares_and_gives_way_to_a_lower_one() {
    let mut leader = leading(5);
    assert!(leader.tick(3, s(10)).is_empty());
    assert_eq!(leader.tick(3, s(11)), [Step::Declare]);
    assert!(leader.on_message(id(9), true, s(12)).is_empty() && leader.leads());
    assert_eq!(leader.on_message(id(1), true, s(12)), [Step::Leader(Some(id(1)))]);
    assert!(!leader.leads());
}

#[test]
fn a_silent_leader_is_replaced() {
    let mut follower = new(5);
    follower.on_message(id(1), true, s(0));
    follower.on_message(id(1), true, s(5));
    assert!(follower.tick(3, s(14)).is_empty());
    assert_eq!(follower.tick(3, s(15)), [Step::Leader(None), Step::Propose]);
    assert_eq!(follower.tick(3, s(20)), [Step::Leader(Some(id(5))), Step::Declare]);
}

/// Row 10.4.
#[test]
fn who_yields_abstains_until_another_leads_or_a_minute_passes() {
    let mut leader = leading(5);
    assert_eq!(leader.yield_leadership(s(10)), [Step::Leader(None)]);
    assert!(leader.yield_leadership(s(10)).is_empty());
    for second in 11..70 {
        assert!(leader.tick(3, s(second)).is_empty(), "at {second}");
    }
    assert_eq!(leader.tick(3, s(70)), [Step::Propose]);
    let mut other = leading(5);
    other.yield_leadership(s(10));
    other.on_message(id(9), true, s(12));
    assert_eq!(
        other.tick(3, s(22)),
        [Step::Leader(None), Step::Propose],
        "yielding ended with the other one"
    );
    assert!(proposing(5).yield_leadership(s(2)).is_empty(), "only a leader can yield");
}

#[test]
fn our_own_messages_mean_nothing() {
    let mut leader = leading(5);
    assert!(leader.on_message(id(5), true, s(7)).is_empty() && leader.leads());
}

#[test]
fn an_observer_follows_whoever_declares_and_never_stands() {
    let options = Options::default();
    let mut observer = Election::observing(PkiId([1; 32]), options.clone(), Duration::ZERO);
    let mut now = Duration::ZERO;
    let mut lead = |observer: &mut Election, until: u64, declared: Option<u8>| {
        let mut steps = Vec::new();
        while now < Duration::from_secs(until) {
            now = observer.wake();
            steps.extend(observer.tick(9, now));
        }
        steps.extend(declared.into_iter().flat_map(|by| observer.on_message(PkiId([by; 32]), true, now)));
        steps
    };
    assert_eq!(lead(&mut observer, 100, None), [], "nobody declared, and it does not stand");
    assert_eq!(lead(&mut observer, 0, Some(7)), [Step::Leader(Some(PkiId([7; 32])))]);
    // The leader is silent for 10 s.
    assert_eq!(lead(&mut observer, 120, None), [Step::Leader(None)]);
    assert!(!observer.leads());
    assert_eq!(lead(&mut observer, 0, Some(9)), [Step::Leader(Some(PkiId([9; 32])))]);
}
