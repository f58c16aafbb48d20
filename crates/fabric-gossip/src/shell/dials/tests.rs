#![allow(clippy::unwrap_used)] // tests

use super::*;
use crate::membership::SelfInfo;
use crate::shell::links::Links;
use crate::shell::{KnownPeers, MspCrypto};
use crate::{Config, types};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use switchboard::net::memory::MemoryNetwork;
use switchboard::{BoxFuture, Env, PeerId, Reason};
use switchboard_fabric::keygen::keygen;
use switchboard_fabric::{FABRIC, Fabric, FabricConfig, PeerFolder};
use tokio::time::Instant;

/// Takes turns until there are none; nobody gives one back.
async fn take_all(turns: &Turns, own: bool) -> Vec<SemaphorePermit<'_>> {
    let mut taken = Vec::new();
    while let Some(turn) = turns.dial(own).await {
        taken.push(turn);
    }
    taken
}

#[tokio::test(start_paused = true)]
async fn half_of_the_turns_are_for_our_own_organisation() {
    let turns = Turns::default();
    let begun = Instant::now();
    let others = take_all(&turns, false).await;
    assert_eq!((others.len(), turns.free()), (MAX_DIALS / 2, [MAX_DIALS / 2, 0, MAX_PROBES]));
    assert_eq!(begun.elapsed(), TURN_WITHIN, "the one too many waited");
    // Endpoints of others that never answer do not stop our own.
    let own = take_all(&turns, true).await;
    assert_eq!((own.len(), turns.free()), (MAX_DIALS / 2, [0, 0, MAX_PROBES]));
    drop(others);
    // Our own may have them all.
    let rest = take_all(&turns, true).await;
    assert_eq!((rest.len(), turns.free()), (MAX_DIALS / 2, [0, 0, MAX_PROBES]));
}

#[tokio::test(start_paused = true)]
async fn a_turn_given_back_is_had_by_who_waits() {
    let turns = Turns::default();
    let mut others = take_all(&turns, false).await;
    let begun = Instant::now();
    let waits = turns.dial(false);
    let gives_back = async {
        tokio::time::sleep(TURN_WITHIN / 2).await;
        drop(others.pop());
    };
    let (turn, ()) = tokio::join!(waits, gives_back);
    assert!(turn.is_some() && begun.elapsed() == TURN_WITHIN / 2);
    let mut probes = Vec::new();
    while let Some(turn) = turns.probe().await {
        probes.push(turn);
    }
    assert_eq!((probes.len(), turns.free()[2]), (MAX_PROBES, 0), "probes have turns of their own");
}

/// What dials come to, and how many there were.
#[derive(Default)]
struct Dialled {
    /// How long a dial takes.
    takes: Mutex<Duration>,
    answers: Mutex<Option<Result<PeerId, String>>>,
    count: Mutex<usize>,
}

impl Links for Dialled {
    fn connect<'a>(&'a self, _: &'a Candidate) -> BoxFuture<'a, Result<PeerId, String>> {
        *self.count.lock() += 1;
        let (answer, takes) = (self.answers.lock().clone(), *self.takes.lock());
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }

    fn disconnect(&self, _: PkiId, _: Reason) {}
}

/// A node without sessions, whose dials come to what the test says.
fn shell(links: &Arc<Dialled>) -> (Arc<Shell>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let now = Env::system().unwrap().wall();
    let env =
        Env::seeded(Arc::new(MemoryNetwork::default()), now.duration_since(UNIX_EPOCH).unwrap().as_secs(), 1);
    let made = keygen(&dir.path().join("org"), "Org1MSP", 1, now).unwrap();
    let mut config = FabricConfig::new(PeerFolder::load(&made[0], "Org1MSP").unwrap());
    let known = KnownPeers::new(Arc::clone(&config.policy));
    config.peers = Arc::clone(&known) as _;
    let wire = Arc::new(Fabric::new(config).unwrap());
    let clock = env.clone();
    let crypto = MspCrypto::new(Arc::clone(&wire), known, move || clock.wall());
    let shell = Shell::new(env, wire, crypto);
    let endpoint = types::Endpoint::parse("127.0.0.1:7051").unwrap();
    let info = SelfInfo { endpoint, external: None, metadata: Bytes::new() };
    shell.start(Arc::clone(links) as Arc<dyn Links>, Config::default(), info).unwrap();
    (shell, dir)
}

