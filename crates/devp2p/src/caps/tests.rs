use super::*;
use switchboard::wire::Offered;

fn offer(protocols: &[(&str, u32, u64)]) -> Offer {
    let offered = |(index, (name, version, length)): (usize, &(&str, u32, u64))| Offered {
        index,
        name: (*name).into(),
        version: *version,
        length: *length,
        channels: vec![],
        placement: Default::default(),
    };
    Offer { protocols: protocols.iter().enumerate().map(offered).collect() }
}

fn caps(list: &[(&str, u64)]) -> Vec<Capability> {
    list.iter().map(|(name, version)| Capability { name: (*name).into(), version: *version }).collect()
}

fn found(offer: &Offer, theirs: &[(&str, u64)]) -> Vec<(usize, u64)> {
    shared(offer, &caps(theirs)).into_iter().map(|s| (s.protocol, s.offset)).collect()
}

#[test]
fn offsets_follow_names_and_our_lengths() {
    let ours = offer(&[("eth", 68, 17), ("bench", 1, 4), ("cast", 1, 3), ("eth", 67, 15)]);
    assert_eq!(found(&ours, &[("eth", 68), ("cast", 1), ("bench", 1)]), [(1, 16), (2, 20), (0, 23)]);
    assert_eq!(found(&ours, &[("eth", 67), ("eth", 68)]), [(0, 16)], "the highest shared version");
    assert_eq!(found(&ours, &[("eth", 67), ("snap", 1)]), [(3, 16)]);
    assert_eq!(found(&ours, &[("bench", 2)]), []);
    assert_eq!(found(&ours, &[("cast", 1), ("bench", 2), ("eth", 66)]), [(2, 16)]);
}
