//! Properly sealed frames with any code and payload: what a hostile peer can reach.
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
    let Some((mut sealer, opener)) = session() else { return };
    let Some((&[how, cut], rest)) = bytes.split_first_chunk::<2>() else { return };
    let mut wire = BytesMut::new();
    for piece in rest.chunks(usize::from(cut) + 1) {
        let (code, payload) = piece.split_first().map_or((0, piece), |(code, payload)| (*code % 20, payload));
        let _ = sealer.seal(code.into(), payload, None, &mut wire);
    }
    let mut decoder = decoder(opener, how & 1 == 1);
    while let Ok(Some(_)) = decoder.decode(&mut wire) {}
});
