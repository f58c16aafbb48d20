//! The exchange of a node under sessions, messages and dials in any order: what it remembers stays bounded, answers have no more
//! addresses than fit, and nobody who asks little is banned.
//!
//! The input is a row of steps: a byte for what happens and to whom, and for a message a byte of length and its bytes.
#![no_main]

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use std::time::Duration;
use switchboard::Direction;
use switchboard_comet::NodeId;
use switchboard_comet::pex::book::Book;
use switchboard_comet::pex::message::MAX_ADDRESSES;
use switchboard_comet::pex::state::{Action, Config, DialResult, Now, Peer, Slots, State};
use switchboard_comet::pex::{PeerAddress, Stamp};
use switchboard_comet::trust::Store;

/// Peers there are.
const PEERS: u8 = 16;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((first, mut rest)) = bytes.split_first() else { return };
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let config = Config::default().with(|config| config.seed_mode = first & 1 == 1);
    let mut now = Now { at: tokio::time::Instant::now(), wall: Stamp::from_secs(1_795_000_000) };
    let trust = Store::new(config.trust, now.at);
    let mut state = State::new(config, Book::new(first & 2 == 0, &mut rng), trust, now);
    let mut here = [false; PEERS as usize];
    while let Some((step, more)) = rest.split_first() {
        rest = more;
        let n = step % PEERS;
        let at = PeerAddress::new(NodeId([n; 20]), [30 + n, 1, 1, 1].into(), 26_656);
        let slots = Slots { outbound: 0, dialing: 0, max_outbound: 10 };
        let mut actions = Vec::new();
        match step / PEERS {
            0..=3 => {
                let direction = if step & 32 == 0 { Direction::Inbound } else { Direction::Outbound };
                let listen_addr = format!("tcp://{}:26656", at.ip);
                let peer = Peer { id: at.id, direction, ip: at.ip, port: 1, listen_addr, persistent: false };
                actions = state.connected(peer, now, &mut rng);
                here[usize::from(n)] = true;
            }
            4 | 5 => {
                state.disconnected(&at.id, now);
                here[usize::from(n)] = false;
            }
            6..=11 => {
                let (len, more) = rest.split_first().map_or((0, rest), |(len, more)| (usize::from(*len), more));
                let (message, more) = more.split_at(len.min(more.len()));
                rest = more;
                actions = state.received(&at.id, message, now, &mut rng);
            }
            12 | 13 => {
                let span = Duration::from_secs(1 << n);
                now = Now { at: now.at + span, wall: now.wall.plus(span) };
                actions = state.tick(slots, now, &mut rng);
                assert!(state.wake_at() > now.at, "a turn that is always due");
            }
            _ => {
                while let Some(dial) = state.next(slots, now, &mut rng) {
                    state.outcome(&dial.address, DialResult::Failed, now);
                }
            }
        }
        for action in actions {
            if let Action::Answer { peer, addresses } = action {
                assert!(addresses.len() <= MAX_ADDRESSES && addresses.iter().all(|address| address.id != peer));
            }
        }
        assert!(state.peers() <= here.iter().filter(|here| **here).count());
        assert!(state.dialing().len() <= 64);
    }
});
