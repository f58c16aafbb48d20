//! A program's own filters: by address and by identity, in both directions, and those that never answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use common::net::Net;
use common::*;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switchboard::switch::filter::{ANSWER_WITHIN, Filter, Newcomer};
use switchboard::{BoxFuture, Direction, Event, Reason};
use tokio::time::Instant;

type Answer = Result<(), Reason>;

/// Answers as it is told to, and keeps what it was asked.
#[derive(Default)]
struct Doorman {
    connections: Mutex<Vec<(SocketAddr, Direction)>>,
    peers: Mutex<Vec<Newcomer>>,
    no_to_address: bool,
    no_to_peer: bool,
    hangs: bool,
    panics: bool,
}

impl Filter for Doorman {
    fn connection(&self, remote: SocketAddr, direction: Direction) -> BoxFuture<'static, Answer> {
        self.connections.lock().push((remote, direction));
        let answer = if self.no_to_address { Err(Reason::AccessDenied) } else { Ok(()) };
        Box::pin(std::future::ready(answer))
    }

    fn peer(&self, newcomer: &Newcomer) -> BoxFuture<'static, Answer> {
        self.peers.lock().push(newcomer.clone());
        let (hangs, panics, no) = (self.hangs, self.panics, self.no_to_peer);
        Box::pin(async move {
            assert!(!panics, "a filter that fails");
            if hangs {
                std::future::pending::<()>().await;
            }
            if no { Err(Reason::Useless) } else { Ok(()) }
        })
    }
}

async fn refused(events: &mut switchboard::Events) -> Reason {
    until(events, |event| match event {
        Event::Refused { reason, .. } | Event::DialFailed { reason, .. } => Some(reason.clone()),
        _ => None,
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn filters_are_asked_of_both_directions_and_each_must_agree() {
    let world = Net::default();
    let net: Arc<dyn switchboard::net::Network> = world.host([127, 0, 0, 1]);
    let other = builder(&net, 2).protocol(echo("p")).start().await.unwrap();
    let cases = [
        (Doorman { no_to_address: true, ..Doorman::default() }, Reason::AccessDenied),
        (Doorman { no_to_peer: true, ..Doorman::default() }, Reason::Useless),
        (Doorman { hangs: true, ..Doorman::default() }, Reason::AccessDenied),
        (Doorman { panics: true, ..Doorman::default() }, Reason::AccessDenied),
    ];
    for (n, (doorman, reason)) in (3..).zip(cases) {
        let (easy, hard) = (Arc::new(Doorman::default()), Arc::new(doorman));
        let here = builder(&net, n).protocol(echo("p")).filter(easy.clone()).filter(hard.clone());
        let here = here.start().await.unwrap();
        let mut events = here.events();
        for direction in [Direction::Outbound, Direction::Inbound] {
            let (from, to) = if direction == Direction::Outbound { (&here, &other) } else { (&other, &here) };
            let asked = Instant::now();
            let _ = from.offer(address(to)).await;
            assert_eq!(refused(&mut events).await, reason);
            assert!(!hard.hangs || asked.elapsed() >= ANSWER_WITHIN);
            assert!(asked.elapsed() < ANSWER_WITHIN + Duration::from_secs(5));
            assert_eq!(hard.connections.lock().pop().unwrap().1, direction);
            if let Some(newcomer) = hard.peers.lock().pop() {
                assert_eq!((newcomer.id, newcomer.direction), (id(2), direction));
            }
        }
        assert!(here.peers().is_empty());
        settle().await;
        assert_eq!(here.bytes_held(), 0);
        finish(&[&here]).await;
    }
    // All agree.
    let doormen = [Arc::new(Doorman::default()), Arc::new(Doorman::default())];
    let here = builder(&net, 9).protocol(echo("p")).filter(doormen[0].clone()).filter(doormen[1].clone());
    let here = here.start().await.unwrap();
    join(&other, &here).await;
    assert!(doormen.iter().all(|doorman| doorman.peers.lock().len() == 1));
    finish(&[&here, &other]).await;
}
