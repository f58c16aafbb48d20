//! Identities that cost nothing: one certificate in many encodings, and keys by the dozen.

use super::twin::twin;
use super::{Trying, hostile};
use crate::node::{Launch, Node};
use crate::proxy::connect;
use crate::stranger::{Offering, dial, linger};
use crate::trial::Trial;
use crate::world::{ORG, World};
use anyhow::Context;
use bytes::{Bytes, BytesMut};
use h2::client::{SendRequest, handshake};
use prost::Message;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use switchboard_fabric::PeerFolder;
use switchboard_fabric::conn_establish::certificate_hash;
use switchboard_fabric::grpc::{CONTENT_TYPE, STREAM_PATH, put_message};
use switchboard_fabric::identity::{pem_certificate, pki_id};
use switchboard_fabric::message::{ConnEstablish, Content, GossipMessage, SerializedIdentity, Tag};
use switchboard_fabric::sign::sign;
use switchboard_fabric::tls::configs;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

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

/// A session with one encoding of the certificate, held by its two halves.
struct Held {
    _requests: SendRequest<Bytes>,
    _stream: h2::SendStream<Bytes>,
    body: h2::RecvStream,
}

async fn open(folder: &PeerFolder, node: &Node, from: Ipv4Addr, n: usize) -> anyhow::Result<Held> {
    let certificate = folder.identity.identity().certificate();
    let written = match n {
        ENCODINGS => pem_certificate(&twin(certificate).context("the certificate has no twin")?),
        n => encoding(certificate, n),
    };
    let id_bytes: Bytes = written.into_bytes().into();
    let conn = ConnEstablish {
        pki_id: pki_id(ORG, &id_bytes).to_vec().into(),
        identity: SerializedIdentity { mspid: ORG.to_owned(), id_bytes }.encode_to_vec().into(),
        tls_cert_hash: certificate_hash(folder.tls.chain.first().context("no TLS certificate")?)
            .to_vec()
            .into(),
        probe: false,
    };
    let first = sign(&folder.identity, &GossipMessage::new(Tag::Empty, &[], 0, Content::Conn(conn)))?;
    let mut framed = BytesMut::new();
    put_message(&first.encode_to_vec(), &mut framed);

    let tls = TlsConnector::from(configs(folder, &folder.trust(), false)?.client);
    let stream = tls.connect("127.0.0.1".try_into()?, connect(from, node.addr()?).await?).await?;
    let (requests, connection) = handshake(stream).await?;
    tokio::spawn(connection);
    let mut requests = requests.ready().await?;
    let request = http::Request::post(format!("https://127.0.0.1{STREAM_PATH}"))
        .header("content-type", CONTENT_TYPE)
        .header("te", "trailers")
        .body(())?;
    let (response, mut stream) = requests.send_request(request, false)?;
    stream.send_data(framed.freeze(), false)?;
    let body = response.await?.into_body();
    Ok(Held { _requests: requests, _stream: stream, body })
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
        let folder = PeerFolder::load(world.hostile_peer(), ORG)?;
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
            let _ = timeout(Duration::from_millis(1), session.body.data()).await;
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
