//! ECIES messages to a fixed key.
#![no_main]

use switchboard_devp2p::{NodeKey, ecies};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some(key) = NodeKey::from_bytes(&[1; 32]) else { return };
    let _ = ecies::open(&key, bytes, &[]);
});
