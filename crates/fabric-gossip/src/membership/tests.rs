use super::disclose::{Sides, by_gossip, in_answer, with_secret};
use crate::types::Org;

/// Rows 6.10 and 6.11, all of our organisation, the peer's and a third, with and without external endpoints.
#[test]
fn disclosure_follows_the_rules() {
    let org = |name| Org::parse(name).unwrap();
    let (ours, theirs, third) = (org("A"), org("B"), org("C"));
    let bools = [false, true];
    for author in [&ours, &theirs, &third] {
        for peer in [&ours, &theirs] {
            for author_external in bools {
                for peer_external in bools {
                    let sides = Sides { ours: &ours, author, author_external, peer, peer_external };
                    let both = author_external && peer_external;
                    let answered = match (author == &ours, author == peer) {
                        (_, true) => true,
                        (true, false) => both,
                        (false, false) => false,
                    };
                    assert_eq!(in_answer(sides), answered, "{sides:?}");
                    let gossiped = match (author == &ours, author == peer) {
                        (true, true) => true,
                        (true, false) => author_external,
                        // A foreign author's message goes to us and to its own.
                        (false, same) => both && (same || peer == &ours),
                    };
                    assert_eq!(by_gossip(sides), gossiped, "{sides:?}");
                }
            }
        }
    }
    assert!(with_secret(&ours, &ours) && !with_secret(&ours, &theirs));
}
