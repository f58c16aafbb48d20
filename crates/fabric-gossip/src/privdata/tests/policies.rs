//! Policies and collections: as text, encoded, and whom they admit.

use super::*;
use crate::block::tests::{hex_of, vectors};
use crate::privdata::collections::{MAX_COLLECTIONS, MAX_FILE};
use crate::privdata::policy::{MAX_DEPTH, MAX_RULES};
use proptest::prelude::*;

fn policy(text: &str) -> Policy {
    text.parse().unwrap()
}

// Policies.

#[test]
fn policies_are_read_and_written() {
    for (text, written) in [
        ("OR('Org1MSP.member')", "OR('Org1MSP.member')"),
        ("or( \"Org1MSP.member\" ,'a.b-c.peer')", "OR('Org1MSP.member', 'a.b-c.peer')"),
        (
            "And('A.admin', OutOf(2, 'B.client', 'C.orderer', OR('D.member')))",
            "AND('A.admin', OutOf(2, 'B.client', 'C.orderer', OR('D.member')))",
        ),
        ("OutOf('1', 'A.member', 'B.member')", "OR('A.member', 'B.member')"),
        ("'A.member'", "'A.member'"),
        ("OutOf(0, 'A.member')", "OutOf(0, 'A.member')"),
    ] {
        let read = policy(text);
        assert_eq!(read.to_string(), written);
        assert_eq!(policy(written), read);
        assert_eq!(Policy::decode(&read.encode()).as_ref(), Ok(&read), "{text}");
    }
    for text in [
        "",
        "OR",
        "OR(",
        "OR()",
        "OR('A.member'",
        "OR('A.member',)",
        "OR('A.member') x",
        "XOR('A.member')",
        "OR(A.member)",
        "OR('A.boss')",
        "OR('A')",
        "OR('.member')",
        "OR('A B.member')",
        "OR('A.member)",
        "OutOf('A.member')",
        "OutOf(1)",
        "OutOf(3, 'A.member')",
        "OutOf(-1, 'A.member')",
        "OutOf(99999999999999999999, 'A.member')",
        "OR('é.member')",
        "OutOf(18446744073709551615, 'A.member')",
        "(",
        "'",
        "\"A.member'",
        "OR('A.member' 'B.member')",
    ] {
        assert!(text.parse::<Policy>().is_err(), "{text:?}");
    }
    let deep = "OR(".repeat(MAX_DEPTH + 1) + "'A.member'" + &")".repeat(MAX_DEPTH + 1);
    assert_eq!(deep.parse::<Policy>(), Err(PolicyFault::Limit));
    let wide = format!("OR({})", vec!["'A.member'"; MAX_RULES + 1].join(","));
    assert_eq!(wide.parse::<Policy>(), Err(PolicyFault::Limit));
    assert_eq!("OR(".repeat(100_000).parse::<Policy>(), Err(PolicyFault::Limit));
}

#[test]
fn policies_admit_whom_they_name() {
    let admits = |text: &str, mspid: &str, role| policy(text).admits(&Subject { mspid: mspid.into(), role });
    assert!(admits("OR('A.member', 'B.member')", "B", None));
    assert!(!admits("OR('A.member', 'B.member')", "C", None));
    assert!(admits("OR('A.peer')", "A", Some(Role::Peer)));
    assert!(!admits("OR('A.peer')", "A", Some(Role::Client)));
    assert!(!admits("OR('A.peer')", "A", None), "without units nobody is known to be a peer");
    assert!(!admits("AND('A.member', 'A.member')", "A", None), "one member stands for one rule");
    assert!(!admits("AND('A.member', 'B.member')", "A", None));
    assert!(admits("OR('B.member', AND('A.member'))", "A", None));
    assert!(admits("OutOf(0, 'B.member')", "A", None));
    assert!(!admits("OutOf(2, 'A.member')", "A", None));
    assert!(!admits("AND(OR('A.member'), OR('A.peer'))", "A", Some(Role::Peer)));
}

#[test]
fn policies_and_packages_that_go_encoded_are_read_and_encode_alike() {
    let all = vectors();
    let read = Policy::decode(&hex_of(&all["policy"])).unwrap();
    assert_eq!(read, policy("OR('Org1MSP.member', 'Org2MSP.peer')"));
    assert_eq!(read.encode(), hex_of(&all["policy"]), "the same bytes as Go's");
    let package = hex_of(&all["package"]);
    let found = decode_package("cc", &package).unwrap();
    let [collection] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&collection.name[..], collection.required_peers, collection.maximum_peers), ("secret", 1, 3));
    assert_eq!((collection.block_to_live, collection.member_only_read), (5, true));
    assert_eq!(collection.package(), package, "the same bytes as Go's");
    let item = hex_of(&all["pvt_data_item"]);
    let read = TxPrivate::decode(&item).unwrap();
    assert_eq!((read.seq_in_block, read.sets.len()), (4, 3));
    assert_eq!(read.sets[0].rwset, hex_of(&all["private"]));
    assert_eq!(read.encode(), item, "the same bytes as Go's");
    for bytes in [hex_of(&all["policy"]), package, item] {
        for len in 0..bytes.len() {
            let cut = bytes.slice(..len);
            let (a, b, c) = (Policy::decode(&cut), decode_package("cc", &cut), TxPrivate::decode(&cut));
            assert!(
                a.as_ref() != Ok(&policy("OR('Org1MSP.member', 'Org2MSP.peer')")) && b != Ok(found.clone())
            );
            assert!(c.as_ref() != Ok(&read));
        }
    }
}

