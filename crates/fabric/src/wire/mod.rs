//! The wire: from a connection to a session.
//!
//! ```text
//!   dialler                                           listener
//!     │ ═══ TLS 1.2/1.3, a certificate on both sides, ALPN h2 ═══ │   5 s
//!     │ ── unary Ping ───────────────────▶ ◀──────── Empty ────── │   2 s
//!     │ ── GossipStream: ConnEstablish ──▶ ◀── ConnEstablish ──── │   2 s; a Go listener greets at once, we once we have judged
//!     │     identity valid, TLS hash, signature; the Switch's gate │
//!     │ ◀──────────────────── envelopes ────────────────────────▶ │
//! ```
//! (fabric gossip/comm/comm_impl.go)
//!
//! Limits: first messages of at most 128 KiB, [`MAX_STREAMS`] streams a connection, of which one is a GossipStream; headers of
//! at most 16 KiB. A probe is authenticated, answered and ended with OK; it becomes no session and is told as
//! what it is. It keeps its place among the handshakes for up to [`PROBE_LINGER`], so that the prober can
//! measure round trips. A dialled peer that proves another PKI-ID than the one asked for is refused; with
//! [`FabricConfig::identity_switch`] one of the same organisation stays, as in Go, and the policy is told.
//! A peer we refuse is told by status and sentence: 16 when it proved nothing, 7 when the Switch does not want it, 2 when it
//! breaks a rule in its session, 14 when we shut down. A session ends when its peer's certificate expires or is revoked.
//!
//! Not protected from: a ConnEstablish names a TLS certificate, not a TLS session, so whoever holds a peer's TLS key can
//! present its recorded ConnEstablish; a trusted peer sees who else is connected to whom by probing.

mod accept;
pub mod address;
mod dial;
pub mod probe;

pub use address::{endpoint, parse};
pub use probe::{Probed, probe};

pub use crate::http2::serve::MAX_STREAMS;

use crate::cast::ChannelName;
use crate::conn_establish::{Proven, build, certificate_hash, verify};
use crate::grpc;
use crate::http2::KeepAlive;
use crate::http2::serve::StandingSlot;
use crate::http2::stream::{StreamReader, StreamWriter};
use crate::http2::verdict::Verdict;
use crate::msp::{PeerFolder, Trust};
use crate::plain::{Places, Unplaceable};
use crate::policy::{MspPolicy, PeerPolicy, standing_lost};
use crate::session::{EnvelopeDecoder, EnvelopeEncoder, MAX_MESSAGE};
use crate::tls::{TlsConfigs, TlsMaterial, configs};
use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, RwLock};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use switchboard::net::Connection;
use switchboard::preset::{Keep, OtherIdentity, Preset, SlotRule};
use switchboard::wire::{
    AddressError, Established, Fault, HandshakeError, Liveness, Offer, Placement, RemoteInfo, Rules,
    SessionChannel, Sniff, Stage, Upgrade, Wire,
};
use switchboard::{BoxFuture, Candidate, Direction, Env, PeerId, Reason, WireName};
use tokio::time::timeout;

/// The wire's name.
pub const FABRIC: WireName = "fabric";
/// Time to resolve a name and to connect (fabric gossip.dialTimeout).
pub const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Time for TLS (fabric internal/pkg/comm/config.go, ConnectionTimeout).
const TLS_WITHIN: Duration = Duration::from_secs(5);
/// Time for a Ping and for the first message (fabric gossip.connTimeout).
const CONN_WITHIN: Duration = Duration::from_secs(2);
/// Time from TLS to the GossipStream on a connection we accepted.
const STREAM_WITHIN: Duration = Duration::from_secs(10);
/// How long a probed connection is kept for further Pings.
pub const PROBE_LINGER: Duration = Duration::from_secs(10);
/// What an HTTP/2 client without TLS sends first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Whether connections are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// Mutual TLS.
    #[default]
    Tls,
    /// None (`--no-tls`): only between loopback addresses, all others are refused.
    Plain,
}

/// How a node behaves on this wire.
#[non_exhaustive]
pub struct FabricConfig {
    /// Keys and certificates, at the start.
    pub folder: Arc<PeerFolder>,
    /// What the MSPs say; starts with trust in our own organisation.
    pub policy: Arc<MspPolicy>,
    /// Who judges peers; starts as `policy`.
    pub peers: Arc<dyn PeerPolicy>,
    /// Whether client certificates must lead to a root (fabric peer.tls.clientAuthRequired): one of
    /// `folder.client_roots`, or a TLS root where there are none.
    pub verify_clients: bool,
    /// Whether a dialled peer may answer with another identity of the same organisation, as after a renewal.
    pub identity_switch: bool,
    /// Gossip channel that `cast` rides on.
    pub cast_channel: ChannelName,
    /// HTTP/2 pings.
    pub keepalive: KeepAlive,
    /// Largest envelope received, in bytes (fabric peer.maxRecvMsgSize).
    pub max_receive: usize,
    /// Largest envelope sent, in bytes (fabric peer.maxSendMsgSize).
    pub max_send: usize,
    /// Whether connections are encrypted.
    pub security: Security,
}

