//! Both sides of the handshake against raw packets and against properly sealed ones.
#![no_main]

use switchboard_devp2p::handshake::{Initiator, Randomness, packet_len, respond};
use switchboard_devp2p::{NodeKey, ecies};

fn randomness() -> Randomness {
    Randomness { ephemeral: [2; 32], sealing: [3; 32], nonce: [4; 32], iv: [5; 16], padding: 0 }
}

/// What a hostile peer can make: the content it likes, properly sealed.
fn sealed(key: &NodeKey, content: &[u8]) -> Option<Vec<u8>> {
    let prefix = u16::try_from(content.len() + ecies::OVERHEAD).ok()?.to_be_bytes();
    let ephemeral = NodeKey::from_bytes(&[6; 32])?;
    let mut packet = prefix.to_vec();
    packet.extend(ecies::seal(&key.public(), &ephemeral, [7; 16], content, &prefix));
    Some(packet)
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (Some(key), Some(peer)) = (NodeKey::from_bytes(&[1; 32]), NodeKey::from_bytes(&[8; 32])) else {
        return;
    };
    if let Some(prefix) = bytes.first_chunk::<2>() {
        let _ = packet_len(*prefix);
    }
    let sealed = sealed(&key, bytes);
    for packet in [Some(bytes), sealed.as_deref()].into_iter().flatten() {
        let _ = respond(&key, packet, &randomness());
        if let Ok(initiator) = Initiator::start(&key, &peer.public(), &randomness()) {
            let _ = initiator.finish(packet);
        }
    }
});
