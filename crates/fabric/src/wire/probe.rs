//! A dial that only asks who is there: a ConnEstablish with `probe` set, and round trips of the unary Ping.

use super::dial::Open;
use super::{CONN_WITHIN, Fabric, info, peer_id, within};
use crate::grpc::call::unary_ping;
use crate::http2::stream::ConnectionHandle;
use bytes::Bytes;
use std::time::Duration;
use switchboard::net::Connection;
use switchboard::wire::{HandshakeError, RemoteInfo};
use switchboard::{Candidate, Env, PeerId};
use tokio::time::Instant;

/// A probed peer: who it is, and its round trips.
pub struct Probed {
    /// Who it proved to be.
    pub peer: PeerId,
    /// What is known of it.
    pub info: RemoteInfo,
    requests: h2::client::SendRequest<Bytes>,
    scheme: &'static str,
    authority: String,
    #[allow(dead_code)] // the connection lives as long as this
    handle: ConnectionHandle,
}

impl Probed {
    /// The round trip of a unary Ping.
    ///
    /// # Errors
    /// As for a dial.
    pub async fn ping(&mut self) -> Result<Duration, HandshakeError> {
        let began = Instant::now();
        within(CONN_WITHIN, unary_ping(&mut self.requests, self.scheme, &self.authority)).await?;
        Ok(began.elapsed())
    }
}

/// Dials a peer only to learn who it is: a ConnEstablish with `probe` set.
///
/// # Errors
/// As for any dial.
pub async fn probe(
    connection: Connection,
    candidate: &Candidate,
    wire: &Fabric,
    env: &Env,
) -> Result<Probed, HandshakeError> {
    let Open { established, shown, requests, handle, .. } =
        wire.open(connection, candidate, env, None).await?;
    Ok(Probed {
        peer: peer_id(&established.identity.pki_id()),
        info: info(&established, &shown),
        requests,
        scheme: wire.scheme(),
        authority: candidate.authority(),
        handle,
    })
}