impl std::fmt::Debug for FabricConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FabricConfig").field("identity", &self.folder.identity).finish_non_exhaustive()
    }
}

impl FabricConfig {
    /// Trust in our own organisation only.
    #[must_use]
    pub fn new(folder: PeerFolder) -> Self {
        let trust = folder.trust();
        Self::trusting(folder, trust)
    }

    /// Trust in these organisations.
    #[must_use]
    pub fn trusting(folder: PeerFolder, trust: Trust) -> Self {
        let policy = Arc::new(MspPolicy::new(trust));
        Self {
            folder: Arc::new(folder),
            peers: Arc::clone(&policy) as Arc<dyn PeerPolicy>,
            policy,
            verify_clients: false,
            identity_switch: false,
            cast_channel: ChannelName::default(),
            keepalive: KeepAlive::default(),
            max_receive: MAX_MESSAGE,
            max_send: MAX_MESSAGE,
            security: Security::Tls,
        }
    }
}

/// The Fabric wire.
#[derive(Debug, Clone)]
pub struct Fabric {
    config: Arc<FabricConfig>,
    /// Exchanged whole, so that a handshake never mixes two: each takes it once.
    live: Arc<RwLock<Arc<Live>>>,
    limits: Arc<Mutex<Limits>>,
}

/// Numbers and receive limits of channels. Those of the session before, for as many of the next as have the same.
type Limits = Arc<[(u64, usize)]>;

/// What a handshake shows, as it is now: exchanged with the organisations and when certificates are renewed.
#[derive(Debug)]
struct Live {
    folder: Arc<PeerFolder>,
    tls: TlsConfigs,
    /// Hash of the certificate we show when accepting; none without TLS.
    listening_hash: Option<[u8; 32]>,
    /// Hash of the certificate we show when dialling.
    dialling_hash: Option<[u8; 32]>,
    id: PeerId,
    firsts: Firsts,
}

/// Our first messages, framed: each says the same on every connection, so it is signed once.
#[derive(Debug, Default)]
struct Firsts {
    listening: OnceLock<Bytes>,
    dialling: OnceLock<Bytes>,
    probing: OnceLock<Bytes>,
}

impl Live {
    fn new(folder: Arc<PeerFolder>, trust: &Trust, config: &FabricConfig) -> Result<Self, TlsMaterial> {
        let tls = configs(&folder, trust, config.verify_clients)?;
        let hash = |chain: &[rustls::pki_types::CertificateDer<'_>]| match config.security {
            Security::Tls => chain.first().map(|der| certificate_hash(der)),
            Security::Plain => None,
        };
        let listening_hash = hash(&folder.tls.chain);
        let dialling_hash = hash(&folder.tls_client.as_ref().unwrap_or(&folder.tls).chain);
        let id = peer_id(&folder.identity.identity().pki_id());
        Ok(Self { folder, tls, listening_hash, dialling_hash, id, firsts: Firsts::default() })
    }

    /// What we say first where we accept.
    fn greeting(&self) -> Result<Bytes, HandshakeError> {
        self.first(&self.firsts.listening, self.listening_hash, false)
    }

    /// What we say first where we dial; a probe only asks who is there.
    fn introduction(&self, probe: bool) -> Result<Bytes, HandshakeError> {
        let made = if probe { &self.firsts.probing } else { &self.firsts.dialling };
        self.first(made, self.dialling_hash, probe)
    }

    fn first(
        &self,
        made: &OnceLock<Bytes>,
        hash: Option<[u8; 32]>,
        probe: bool,
    ) -> Result<Bytes, HandshakeError> {
        if let Some(made) = made.get() {
            return Ok(made.clone());
        }
        let built = build(&self.folder.identity, hash, probe);
        let mut framed = BytesMut::new();
        grpc::put_message(&built.map_err(|e| HandshakeError::Local(e.into()))?, &mut framed);
        Ok(made.get_or_init(|| framed.freeze()).clone())
    }
}

