use super::*;
use crate::keygen::keygen;
use crate::message::Envelope;
use crate::msp::PeerFolder;

#[test]
fn every_check_is_made_in_order() {
    let dir = tempfile::tempdir().unwrap();
    #[allow(clippy::disallowed_methods)]
    let now = SystemTime::now();
    let load = |org: &str, name: &str| {
        let peers = keygen(&dir.path().join(name), org, 1, now).unwrap();
        PeerFolder::load(&peers[0], org).unwrap()
    };
    let (ours, foreign) = (load("Org1MSP", "a"), load("Org2MSP", "b"));
    let trust = crate::policy::MspPolicy::new(ours.trust());
    let first = build(&ours.identity, Some([7; 32]), true).unwrap();
    let established = verify(first.clone(), Some([7; 32]), &trust, now).unwrap();
    assert!(established.probe);
    assert_eq!(established.identity.pki_id(), ours.identity.identity().pki_id());
    assert_eq!(verify(first.clone(), Some([8; 32]), &trust, now).unwrap_err(), ConnFault::TlsHash);
    let stranger = build(&foreign.identity, Some([7; 32]), false).unwrap();
    assert!(matches!(
        verify(stranger, Some([7; 32]), &trust, now),
        Err(ConnFault::Identity(IdentityFault::UnknownOrganisation(_)))
    ));

    // Each field bent or absent.
    let envelope = decode_envelope(first.clone()).unwrap();
    let message = decode_message(envelope.payload.clone()).unwrap();
    let Some(Content::Conn(conn)) = message.content.clone() else { panic!() };
    let with = |conn: ConnEstablish| {
        let payload: Bytes =
            GossipMessage::new(Tag::Empty, &[], 0, Content::Conn(conn)).encode_to_vec().into();
        let signature = ours.identity.sign(&payload).unwrap();
        Bytes::from(Envelope { payload, signature, secret_envelope: None }.encode_to_vec())
    };
    let check = |conn: ConnEstablish| verify(with(conn), Some([7; 32]), &trust, now).unwrap_err();
    assert_eq!(
        check(ConnEstablish { pki_id: Bytes::new(), ..conn.clone() }),
        ConnFault::Content("no PKI-ID")
    );
    assert_eq!(
        check(ConnEstablish { pki_id: Bytes::from_static(&[1; 32]), ..conn.clone() }),
        ConnFault::PkiId
    );
    assert!(matches!(
        check(ConnEstablish { identity: Bytes::new(), ..conn.clone() }),
        ConnFault::Identity(_)
    ));
    let unsigned = Envelope { signature: Bytes::new(), ..envelope.clone() };
    assert!(matches!(
        verify(unsigned.encode_to_vec().into(), Some([7; 32]), &trust, now),
        Err(ConnFault::Signature(SignFault::Absent("signature")))
    ));
    let other = GossipMessage::new(Tag::Empty, &[], 0, Content::Empty(crate::message::Empty {})).unsigned();
    assert!(matches!(
        verify(other.encode_to_vec().into(), Some([7; 32]), &trust, now),
        Err(ConnFault::Content(_))
    ));
    // Without TLS nothing is stated, and what is stated is not looked at.
    let plain = build(&ours.identity, None, false).unwrap();
    assert_eq!(verify(plain.clone(), Some([7; 32]), &trust, now).unwrap_err(), ConnFault::TlsHash);
    verify(plain, None, &trust, now).unwrap();
    for length in 0..first.len() {
        assert!(verify(first.slice(..length), Some([7; 32]), &trust, now).is_err(), "length {length}");
    }
    for byte in (0..first.len()).step_by(11) {
        let mut bent = first.to_vec();
        bent[byte] ^= 1;
        assert!(verify(bent.into(), Some([7; 32]), &trust, now).is_err(), "byte {byte}");
    }
}
