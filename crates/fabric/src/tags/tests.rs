use super::*;
use crate::message::{Empty, GossipHello, PeerIdentity, decode_message};

/// What a Go peer encodes for each content carries the demanded tag.
#[test]
fn the_tags_of_real_messages() {
    for line in include_str!("../../tests/vectors/messages.jsonl").lines() {
        let vector: serde_json::Value = serde_json::from_str(line).unwrap();
        let (name, Some(hex)) = (vector["vector"].as_str().unwrap(), vector["hex"].as_str()) else {
            continue;
        };
        if name.starts_with("channel_mac") {
            continue;
        }
        let message = decode_message(hex::decode(hex).unwrap().into()).unwrap();
        let judged = check(&message);
        match name {
            "empty" => assert_eq!(judged, Err(TagFault::NoContent)),
            _ => assert_eq!(judged, Ok(()), "{name}"),
        }
    }
}

#[test]
fn wrong_tags_and_pulls_are_found() {
    let hello = |kind: i32, tag: Tag| {
        let hello = GossipHello { msg_type: kind, ..GossipHello::default() };
        check(&GossipMessage::new(tag, b"c", 0, Content::Hello(hello)))
    };
    assert_eq!(hello(1, Tag::ChanAndOrg), Ok(()));
    assert_eq!(hello(2, Tag::Empty), Ok(()));
    assert_eq!(hello(1, Tag::Empty), Err(TagFault::Tag { found: 1, demanded: Tag::ChanAndOrg }));
    assert_eq!(hello(2, Tag::ChanAndOrg), Err(TagFault::Tag { found: 4, demanded: Tag::Empty }));
    for kind in [0, 3, -1, i32::MAX] {
        assert_eq!(hello(kind, Tag::Empty), Err(TagFault::PullKind(kind)));
    }
    assert_eq!(check(&GossipMessage::default()), Err(TagFault::NoContent));
    let empty = GossipMessage::new(Tag::Empty, b"", 0, Content::Empty(Empty {}));
    assert_eq!(check(&empty), Err(TagFault::NoContent));
    let mut identity =
        GossipMessage::new(Tag::OrgOnly, b"", 0, Content::PeerIdentity(PeerIdentity::default()));
    assert_eq!(check(&identity), Ok(()));
    identity.tag = 77;
    assert_eq!(check(&identity), Err(TagFault::Tag { found: 77, demanded: Tag::OrgOnly }));
}

#[test]
fn three_tags_keep_to_a_channel() {
    let restricted: Vec<i32> = (-1..9).filter(|tag| is_channel_restricted(*tag)).collect();
    assert_eq!(restricted, [3, 4, 5]);
}