/// A certificate that this node shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCertificate {
    /// `identity`, `tls` or `tls-client`.
    pub what: &'static str,
    /// Its subject.
    pub subject: String,
    /// From when it counts.
    pub not_before: std::time::SystemTime,
    /// When it expires.
    pub not_after: std::time::SystemTime,
}

/// Keys, certificates and organisations that fit together, to be taken over at once.
#[derive(Debug)]
pub struct Renewal {
    wire: Fabric,
    live: Arc<Live>,
    trust: Option<Trust>,
}

impl Renewal {
    /// Takes them over: new handshakes show and judge by these, and sessions with peers that are no longer valid end.
    pub fn take_over(self) {
        let mut live = self.wire.live.write();
        *live = self.live;
        if let Some(trust) = self.trust {
            self.wire.config.policy.set_trust(trust);
        }
    }
}

pub(crate) fn peer_id(pki_id: &[u8; 32]) -> PeerId {
    PeerId::new(FABRIC, pki_id).unwrap_or_else(|| unreachable!("a PKI-ID has 32 bytes"))
}

/// By whom slots are counted: the certificate, whatever its identity says around it. One certificate may be written in several
/// ways, and stand under several organisations.
fn holder(proven: &Proven) -> PeerId {
    peer_id(&proven.identity.slot_key())
}

/// What sessions keep to: pings are HTTP/2's, as often as peers take them.
fn rules(keepalive: KeepAlive) -> Rules {
    Rules::living(Liveness::ping(keepalive.every(), keepalive.within()))
}

/// What TLS said of the other side; nothing without TLS.
#[derive(Debug, Clone, Default)]
struct Shown {
    hash: Option<[u8; 32]>,
    version: String,
    alpn: String,
}

fn shown(connection: &rustls::CommonState) -> Shown {
    let first = connection.peer_certificates().and_then(<[_]>::first);
    let version = connection.protocol_version().map_or_else(String::new, |v| format!("{v:?}"));
    let alpn = connection.alpn_protocol().map(switchboard::text::printable_bytes).unwrap_or_default();
    Shown { hash: first.map(|der| certificate_hash(der)), version, alpn }
}

fn refused(
    stage: Stage,
    reason: Reason,
    detail: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> HandshakeError {
    HandshakeError::Peer { stage, fault: Fault { reason, detail: detail.into() } }
}

/// Refuses a plain connection that leaves the machine.
fn plain_refused(remote: SocketAddr) -> Result<(), HandshakeError> {
    if remote.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let detail = format!("{remote} is no loopback address: without TLS only those are taken");
    Err(refused(Stage::Secure, Reason::AccessDenied, detail))
}

/// Why a connection ended before it came to anything: what its task found, if it found anything.
fn over(error: HandshakeError, verdict: &Verdict) -> HandshakeError {
    match (error, verdict.fault()) {
        (HandshakeError::Closed(stage), Some(fault)) => HandshakeError::Peer { stage, fault },
        (error, _) => error,
    }
}

async fn within<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, HandshakeError>>,
) -> Result<T, HandshakeError> {
    timeout(limit, step).await.unwrap_or(Err(HandshakeError::Timeout(Stage::Secure)))
}

