//! What several targets start from.

use switchboard_devp2p::frame::{FrameKeys, Opener, Sealer};
use switchboard_devp2p::session::{Code, RlpxDecoder};

/// Two ends of a devp2p session with fixed secrets: what the one seals, the other opens.
pub fn rlpx() -> (Sealer, Opener) {
    let keys =
        |egress: &[u8], ingress: &[u8]| FrameKeys::from_secrets([1; 32], [2; 32], egress, ingress).split();
    (keys(b"ours", b"theirs").0, keys(b"theirs", b"ours").1)
}

/// A session's decoder with two channels, of 64 KiB and of 100 bytes.
pub fn rlpx_decoder(opener: Opener, snappy: bool) -> RlpxDecoder {
    RlpxDecoder::new(
        opener,
        snappy,
        vec![Code { code: 16, limit: 1 << 16 }, Code { code: 17, limit: 100 }],
        false,
    )
}
