//! Packets of discv4, whose hash the target makes: a packet that is read can be written and read again.
#![no_main]

use switchboard_discv::v4::packet::{MAX_PACKET, Packet};
use switchboard_enr::keccak::keccak256;
use switchboard_fuzz::Anybody;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Packet::decode(bytes, &Anybody);
    let mut sealed = vec![0; 32 + 65];
    sealed.extend_from_slice(bytes);
    let hash = keccak256(&sealed[32..]);
    sealed[..32].copy_from_slice(&hash);
    if let Ok(got) = Packet::decode(&sealed, &Anybody) {
        assert!(sealed.len() <= MAX_PACKET);
        let (again, _) = got.packet.encode(&Anybody);
        // A packet of the largest size whose neighbours were written short may be longer when written in full.
        if again.len() <= MAX_PACKET {
            let again = Packet::decode(&again, &Anybody).map(|got| got.packet.kind());
            assert_eq!(again, Ok(got.packet.kind()));
        }
    }
});
