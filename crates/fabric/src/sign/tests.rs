use super::*;
use crate::keygen::keygen;
use crate::message::{AliveMessage, Content, SecretContent, Tag, decode_envelope};
use crate::msp::PeerFolder;
use bytes::Bytes;

#[test]
fn both_signatures_count_and_cover_the_bytes_as_they_came() {
    let dir = tempfile::tempdir().unwrap();
    #[allow(clippy::disallowed_methods)]
    let now = std::time::SystemTime::now();
    let made = keygen(&dir.path().join("org"), "Org1MSP", 2, now).unwrap();
    let [author, other] = [0, 1].map(|n| PeerFolder::load(&made[n], "Org1MSP").unwrap().identity);
    let alive = GossipMessage::new(Tag::Empty, b"", 0, Content::AliveMsg(AliveMessage::default()));
    let secret = Secret { content: Some(SecretContent::InternalEndpoint("peer0:7051".into())) };

    let mut envelope = sign(&author, &alive).unwrap();
    verify(author.identity(), &envelope).unwrap();
    assert!(matches!(verify(other.identity(), &envelope), Err(SignFault::Message(_))));
    add_secret(&author, &mut envelope, &secret).unwrap();
    let travelled = decode_envelope(envelope.encode_to_vec().into()).unwrap();
    verify(author.identity(), &travelled).unwrap();

    // The secret part of another author.
    let mut mixed = sign(&author, &alive).unwrap();
    add_secret(&other, &mut mixed, &secret).unwrap();
    assert!(matches!(verify(author.identity(), &mixed), Err(SignFault::Secret(_))));

    // Taken off, the rest holds.
    let stripped = Envelope { secret_envelope: None, ..envelope.clone() };
    verify(author.identity(), &stripped).unwrap();

    // Encoded in another way it is another message to the signature, though it means the same.
    let longer: Bytes = [&envelope.payload[..], &[0x18, 0x01]].concat().into();
    let again = Envelope { payload: longer, ..stripped.clone() };
    assert_eq!(verify(author.identity(), &again), Err(SignFault::Message(IdentityFault::Signature)));

    let gone = SecretEnvelope::default;
    for (what, part) in [
        ("payload", Envelope { payload: Bytes::new(), ..stripped.clone() }),
        ("signature", Envelope { signature: Bytes::new(), ..stripped.clone() }),
        ("payload in its secret part", Envelope { secret_envelope: Some(gone()), ..stripped.clone() }),
        (
            "signature in its secret part",
            Envelope {
                secret_envelope: Some(SecretEnvelope { payload: Bytes::from_static(b"x"), ..gone() }),
                ..stripped
            },
        ),
    ] {
        assert_eq!(verify(author.identity(), &part), Err(SignFault::Absent(what)));
    }
}
