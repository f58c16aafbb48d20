//! Raw bytes in place of frames: what anybody on the way can reach.
#![no_main]

use bytes::BytesMut;
use switchboard::wire::Decoder;
use switchboard_devp2p::NodeKey;
use switchboard_devp2p::frame::{Opener, Sealer};
use switchboard_devp2p::handshake::{Initiator, Randomness, respond};
use switchboard_devp2p::session::{Code, RlpxDecoder};

fn randomness(n: u8) -> Randomness {
    Randomness { ephemeral: [n; 32], sealing: [n + 1; 32], nonce: [n + 2; 32], iv: [n; 16], padding: 0 }
}

/// Both directions between fixed keys: what the initiator seals, the recipient opens.
fn session() -> Option<(Sealer, Opener)> {
    let (a, b) = (NodeKey::from_bytes(&[1; 32])?, NodeKey::from_bytes(&[2; 32])?);
    let initiator = Initiator::start(&a, &b.public(), &randomness(10)).ok()?;
    let answer = respond(&b, initiator.auth(), &randomness(20)).ok()?;
    let (sealer, _) = initiator.finish(&answer.ack).ok()?.split();
    Some((sealer, answer.keys.split().1))
}

fn decoder(opener: Opener, snappy: bool) -> RlpxDecoder {
    RlpxDecoder::new(
        opener,
        snappy,
        vec![Code { code: 16, limit: 1 << 16 }, Code { code: 17, limit: 100 }],
        false,
    )
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((_, opener)) = session() else { return };
    let mut decoder = decoder(opener, true);
    let mut wire = BytesMut::from(bytes);
    while let Ok(Some(_)) = decoder.decode(&mut wire) {}
});
