//! Bytes that Hyperledger Fabric v1.4.12 sent, and what it took and refused: we read, check and judge them alike.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests

use bytes::Bytes;
use prost::Message;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use switchboard_fabric::conn_establish::{ConnFault, certificate_hash, verify};
use switchboard_fabric::identity::{Identity, IdentityFault, channel_mac, pem_certificate};
use switchboard_fabric::message::{Content, decode_envelope, decode_message};
use switchboard_fabric::msp::{Msp, MspParts};
use switchboard_fabric::scan::{payload, scan};
use switchboard_fabric::{MspPolicy, Trust};
use switchboard_fabric::{sign, tags};

fn recorded() -> Value {
    serde_json::from_str(include_str!("vectors/recorded_fabric14.json")).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn bytes(value: &Value) -> Bytes {
    hex::decode(text(value)).unwrap().into()
}

fn certificate(pem: &Value) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(text(pem).as_bytes()).unwrap()
}

/// A minute before the identity expires: the recording is valid whenever the test runs.
fn then(identity: &Identity) -> SystemTime {
    identity.not_after() - Duration::from_secs(60)
}

struct Recorded {
    name: String,
    identity: Identity,
    tls: [[u8; 32]; 2],
}

/// The peers, and trust in their organisation.
fn peers(all: &Value) -> (Vec<Recorded>, Trust) {
    let mut trust = Trust::default();
    let peer = |peer: &Value| {
        let roots = vec![certificate(&peer["ca_pem"])];
        trust.add(Msp::new(text(&peer["msp"]), MspParts { roots, ..MspParts::default() }).unwrap());
        let identity = Identity::decode(bytes(&peer["identity"])).unwrap();
        assert_eq!(hex::encode(identity.pki_id()), text(&peer["pki_id"]));
        assert_eq!(identity.mspid(), text(&peer["msp"]));
        let der = certificate(&peer["cert_pem"]);
        assert_eq!(pem_certificate(&der), text(&peer["cert_pem"]), "PEM as Go writes it");
        let tls = ["server", "client"].map(|side| {
            let hash = certificate_hash(&certificate(&peer[format!("tls_{side}_cert_pem")]));
            assert_eq!(hex::encode(hash), text(&peer[format!("tls_{side}_cert_sha256")]));
            hash
        });
        Recorded { name: text(&peer["name"]).to_owned(), identity, tls }
    };
    (list(&all["identities"]).iter().map(peer).collect(), trust)
}

#[test]
fn identities_are_of_their_organisation_while_they_last() {
    let (peers, trust) = peers(&recorded());
    assert_eq!(peers.len(), 2);
    for peer in &peers {
        trust.validate(&peer.identity, then(&peer.identity)).unwrap();
        let late = peer.identity.not_after() + Duration::from_secs(1);
        assert!(matches!(trust.validate(&peer.identity, late), Err(IdentityFault::Expired { .. })));
        // Fabric does not look at the beginning.
        trust.validate(&peer.identity, UNIX_EPOCH).unwrap();
    }
}

/// Of the listener and of the dialler, who use two TLS certificates.
#[test]
fn both_first_messages_are_taken() {
    let all = recorded();
    let (peers, trust) = peers(&all);
    let policy = MspPolicy::new(trust);
    for (at, conn) in list(&all["conn_establish"]).iter().enumerate() {
        let peer = peers.iter().find(|p| p.name == text(&conn["from"])).unwrap();
        let side = usize::from(text(&conn["role"]) == "dialler");
        let now = then(&peer.identity);
        let found = verify(bytes(&conn["envelope"]), Some(peer.tls[side]), &policy, now).unwrap();
        assert_eq!(found.identity.pki_id(), peer.identity.pki_id(), "{at}");
        assert!(!found.probe);
        let other = verify(bytes(&conn["envelope"]), Some(peer.tls[1 - side]), &policy, now);
        assert_eq!(other.unwrap_err(), ConnFault::TlsHash);
    }
}

/// Every message is read, and written to the same bytes; its signatures hold; its tag is judged as Fabric judges it.
#[test]
fn messages_round_trip_and_are_judged_alike() {
    let all = recorded();
    let (peers, _) = peers(&all);
    for recorded in list(&all["messages"]).iter().chain(list(&all["session"])) {
        let name = recorded["name"].as_str().unwrap_or("of the session");
        let envelope = bytes(&recorded["envelope"]);
        let decoded = decode_envelope(envelope.clone()).unwrap();
        assert_eq!(decoded.encode_to_vec(), envelope, "{name}");
        let message = decode_message(decoded.payload.clone()).unwrap();
        assert_eq!(message.encode_to_vec(), decoded.payload, "{name}");
        let scanned = scan(payload(&envelope).unwrap()).unwrap();
        assert_eq!((scanned.nonce, scanned.channel), (message.nonce, &message.channel[..]), "{name}");
        if let Some(signer) = recorded["signer"].as_str() {
            for peer in &peers {
                let verified = sign::verify(&peer.identity, &decoded);
                assert_eq!(verified.is_ok(), peer.name == signer, "{name}: {verified:?}");
            }
        }
        // Where Fabric says a tag is wrong but never looks at it, we have nothing to say.
        let unchecked = matches!(
            message.content,
            Some(
                Content::Conn(_)
                    | Content::Ack(_)
                    | Content::PrivateReq(_)
                    | Content::PrivateRes(_)
                    | Content::PrivateData(_)
            )
        );
        let judged = tags::check(&message);
        assert_eq!(judged.is_err(), recorded.get("tag_fault").is_some() && !unchecked, "{name}: {judged:?}");
    }
}

#[test]
fn channel_macs_are_the_same() {
    for mac in list(&recorded()["channel_macs"]) {
        let ours = channel_mac(&bytes(&mac["pki_id"]), text(&mac["channel"]).as_bytes());
        assert_eq!(hex::encode(ours), text(&mac["mac"]), "{mac}");
    }
}

#[test]
fn signatures_are_judged_alike() {
    let all = recorded();
    let (peers, _) = peers(&all);
    for case in list(&all["signatures"]) {
        let peer = peers.iter().find(|p| p.name == text(&case["signer"])).unwrap();
        let judged = peer.identity.verify(&bytes(&case["message"]), &bytes(&case["signature"]));
        match text(&case["what"]) {
            // Fabric overlooks what stands behind a signature. We do not: it would be a second form of one message.
            "a byte after it" => assert_eq!(judged, Err(IdentityFault::Signature)),
            "the other s, which is high" => assert_eq!(judged, Err(IdentityFault::HighS)),
            what => assert_eq!(judged.is_ok(), case["accepted"].as_bool().unwrap(), "{what}: {judged:?}"),
        }
    }
}