impl Fabric {
    /// A wire with the given configuration.
    ///
    /// # Errors
    /// When the TLS material does not fit together.
    pub fn new(config: FabricConfig) -> Result<Self, TlsMaterial> {
        let live = Live::new(Arc::clone(&config.folder), &config.policy.trust(), &config)?;
        Ok(Self {
            config: Arc::new(config),
            live: Arc::new(RwLock::new(Arc::new(live))),
            limits: Arc::default(),
        })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &FabricConfig {
        &self.config
    }

    /// Exchanges the organisations while the node runs: new handshakes are judged by these, and sessions with peers that
    /// are no longer valid end.
    ///
    /// # Errors
    /// When the TLS roots do not fit; then nothing has changed.
    pub fn set_trust(&self, trust: Trust) -> Result<(), TlsMaterial> {
        self.renewal(None, Some(trust)).map(Renewal::take_over)
    }

    /// Exchanges keys and certificates while the node runs: new handshakes show these; sessions go on as they began. With
    /// another identity certificate the PKI-ID is another.
    ///
    /// # Errors
    /// When the TLS material does not fit together; then nothing has changed.
    pub fn set_folder(&self, folder: PeerFolder) -> Result<(), TlsMaterial> {
        self.renewal(Some(folder), None).map(Renewal::take_over)
    }

    /// Checks keys, certificates and organisations together, as [`Fabric::set_folder`] and [`Fabric::set_trust`] do one by one;
    /// `None` leaves what there is. Nothing changes before [`Renewal::take_over`].
    ///
    /// # Errors
    /// When they do not fit together.
    pub fn renewal(&self, folder: Option<PeerFolder>, trust: Option<Trust>) -> Result<Renewal, TlsMaterial> {
        let folder = folder.map_or_else(|| self.folder(), Arc::new);
        let live = match &trust {
            Some(trust) => Live::new(folder, trust, &self.config)?,
            None => Live::new(folder, &self.config.policy.trust(), &self.config)?,
        };
        Ok(Renewal { wire: self.clone(), live: Arc::new(live), trust })
    }

    /// Keys and certificates as they are now.
    #[must_use]
    pub fn folder(&self) -> Arc<PeerFolder> {
        Arc::clone(&self.live().folder)
    }

    /// The certificates this node shows, with their time.
    #[must_use]
    pub fn certificates(&self) -> Vec<OwnCertificate> {
        let folder = self.folder();
        let identity = folder.identity.identity();
        let mut found = vec![OwnCertificate {
            what: "identity",
            subject: identity.subject().to_owned(),
            not_before: identity.not_before(),
            not_after: identity.not_after(),
        }];
        if self.config.security == Security::Tls {
            let client = folder.tls_client.as_ref().map(|client| ("tls-client", client));
            for (what, material) in [("tls", &folder.tls)].into_iter().chain(client) {
                let span = material.chain.first().and_then(|der| crate::identity::validity(der));
                if let Some((subject, not_before, not_after)) = span {
                    found.push(OwnCertificate { what, subject, not_before, not_after });
                }
            }
        }
        found
    }

    fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read())
    }

    fn scheme(&self) -> &'static str {
        match self.config.security {
            Security::Tls => "https",
            Security::Plain => "http",
        }
    }

    /// Judges their ConnEstablish.
    fn judge_first(&self, first: Bytes, shown: &Shown, env: &Env) -> Result<Proven, HandshakeError> {
        if shown.hash.is_none() && self.config.security == Security::Tls {
            return Err(refused(Stage::Secure, Reason::InvalidIdentity, "no TLS certificate"));
        }
        verify(first, shown.hash, &*self.config.peers, env.wall())
            .map_err(|fault| refused(Stage::Secure, Reason::InvalidIdentity, fault))
    }

    /// Ends the connection's session when its peer is no longer valid.
    fn watch(&self, slot: StandingSlot, established: &Proven, env: &Env) {
        // Behind a pointer: a future keeps its arguments twice, and this one lasts as long as the session.
        let (policy, identity) = (Arc::clone(&self.config.peers), Arc::new(established.identity.clone()));
        let env = env.clone();
        // An error means that the connection is over.
        let _ = slot.send(Box::pin(async move {
            let fault = standing_lost(policy, identity, move || env.wall()).await;
            (Reason::InvalidIdentity, fault.to_string())
        }));
    }

    /// Where the plain protocols of an offer ride.
    pub(super) fn places(&self, offer: &Offer) -> Result<Places, Unplaceable> {
        Places::of(offer, &[self.config.cast_channel.as_bytes(), crate::bench::ECHO, crate::bench::BULK])
    }

    /// One list for all sessions in a row that have the same.
    fn shared_limits(&self, limits: Vec<(u64, usize)>) -> Limits {
        let mut last = self.limits.lock();
        if **last != *limits {
            *last = limits.into();
        }
        Arc::clone(&last)
    }

    fn session(
        &self,
        established: &Proven,
        shown: &Shown,
        offer: &Offer,
        theirs: Option<&[u8]>,
        (reader, writer): (StreamReader, StreamWriter),
    ) -> Established {
        let plain = self.places(offer).unwrap_or_default().shared(theirs);
        let (mut channels, mut limits) = (Vec::new(), Vec::new());
        for protocol in &offer.protocols {
            for spec in &protocol.channels {
                let wire_id = match protocol.placement {
                    Placement::Native => u64::from(spec.id.0),
                    Placement::Plain => match plain.wire_id(protocol.index, spec.id.0) {
                        Some(wire_id) => wire_id,
                        None => continue,
                    },
                };
                channels.push(SessionChannel { protocol: protocol.index, channel: spec.id, wire_id });
                limits.push((wire_id, spec.recv_limit.min(self.config.max_receive)));
            }
        }
        let encoder = EnvelopeEncoder::default().limited(self.config.max_send).wrapping(plain.clone());
        Established {
            peer: peer_id(&established.identity.pki_id()),
            holder: holder(established),
            info: info(established, shown),
            channels,
            encoder: Box::new(encoder),
            decoder: Box::new(
                EnvelopeDecoder::new(self.shared_limits(limits))
                    .cast_on(self.config.cast_channel.clone())
                    .unwrapping(plain),
            ),
            reader: Box::new(reader),
            writer: Box::new(writer),
            leftover: BytesMut::new(),
            rules: rules(self.config.keepalive),
        }
    }
}