#[test]
fn encoded_policies_have_limits() {
    use crate::block::walk::Writer;
    let mut rule = vec![8, 0];
    for _ in 0..=MAX_DEPTH {
        rule = Writer::default().message(2, &Writer::default().number(1, 1).message(2, &rule).done()).done();
    }
    let identity = Writer::default().message(2, &Writer::default().bytes(1, b"A").done()).done();
    let deep = Writer::default().message(2, &rule).message(3, &identity).done();
    assert_eq!(Policy::decode(&deep), Err(PolicyFault::Limit));
    let many = Writer::default().message(2, &[8, 0]).done();
    let many = (0..=MAX_RULES).fold(many, |mut out, _| {
        out.extend_from_slice(&[26, 0]);
        out
    });
    assert_eq!(Policy::decode(&many), Err(PolicyFault::Limit));
    let absent = Writer::default().message(2, &[8, 5]).message(3, &identity).done();
    assert!(Policy::decode(&absent).is_err(), "a rule names an identity that is not there");
    let negative = Writer::default().message(2, &Writer::default().number(1, u64::MAX).done()).done();
    assert!(Policy::decode(&negative).is_err());
    assert!(decode_package("", &[10, 0].repeat(MAX_COLLECTIONS + 1)).is_err());
    assert!(TxPrivate::decode(&Bytes::from(vec![18, 2, 18, 0])).is_ok());
}

// Collections.

#[test]
fn collection_files_are_read() {
    let found = from_json("cc", FILE).unwrap();
    assert_eq!((found[0].required_peers, found[0].maximum_peers, found[0].block_to_live), (1, 2, 3));
    assert_eq!((found[1].required_peers, found[1].maximum_peers, found[1].block_to_live), (0, 1, 0));
    assert_eq!(
        (found[0].ends_at(10), found[1].ends_at(10), found[0].ends_at(u64::MAX)),
        (Some(14), None, None)
    );
    for bad in [
        "",
        "{}",
        "[{}]",
        "[1]",
        r#"[{"name": "a"}]"#,
        r#"[{"name": "", "policy": "OR('A.member')"}]"#,
        r#"[{"name": "a", "policy": "nobody"}]"#,
        r#"[{"name": "a", "policy": "OR('A.member')", "requiredPeerCount": 2}]"#,
        r#"[{"name": "a", "policy": "OR('A.member')", "requiredPeerCount": -1}]"#,
    ] {
        assert!(from_json("cc", bad).is_err(), "{bad}");
    }
    assert!(from_json("cc", &" ".repeat(MAX_FILE + 1)).is_err());
    let mut set = collections("Org1MSP", FILE);
    let twice = [from_json("cc", FILE).unwrap(), from_json("cc", FILE).unwrap()].concat();
    assert!(matches!(set.define("cc", twice), Err(CollectionFault::Twice(_))));
    assert!(set.get("cc", "secret").is_some(), "nothing is changed by what is refused");
    assert!(set.define("", vec![]).is_err());
    set.define("cc", vec![]).unwrap();
    assert!(set.get("cc", "secret").is_none());
}

#[test]
fn implicit_collections_are_there_without_a_file() {
    let set = collections("Org1MSP", FILE);
    let own = set.get("any", "_implicit_org_Org1MSP").unwrap();
    assert_eq!((own.required_peers, own.maximum_peers), (0, 1));
    assert!(own.admits(&member("Org1MSP")) && !own.admits(&member("Org2MSP")));
    assert!(set.get("any", "_implicit_org_").is_none());
    assert!(set.get("any", "other").is_none());
}

proptest! {
    #[test]
    fn no_text_is_a_crash(text in "[ORANDoutf()',. \"0-9A-Za-zé]{0,60}") {
        if let Ok(read) = text.parse::<Policy>() {
            prop_assert_eq!(read.to_string().parse::<Policy>(), Ok(read.clone()));
            prop_assert_eq!(Policy::decode(&read.encode()), Ok(read));
        }
    }

    #[test]
    fn no_bytes_are_a_crash(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = (Policy::decode(&bytes), decode_package("cc", &bytes), TxPrivate::decode(&bytes));
    }
}
