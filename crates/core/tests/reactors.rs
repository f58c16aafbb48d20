//! Reactors: which call comes when, and that every peer that was added is removed exactly once, however its
//! session ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use bytes::Bytes;
use common::net::Net;
use common::*;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use switchboard::protocol::channel::{ChannelId, ChannelSpec};
use switchboard::protocol::reactor::Adapter;
use switchboard::protocol::{ProtocolError, ProtocolSpec};
use switchboard::{BoxFuture, End, Peer, Reactor, Reason, Switch};

/// Who was called, in the order of the calls of all reactors of a node.
type Diary = Arc<Mutex<Vec<String>>>;

/// What goes wrong in a reactor.
#[derive(Clone, Copy, Default)]
struct Faults {
    init: bool,
    add: bool,
    remove: bool,
}

struct Noting {
    name: &'static str,
    diary: Diary,
    faults: Faults,
}

impl Noting {
    fn note(&self, call: &str) {
        self.diary.lock().push(format!("{} {call}", self.name));
    }
}

impl Reactor for Noting {
    fn spec(&self) -> ProtocolSpec {
        ProtocolSpec::new(self.name, 1, vec![ChannelSpec::new(0, 1)])
    }

    fn init_peer(&self, _: &Peer) {
        self.note("init");
        assert!(!self.faults.init, "init_peer panics");
    }

    fn add_peer(&self, _: &Peer) {
        self.note("add");
        assert!(!self.faults.add, "add_peer panics");
    }

    fn receive<'a>(
        &'a self,
        _: &'a Peer,
        _: ChannelId,
        message: Bytes,
    ) -> BoxFuture<'a, Result<(), ProtocolError>> {
        Box::pin(async move {
            let text = String::from_utf8_lossy(&message).into_owned();
            self.note(&text);
            match text.as_str() {
                "breach" => Err(ProtocolError::Breach("said breach")),
                "failed" => Err(ProtocolError::Failed("out of luck".into())),
                "useless" => Err(ProtocolError::Useless),
                "closed" => Err(ProtocolError::Closed),
                "panic" => panic!("a callback panics"),
                "hang" => std::future::pending().await,
                _ => Ok(()),
            }
        })
    }

    fn remove_peer(&self, _: &Peer, end: &End) {
        self.note(&format!("remove {}", end.reason.code()));
        assert!(!self.faults.remove, "remove_peer panics");
    }
}

/// A node with a reactor of each name, a peer of it that speaks, and the node's events since before they met.
async fn met(names: &[(&'static str, Faults)]) -> (Diary, Switch, Switch, Peer, switchboard::Events) {
    let net = Net::default().host([127, 0, 0, 1]);
    let diary = Diary::default();
    let mut here = builder(&net, 1);
    let mut there = builder(&net, 2);
    for (name, faults) in names {
        let noting = Noting { name, diary: Arc::clone(&diary), faults: *faults };
        here = here.protocol(Arc::new(Adapter(noting)));
        there = there.protocol(sink(name, vec![ChannelSpec::new(0, 1)]));
    }
    let (here, there) = (here.start().await.unwrap(), there.start().await.unwrap());
    let events = here.events();
    let (peer, _) = join(&there, &here).await;
    (diary, here, there, peer, events)
}

#[tokio::test(start_paused = true)]
async fn every_reactor_prepares_a_peer_before_any_meets_it() {
    let none = Faults::default();
    let (diary, here, there, peer, mut events) = met(&[("b", none), ("a", none), ("c", none)]).await;
    for name in ["a", "b", "c"] {
        peer.send(name, C0, Bytes::from_static(b"one")).await.unwrap();
        peer.send(name, C0, Bytes::from_static(b"two")).await.unwrap();
    }
    settle().await;
    peer.disconnect(Reason::Requested);
    dropped(&mut events).await;
    let lines = diary.lock().clone();
    let prepared = lines.iter().take_while(|line| line.ends_with("init")).count();
    assert_eq!(prepared, 3, "{lines:?}");
    for name in ["a", "b", "c"] {
        let of_it = lines.iter().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>();
        assert_eq!(of_it, [" init", " add", " one", " two", " remove requested"]);
    }
    finish(&[&here, &there]).await;
}

/// Every way a session can end: the reactor in trouble and the one beside it are told once, with one reason.
#[tokio::test(start_paused = true)]
async fn remove_peer_is_called_exactly_once_however_the_session_ends() {
    for (how, reason) in [
        ("breach", "breach"),
        ("failed", "protocol_error"),
        ("useless", "useless"),
        ("panic", "protocol_error"),
        ("hang", "useless"),
        ("closed", "requested"),
        ("they leave", "requested"),
        ("we leave", "useless"),
        ("they stop", "quitting"),
        ("we stop", "quitting"),
    ] {
        let none = Faults::default();
        let (diary, here, there, peer, mut events) = met(&[("a", none), ("b", none)]).await;
        settle().await;
        match how {
            "they leave" => peer.disconnect(Reason::Requested),
            "we leave" => assert!(here.disconnect(&id(2), Reason::Useless)),
            "they stop" => there.stop().await,
            "we stop" => here.stop().await,
            message => {
                peer.send("a", C0, Bytes::copy_from_slice(message.as_bytes())).await.unwrap();
                settle().await;
                match how {
                    "hang" => assert!(here.disconnect(&id(2), Reason::Useless)),
                    "closed" => peer.disconnect(Reason::Requested),
                    _ => {}
                }
            }
        }
        let (_, end) = dropped(&mut events).await;
        assert_eq!(end.reason.code(), reason, "{how}");
        let lines = diary.lock().clone();
        for name in ["a", "b"] {
            let removed = lines.iter().filter(|line| line.starts_with(&format!("{name} remove")));
            let removed: Vec<_> = removed.cloned().collect();
            let told = if (how, name) == ("closed", "a") { "quitting" } else { reason };
            assert_eq!(removed, [format!("{name} remove {told}")], "{how}");
        }
        finish(&[&here, &there]).await;
        assert_eq!(diary.lock().len(), lines.len(), "{how}: called after the end was told");
    }
}

/// Callbacks that panic, also one while another's panic unwinds: the session ends, and nothing more.
#[tokio::test(start_paused = true)]
async fn callbacks_that_panic_end_one_session() {
    let faults = |init, add, remove| Faults { init, add, remove };
    for (faults, said, calls) in [
        (faults(true, false, true), "", vec!["init"]),
        (faults(false, true, false), "", vec!["init", "add", "remove protocol_error"]),
        (faults(false, true, true), "", vec!["init", "add", "remove protocol_error"]),
        (faults(false, false, true), "panic", vec!["init", "add", "panic", "remove protocol_error"]),
        (faults(false, false, true), "breach", vec!["init", "add", "breach", "remove breach"]),
        (faults(false, false, true), "leave", vec!["init", "add", "leave", "remove requested"]),
    ] {
        let (diary, here, there, peer, mut events) = met(&[("a", faults), ("b", Faults::default())]).await;
        if !said.is_empty() {
            peer.send("a", C0, Bytes::copy_from_slice(said.as_bytes())).await.unwrap();
            settle().await;
            peer.disconnect(Reason::Requested);
        }
        let (_, end) = dropped(&mut events).await;
        let expected = match said {
            "breach" => "breach",
            "leave" => "requested",
            _ => "protocol_error",
        };
        assert_eq!(end.reason.code(), expected);
        let lines = diary.lock().clone();
        let of_it: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("a ")).collect();
        assert_eq!(of_it, calls);
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert!(here.peers().is_empty());
        finish(&[&here, &there]).await;
    }
}