const PEER: PkiId = PkiId([7; 32]);

fn somewhere() -> Endpoint {
    Endpoint::parse("127.0.0.1:7052").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_fails_waits_for_one_that_crossed_it() {
    let links = Arc::new(Dialled::default());
    let (shell, _dir) = shell(&links);
    *links.answers.lock() = Some(Err("refused".to_owned()));
    let begun = Instant::now();
    let missed = shell.connect(PEER, Some(&somewhere())).await.unwrap_err();
    assert_eq!((missed, begun.elapsed(), *links.count.lock()), (Missed::Absent, CROSSED_WITHIN, 1));
    assert_eq!(
        shell.load().free_turns,
        [MAX_DIALS / 2, MAX_DIALS / 2, MAX_PROBES],
        "the turn was given back"
    );
    // It renewed its certificate: nobody will come by the old name.
    *links.answers.lock() = Some(Ok(PeerId::new(FABRIC, &[8; 32]).unwrap()));
    let begun = Instant::now();
    let missed = shell.connect(PEER, Some(&somewhere())).await.unwrap_err();
    assert_eq!((missed, begun.elapsed()), (Missed::Absent, Duration::ZERO));
    // It answered, and its session is never told.
    *links.answers.lock() = Some(Ok(PeerId::new(FABRIC, &PEER.0).unwrap()));
    let missed = shell.connect(PEER, Some(&somewhere())).await.unwrap_err();
    assert_eq!((missed, begun.elapsed()), (Missed::Absent, TOLD_WITHIN));
    // Without an endpoint there is nothing to dial.
    assert_eq!(shell.connect(PEER, None).await.unwrap_err(), Missed::Absent);
    assert_eq!(*links.count.lock(), 3);
}

#[tokio::test(start_paused = true)]
async fn who_gets_no_turn_is_told_that_we_are_busy() {
    let links = Arc::new(Dialled::default());
    let (shell, _dir) = shell(&links);
    // Dials of peers of no known organisation that never come to an end.
    let dials: Vec<_> = (0..MAX_DIALS / 2)
        .map(|n| {
            let (shell, id) = (Arc::clone(&shell), PkiId([n as u8 + 20; 32]));
            tokio::spawn(async move { shell.connect(id, Some(&somewhere())).await.map(drop) })
        })
        .collect();
    while *links.count.lock() < MAX_DIALS / 2 {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    let missed = shell.connect(PEER, Some(&somewhere())).await.unwrap_err();
    assert_eq!((missed, begun.elapsed()), (Missed::Busy, TURN_WITHIN));
    assert_eq!(*links.count.lock(), MAX_DIALS / 2, "it was not dialled");
    // And that says nothing of the peer: its message is given up alone.
    dials.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_ran_out_of_time_keeps_its_turn_for_a_while() {
    let links = Arc::new(Dialled::default());
    let (shell, _dir) = shell(&links);
    *links.answers.lock() = Some(Err("no answer in time".to_owned()));
    let free = || shell.load().free_turns[1];
    for (takes, free_while_it_waits) in [(SLOW, MAX_DIALS / 2 - 1), (SLOW / 2, MAX_DIALS / 2)] {
        *links.takes.lock() = takes;
        let dial = {
            let shell = Arc::clone(&shell);
            tokio::spawn(async move { shell.connect(PEER, Some(&somewhere())).await.map(drop) })
        };
        tokio::time::sleep(takes + CROSSED_WITHIN / 2).await;
        assert_eq!(free(), free_while_it_waits, "after {takes:?}");
        assert_eq!(dial.await.unwrap().unwrap_err(), Missed::Absent);
        assert_eq!(free(), MAX_DIALS / 2, "given back");
    }
}