fn info(established: &Proven, shown: &Shown) -> RemoteInfo {
    let identity = &established.identity;
    RemoteInfo {
        name: identity.mspid().to_owned(),
        capabilities: vec!["gossip".to_owned()],
        network: None,
        listen: None,
        fields: vec![
            ("msp", identity.mspid().to_owned()),
            ("pki_id", hex::encode(identity.pki_id())),
            ("slot_key", hex::encode(identity.slot_key())),
            ("subject", identity.subject().to_owned()),
            ("role", established.role.as_str().to_owned()),
            ("expires_unix", identity.expires_unix().to_string()),
            ("tls", shown.version.clone()),
            ("alpn", shown.alpn.clone()),
        ],
    }
}

impl Wire for Fabric {
    fn name(&self) -> WireName {
        FABRIC
    }

    fn local_id(&self) -> PeerId {
        self.live().id
    }

    /// A TLS handshake record, or without TLS the preface of HTTP/2.
    fn sniff(&self, first: &[u8]) -> Sniff {
        match (self.config.security, first) {
            (Security::Tls, [0x16, 0x03, ..]) => Sniff::Yes,
            (Security::Tls, [] | [0x16]) => Sniff::More,
            (Security::Plain, [_, _, _, _, ..]) if first.iter().zip(PREFACE).all(|(a, b)| a == b) => {
                Sniff::Yes
            }
            (Security::Plain, _) if PREFACE.starts_with(first) => Sniff::More,
            _ => Sniff::No,
        }
    }

    fn accept(
        &self,
        connection: Connection,
        upgrade: Upgrade,
    ) -> BoxFuture<'_, Result<Established, HandshakeError>> {
        Box::pin(self.accept_stream(connection, upgrade))
    }

    fn dial(
        &self,
        connection: Connection,
        whom: Candidate,
        upgrade: Upgrade,
    ) -> BoxFuture<'_, Result<Established, HandshakeError>> {
        Box::pin(async move {
            let plain = self.places(&upgrade.offer).unwrap_or_default();
            let open = self.open(connection, &whom, &upgrade.env, Some(&plain)).await?;
            let peer = peer_id(&open.established.identity.pki_id());
            let judged = upgrade.gate.identity_of(holder(&open.established), peer, Direction::Outbound).await;
            judged.map_err(HandshakeError::RefusedByUs)?;
            self.watch(open.standing, &open.established, &upgrade.env);
            let halves = (open.reader, open.writer);
            Ok(self.session(&open.established, &open.shown, &upgrade.offer, open.plain.as_deref(), halves))
        })
    }

    fn check(&self, offer: &Offer) -> Result<(), String> {
        self.places(offer).map(drop).map_err(|error| error.to_string())
    }

    fn parse(&self, url: &str) -> Result<Candidate, AddressError> {
        parse(url)
    }

    /// The newer of two streams of one peer wins (fabric gossip/comm/conn.go): a peer that vanished without a word
    /// comes back at once. Membership decides who is connected, so slots are one number and subnets have no cap.
    fn preset(&self) -> Preset {
        let switch = self.config.identity_switch;
        Preset::new()
            .admission(|rules| {
                rules.duplicate = Keep::Newer;
                rules.slots = SlotRule::Together;
                rules.per_subnet = None;
                rules.other_identity = if switch { OtherIdentity::Switch } else { OtherIdentity::Refuse };
            })
            .dial(|rules| rules.connect_within = CONNECT_WITHIN)
    }

    fn own_url(&self, listen: SocketAddr) -> String {
        format!("fabric://{}", endpoint(listen))
    }

    fn probe_over(
        &self,
        connection: Connection,
        whom: Candidate,
        env: Env,
        pings: u32,
    ) -> BoxFuture<'_, Result<switchboard::wire::Probe, HandshakeError>> {
        Box::pin(async move {
            let began = tokio::time::Instant::now();
            let mut probed = probe(connection, &whom, self, &env).await?;
            let mut found = switchboard::wire::Probe::new(probed.peer, probed.info.clone(), began.elapsed());
            for _ in 0..pings {
                if !found.add(probed.ping().await) {
                    break;
                }
            }
            Ok(found)
        })
    }
}
