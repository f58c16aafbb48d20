//! A node of discv4 under a stranger's packets: no more than three times the bytes go back, and time always moves on.
//!
//! The input is a row of packets: two bytes of length, then kind and list.
#![no_main]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switchboard_discv::v4::packet::Endpoint;
use switchboard_discv::v4::{Action, Config, State};
use switchboard_discv::{NodeDb, Now};
use switchboard_enr::keccak::keccak256;
use switchboard_fuzz::Anybody;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let from: SocketAddr = ([50, 0, 0, 1], 2_000).into();
    // Just before the recorded packets expire, so that the corpus counts.
    let mut now = Now { mono: Duration::ZERO, unix: 4_102_444_790 };
    let local = Endpoint::new(([40, 0, 0, 1], 30_303).into(), 0);
    let mut state = State::new(Arc::new(Anybody), local, NodeDb::forgetful(10), Config::new(vec![], [1; 32]), now);
    let (mut came, mut went, mut rest) = (0, 0, bytes);
    while let Some((head, more)) = rest.split_first_chunk::<2>() {
        let (packet, more) = more.split_at(usize::from(u16::from_be_bytes(*head)).min(more.len()));
        rest = more;
        let mut sealed = vec![0; 32];
        sealed.extend([1; 65]);
        sealed.extend_from_slice(packet);
        let hash = keccak256(&sealed[32..]);
        sealed[..32].copy_from_slice(&hash);
        came += sealed.len();
        let _ = state.receive(now, from, &sealed);
        state.wake(now);
        while let Some(action) = state.next_action() {
            if let Action::Send { bytes, .. } = action {
                went += bytes.len();
            }
        }
        now = now.after(Duration::from_millis(100));
    }
    // Unless the fuzzer found the hash of a ping back, and so proved the address.
    assert!(went <= 3 * came || !state.db().is_empty());
});
