//! What several targets start from.

use switchboard_devp2p::frame::{FrameKeys, Opener, Sealer};
use switchboard_devp2p::session::{Code, RlpxDecoder};
use switchboard_discv::Identity;

/// An identity whose signatures cost nothing: every packet is from one other node.
#[derive(Debug)]
pub struct Anybody;

impl Identity for Anybody {
    fn public(&self) -> [u8; 64] {
        [1; 64]
    }

    fn sign(&self, _: [u8; 32]) -> [u8; 65] {
        [0; 65]
    }

    fn recover(&self, _: [u8; 32], _: &[u8; 65]) -> Option<[u8; 64]> {
        Some([2; 64])
    }

    fn is_key(&self, _: &[u8; 64]) -> bool {
        true
    }
}

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
