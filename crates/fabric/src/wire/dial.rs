//! The dialler's side of a handshake.

use super::{
    CONN_WITHIN, Fabric, Live, Security, Shown, TLS_WITHIN, over, peer_id, plain_refused, refused, shown,
    within,
};
use crate::conn_establish::Proven;
use crate::grpc::STREAM_PATH;
use crate::grpc::call::{GREETS_LAST, accepted, not_ended, read_first, request, unary_ping};
use crate::http2::serve::{StandingSlot, Stream, dialled};
use crate::http2::stream::{ConnectionHandle, StreamReader, StreamWriter};
use crate::http2::verdict::h2_failed;
use crate::plain::{HEADER, Places};
use crate::tls;
use bytes::Bytes;
use rustls::pki_types::ServerName;
use std::time::Duration;
use switchboard::net::{Connection, ReadAhead};
use switchboard::wire::{HandshakeError, Stage};
use switchboard::{Candidate, Env, Reason};
use tokio::time::Instant;

/// How long we wait after the greeting for a refusal: two round trips of the unary Ping, within these bounds.
const SETTLE_LEAST: Duration = Duration::from_millis(20);
const SETTLE_MOST: Duration = Duration::from_millis(500);

/// A dialled connection whose other end has proven itself.
pub(super) struct Open {
    pub(super) established: Proven,
    pub(super) shown: Shown,
    pub(super) writer: StreamWriter,
    /// The plain protocols the peer named.
    pub(super) plain: Option<Bytes>,
    pub(super) reader: StreamReader,
    pub(super) requests: h2::client::SendRequest<Bytes>,
    pub(super) handle: ConnectionHandle,
    pub(super) standing: StandingSlot,
}

impl Fabric {
    /// Connects up to the proof of both identities, naming our plain protocols; without them it only asks who is there.
    pub(super) async fn open(
        &self,
        connection: Connection,
        whom: &Candidate,
        env: &Env,
        plain: Option<&Places>,
    ) -> Result<Open, HandshakeError> {
        let (live, remote) = (self.live(), connection.remote);
        let io = tokio::io::join(ReadAhead::new(connection.reader), connection.writer);
        if self.config.security == Security::Plain {
            plain_refused(remote)?;
            return self.open_over(&live, io, Shown::default(), whom, env, plain).await;
        }
        let name = ServerName::try_from(whom.host.clone())
            .map_err(|e| HandshakeError::Local(format!("{:?} is no host name: {e}", whom.host).into()))?;
        let connector = tokio_rustls::TlsConnector::from(live.tls.client.clone());
        let tls =
            within(TLS_WITHIN, async { connector.connect(name, io).await.map_err(tls::failed) }).await?;
        let shown = shown(tls.get_ref().1);
        self.open_over(&live, tls, shown, whom, env, plain).await
    }

    async fn open_over<T: Stream>(
        &self,
        live: &Live,
        io: T,
        shown: Shown,
        whom: &Candidate,
        env: &Env,
        plain: Option<&Places>,
    ) -> Result<Open, HandshakeError> {
        let (mut requests, handle, standing) = within(TLS_WITHIN, dialled(io)).await?;
        let opened = async {
            let asked = Instant::now();
            within(CONN_WITHIN, unary_ping(&mut requests, self.scheme(), &whom.authority())).await?;
            // A listener that does not say that it has judged us may greet first and refuse then.
            let settles = (asked.elapsed() * 2).clamp(SETTLE_LEAST, SETTLE_MOST);
            within(CONN_WITHIN, async {
                let mut request = request(self.scheme(), STREAM_PATH, &whom.authority())?;
                if let Some(named) = plain.and_then(Places::header) {
                    request.headers_mut().insert(HEADER, named);
                }
                requests = requests.clone().ready().await.map_err(h2_failed)?;
                let (response, mut send) = requests.send_request(request, false).map_err(h2_failed)?;
                send.send_data(live.introduction(plain.is_none())?, false).map_err(h2_failed)?;
                let response = accepted(response.await.map_err(h2_failed)?)?;
                let greets_last = response.headers().contains_key(GREETS_LAST);
                let named = response.headers().get(HEADER);
                let named = named.map(|named| Bytes::copy_from_slice(named.as_bytes()));
                let mut recv = response.into_body();
                let (first, rest) = read_first(&mut recv).await?;
                let established = self.judge_first(first, &shown, env)?;
                // Not even a wait of no time: the timer's step is a millisecond, a third of a handshake.
                let rest = match greets_last {
                    true => rest,
                    false => not_ended(&mut recv, rest, settles).await?,
                };
                let writer = StreamWriter::new(send, false, handle.clone());
                Ok((established, named, writer, StreamReader::new(recv, rest, handle.clone())))
            })
            .await
        };
        let (established, plain, writer, reader) =
            opened.await.map_err(|error| over(error, handle.verdict()))?;
        self.expected(whom, &established)?;
        Ok(Open { established, shown, plain, writer, reader, requests, handle, standing })
    }

    /// Whether the peer is the one that was asked for, or the same one with a renewed certificate: another identity of the same
    /// organisation, as far as that is known (fabric gossip/comm/comm_impl.go, createConnection).
    fn expected(&self, whom: &Candidate, established: &Proven) -> Result<(), HandshakeError> {
        let new = &established.identity;
        let peer = peer_id(&new.pki_id());
        let Some(wanted) = whom.id.filter(|wanted| *wanted != peer) else { return Ok(()) };
        let old: Option<[u8; 32]> = wanted.as_bytes().try_into().ok();
        let policy = &self.config.peers;
        if let Some(old) = old.filter(|_| self.config.identity_switch)
            && policy.organisation_by_id(&old).as_deref() == Some(new.mspid())
        {
            policy.switched(&old, new);
            return Ok(());
        }
        let detail = format!("asked for {wanted}, they proved {peer}");
        Err(refused(Stage::Secure, Reason::WrongIdentity, detail))
    }
}
