//! The specification's test vectors, byte for byte.

use super::*;
use crate::v5::packet::{Auth, Header};
use serde_json::Value;
use switchboard_enr::NodePublic;

fn file() -> Value {
    serde_json::from_str(include_str!("../../../tests/vectors/discv5_wire.json")).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap().trim_start_matches("0x")).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn secret(value: &Value) -> NodeKey {
    NodeKey::from_bytes(&array(value)).unwrap()
}

fn case<'a>(file: &'a Value, name: &str) -> (&'a Value, Vec<u8>) {
    let packets = file["packets"].as_array().unwrap();
    let case = packets.iter().find(|case| case["name"].as_str().unwrap() == name).unwrap();
    (&case["inputs"], bytes(&case["packet"]))
}

#[test]
fn primitives() {
    let file = file();
    let p = &file["primitives"];
    let ecdh = &p["ECDH"];
    let public = NodePublic::from_compressed(&array(&ecdh["public-key"])).unwrap();
    assert_eq!(*secret(&ecdh["secret-key"]).agree_point(&public), array::<33>(&ecdh["shared-secret"]));

    let kdf = &p["Key Derivation"];
    let public = NodePublic::from_compressed(&array(&kdf["dest-pubkey"])).unwrap();
    let shared = secret(&kdf["ephemeral-key"]).agree_point(&public);
    let (a, b) = (NodeId(array(&kdf["node-id-a"])), NodeId(array(&kdf["node-id-b"])));
    let keys = crypto::derive(&shared, &a, &b, &bytes(&kdf["challenge-data"]));
    assert_eq!(*keys.initiator, array::<16>(&kdf["initiator-key"]));
    assert_eq!(*keys.recipient, array::<16>(&kdf["recipient-key"]));

    let sign = &p["ID Nonce Signing"];
    let (challenge, ephemeral) = (bytes(&sign["challenge-data"]), array(&sign["ephemeral-pubkey"]));
    let (key, to) = (secret(&sign["static-key"]), NodeId(array(&sign["node-id-B"])));
    let signature = crypto::sign(&key, &challenge, &ephemeral, &to);
    assert_eq!(signature, array::<64>(&sign["id-signature"]));
    assert!(crypto::verify(&key.public(), &signature, &challenge, &ephemeral, &to));
    assert!(!crypto::verify(&key.public(), &signature, &challenge, &ephemeral, &NodeId([0; 32])));

    let gcm = &p["Encryption/Decryption"];
    let (key, nonce, ad) = (array(&gcm["encryption-key"]), array(&gcm["nonce"]), bytes(&gcm["ad"]));
    let sealed = crypto::seal(&key, &nonce, &ad, bytes(&gcm["pt"]));
    assert_eq!(sealed, bytes(&gcm["message-ciphertext"]));
    assert_eq!(crypto::unseal(&key, &nonce, &ad, &sealed), Some(bytes(&gcm["pt"])));
    assert_eq!(crypto::unseal(&key, &nonce, &ad[1..], &sealed), None);
}

/// A packet's header and message are read, and written again they are the same bytes.
fn round_trip(local: &NodeId, datagram: &[u8]) -> packet::Packet<'static> {
    assert!(packet::is_v5(local, datagram));
    let read = packet::decode(local, datagram).unwrap();
    let iv = *datagram.first_chunk().unwrap();
    assert_eq!(packet::head(&iv, &read.header), read.head);
    assert_eq!(packet::encode(local, &read.head, read.message), datagram);
    for cut in 0..datagram.len() {
        // Cut in the message, the header is still whole; its tag is not.
        if let Ok(cut) = packet::decode(local, &datagram[..cut]) {
            assert_ne!(cut.message, read.message);
        }
    }
    packet::Packet { message: datagram[read.head.len()..].to_vec().leak(), ..read }
}

#[test]
fn an_ordinary_message_packet() {
    let file = file();
    let (inputs, datagram) = case(&file, "v5.1-ping-message.txt");
    let read = round_trip(&NodeId(array(&inputs["dest-node-id"])), &datagram);
    assert_eq!(read.header.auth, Auth::Message { src: NodeId(array(&inputs["src-node-id"])) });
    assert_eq!(read.header.nonce, array::<12>(&inputs["nonce"]));
    let key = array(&inputs["read-key"]);
    let plain = crypto::unseal(&key, &read.header.nonce, &read.head, read.message).unwrap();
    let ping = message::Message::Ping { id: message::RequestId::new(&[0, 0, 0, 1]).unwrap(), enr_seq: 2 };
    assert_eq!(message::Message::decode(&plain).unwrap(), ping);
    assert_eq!(crypto::seal(&key, &read.header.nonce, &read.head, ping.encode()), read.message);
}

#[test]
fn a_whoareyou_packet() {
    let file = file();
    let (inputs, datagram) = case(&file, "v5.1-whoareyou.txt");
    let read = round_trip(&NodeId(array(&inputs["dest-node-id"])), &datagram);
    assert_eq!(read.head, bytes(&inputs["whoareyou.challenge-data"]));
    let auth = Auth::WhoAreYou { id_nonce: array(&inputs["whoareyou.id-nonce"]), enr_seq: 0 };
    assert_eq!(read.header, Header { nonce: array(&inputs["whoareyou.request-nonce"]), auth });
    assert_eq!(datagram.len(), packet::MIN_PACKET);
}

#[test]
fn handshake_packets_with_and_without_a_record() {
    let file = file();
    let key_a =
        NodeKey::from_bytes(&hex::decode(file["node_a_key"].as_str().unwrap()).unwrap().try_into().unwrap());
    let key_a = key_a.unwrap();
    for (name, with_record) in [("v5.1-ping-handshake.txt", false), ("v5.1-ping-handshake-enr.txt", true)] {
        let (inputs, datagram) = case(&file, name);
        let to = NodeId(array(&inputs["dest-node-id"]));
        let read = round_trip(&to, &datagram);
        let Auth::Handshake { src, signature, ephemeral, record } = &read.header.auth else {
            panic!("{read:?}")
        };
        assert_eq!(*src, NodeId(array(&inputs["src-node-id"])));
        assert_eq!(*src, NodeId(key_a.public().node_id()));
        assert_eq!(*ephemeral, array::<33>(&inputs["ephemeral-pubkey"]));
        let challenge = bytes(&inputs["whoareyou.challenge-data"]);
        assert_eq!(*signature, crypto::sign(&key_a, &challenge, ephemeral, &to));
        assert_eq!(record.is_empty(), !with_record);
        if with_record {
            assert_eq!(NodeId(Record::decode(record).unwrap().key().node_id()), *src);
        }
        let key_b = NodeKey::from_bytes(
            &hex::decode(file["node_b_key"].as_str().unwrap()).unwrap().try_into().unwrap(),
        );
        let shared = secret(&inputs["ephemeral-key"]).agree_point(&key_b.unwrap().public());
        let keys = crypto::derive(&shared, src, &to, &challenge);
        assert_eq!(*keys.initiator, array::<16>(&inputs["read-key"]));
        let plain = crypto::unseal(&keys.initiator, &read.header.nonce, &read.head, read.message).unwrap();
        let ping = message::Message::Ping { id: message::RequestId::new(&[0, 0, 0, 1]).unwrap(), enr_seq: 1 };
        assert_eq!(message::Message::decode(&plain).unwrap(), ping);
        assert_eq!(
            crypto::seal(&keys.initiator, &read.header.nonce, &read.head, ping.encode()),
            read.message
        );
    }
}
