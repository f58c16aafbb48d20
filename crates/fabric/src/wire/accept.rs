//! The listener's side of a handshake.

use super::{
    CONN_WITHIN, Fabric, Live, PROBE_LINGER, STREAM_WITHIN, Security, Shown, TLS_WITHIN, holder, over,
    peer_id, plain_refused, refused, shown, within,
};
use crate::conn_establish::Proven;
use crate::grpc::call::{answer, greets_last, read_first};
use crate::grpc::{STATUS_OK, STATUS_PERMISSION_DENIED, STATUS_UNAUTHENTICATED};
use crate::http2::serve::{Accepted, Stream, accepted};
use crate::http2::stream::{StreamReader, StreamWriter};
use crate::http2::verdict::h2_failed;
use crate::plain::HEADER;
use crate::tls;
use bytes::Bytes;
use switchboard::Direction;
use switchboard::net::{Connection, ReadAhead};
use switchboard::text::printable;
use switchboard::wire::{Established, HandshakeError, Stage, Upgrade};
use switchboard::{Reason, wire};
use tokio::time::timeout;

const NO_CERTIFICATE: &str = "no TLS certificate";

impl Fabric {
    pub(super) async fn accept_stream(
        &self,
        connection: Connection,
        upgrade: Upgrade,
    ) -> Result<Established, HandshakeError> {
        let live = self.live();
        let remote = connection.remote;
        let io = tokio::io::join(ReadAhead::new(connection.reader), connection.writer);
        if self.config.security == Security::Plain {
            plain_refused(remote)?;
            return self.accept_over(&live, io, Shown::default(), upgrade).await;
        }
        let acceptor = tokio_rustls::TlsAcceptor::from(live.tls.server.clone());
        let tls = within(TLS_WITHIN, async { acceptor.accept(io).await.map_err(tls::failed) }).await?;
        let shown = shown(tls.get_ref().1);
        self.accept_over(&live, tls, shown, upgrade).await
    }

    async fn accept_over<T: Stream>(
        &self,
        live: &Live,
        io: T,
        shown: Shown,
        upgrade: Upgrade,
    ) -> Result<Established, HandshakeError> {
        let accepted = accepted(io, CONN_WITHIN);
        let Accepted { handle, opened, over: ended, standing } = within(TLS_WITHIN, accepted).await?;
        let closed = || over(HandshakeError::Closed(Stage::Secure), handle.verdict());
        let stream = async { opened.await.map_err(|_| closed()) };
        let (request, mut respond) = within(STREAM_WITHIN, stream).await?;
        if shown.hash.is_none() && self.config.security != Security::Plain {
            answer(&mut respond, STATUS_UNAUTHENTICATED, NO_CERTIFICATE);
            return Err(refused(Stage::Secure, Reason::InvalidIdentity, NO_CERTIFICATE));
        }
        // The greeting comes after the judgement: whoever is greeted is not refused any more.
        let plain = self.places(&upgrade.offer).unwrap_or_default();
        let mut head = greets_last();
        if let Some(named) = plain.header() {
            head.headers_mut().insert(HEADER, named);
        }
        let theirs = request.headers().get(HEADER).map(|named| Bytes::copy_from_slice(named.as_bytes()));
        // At once: who waits for it before the first word must get it.
        let send = respond.send_response(head, false).map_err(h2_failed)?;
        let mut writer = StreamWriter::new(send, true, handle.clone());
        let mut recv = request.into_body();
        let first = within(CONN_WITHIN, async {
            let (first, rest) = read_first(&mut recv).await?;
            Ok((self.judge_first(first, &shown, &upgrade.env)?, rest))
        });
        let (established, rest) = match first.await {
            Ok(first) => first,
            Err(error) => {
                writer.end_with(STATUS_UNAUTHENTICATED, &told(&error));
                return Err(error);
            }
        };
        if let Err(reason) = self.admitted(&established, &upgrade).await {
            writer.end_with(STATUS_PERMISSION_DENIED, &format!("refused: {reason}"));
            return Err(HandshakeError::RefusedByUs(reason));
        }
        writer.send_first(live.greeting()?).map_err(h2_failed)?;
        if established.probe {
            writer.end_with(STATUS_OK, "");
            // The connection's task answers further Pings; nobody can open a stream any more, so this waits for its end.
            let _ = timeout(PROBE_LINGER, ended).await;
            return Err(HandshakeError::Probed(peer_id(&established.identity.pki_id())));
        }
        self.watch(standing, &established, &upgrade.env);
        let reader = StreamReader::new(recv, rest, handle);
        Ok(self.session(&established, &shown, &upgrade.offer, theirs.as_deref(), (reader, writer)))
    }

    /// Whether the Switch takes this peer; a probe becomes no session.
    async fn admitted(&self, established: &Proven, upgrade: &Upgrade) -> Result<(), Reason> {
        if established.probe {
            return Ok(());
        }
        let peer = peer_id(&established.identity.pki_id());
        upgrade.gate.identity_of(holder(established), peer, Direction::Inbound).await
    }
}

/// What a refused dialler is told: its own fault in a sentence, nothing of ours.
fn told(error: &HandshakeError) -> String {
    match error {
        HandshakeError::Peer { fault: wire::Fault { reason, detail }, .. } => {
            printable(&format!("{reason}: {detail}"))
        }
        HandshakeError::Timeout(_) => "no ConnEstablish in time".to_owned(),
        _ => "the handshake failed".to_owned(),
    }
}
