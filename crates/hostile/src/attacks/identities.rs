//! Identities that cost nothing: one certificate in many encodings, and keys by the dozen.

use super::twin::twin;
use super::{Trying, hostile};
use crate::gossip::Gossip;
use crate::node::{Launch, Node};
use crate::stranger::{Offering, dial, linger};
use crate::trial::Trial;
use crate::world::{ORG, World};
use anyhow::Context;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use switchboard_fabric::PeerFolder;
use switchboard_fabric::identity::pem_certificate;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const ENCODINGS: usize = 50;
const CROWD: usize = 60;
const STEP: Duration = Duration::from_secs(5);

/// The `n`th way to write a certificate; the first is Go's.
fn encoding(certificate: &[u8], n: usize) -> String {
    let go = pem_certificate(certificate);
    let more = "\n".repeat(n / 3 + 1);
    match n {
        0 => go,
        n if n % 3 == 0 => format!("{go}{more}"),
        n if n % 3 == 1 => go.replacen("-----\n", &format!("-----\n{more}"), 1),
        _ => format!("{more}{go}"),
    }
}

async fn open(folder: &PeerFolder, node: &Node, from: Ipv4Addr, n: usize) -> anyhow::Result<Gossip> {
    let certificate = folder.identity.identity().certificate();
    let written = match n {
        ENCODINGS => pem_certificate(&twin(certificate).context("the certificate has no twin")?),
        n => encoding(certificate, n),
    };
    Gossip::open(folder, node, from, written).await
}

/// Sessions the node has with attackers on a wire.
fn sessions(node: &Node, wire: &str) -> usize {
    let of = |name: &'static str| {
        node.count(|event| {
            let remote = event["remote"].as_str().unwrap_or_default();
            event["event"] == name && event["wire"] == wire && remote.starts_with("127.66.")
        })
    };
    of("peer_added").saturating_sub(of("peer_dropped"))
}

/// Held when one certificate is one session, and honest peers get in.
pub(crate) fn encodings(world: &Arc<World>) -> Trying<'_> {
    Box::pin(async move {
        let folder = PeerFolder::load(world.hostile_peer(0), ORG)?;
        let launch = Launch::new(world)?.flag("--max-peers", "40");
        let mut trial = Trial::begin(world, launch).await?;
        let mut held = Vec::new();
        // The last one is Go's again, of the certificate with the other signature of its issuer.
        for n in 0..=ENCODINGS {
            if let Ok(Ok(session)) = timeout(STEP, open(&folder, &trial.node, hostile(0, n), n)).await {
                held.push(session);
            }
        }
        trial.press()?;
        sleep(world.hold).await;
        let sessions = sessions(&trial.node, "fabric");
        // Reading keeps HTTP/2's windows open; what is said does not matter.
        for session in &mut held {
            let _ = timeout(Duration::from_millis(1), session.hear()).await;
        }
        let mut report = trial.finish().await?;
        report.check("sessions of one certificate", sessions.to_string(), "1".to_owned(), sessions == 1);
        Ok(report)
    })
}

/// Held when visitors of the other wires get in.
pub(crate) fn crowd(world: &Arc<World>) -> Trying<'_> {
    Box::pin(async move {
        let mut trial = Trial::begin(world, Launch::new(world)?).await?;
        let (mut sessions_kept, mut refused) = (JoinSet::new(), 0);
        for n in 0..CROWD {
            match dial(world, &trial.node, "comet", Offering::Bench, hostile(0, n)).await {
                Ok((talker, listener, _)) => {
                    sessions_kept.spawn(linger(talker, listener));
                }
                Err(_) => refused += 1,
            }
        }
        trial.press()?;
        sleep(world.hold).await;
        let sessions = sessions(&trial.node, "comet");
        let mut report = trial.finish_judging(|kind| kind != "comet").await?;
        report.notes.push(format!(
            "{sessions} of {CROWD} have a session, {refused} were refused at once; comet's own visitors are not judged"
        ));
        Ok(report)
    })
}
