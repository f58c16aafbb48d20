//! The wire: from a connection to a session.
//!
//! ```text
//! us                                    them            both directions at once, nobody waits
//!  │ ── ephemeral ──────▶ ◀── ephemeral ── │   ┐
//!  │ ── signature ──────▶ ◀── signature ── │   ┘ 3 s
//!  │    dialled ID = proven ID; the Switch's gate; not ourselves
//!  │ ── NodeInfo ───────▶ ◀── NodeInfo ─── │     3 s
//!  │    valid; its ID = proven ID; same block version and network; a common channel
//!  │ ◀────────── packets ────────────────▶ │
//! ```
//! (cometbft p2p/transport.go)
//!
//! A protocol's channel id is the channel byte on the wire, so it must lie in 0..=255 and no two protocols
//! may claim the same one; at most 16 in all.
//!
//! Nobody is told a reason on this wire: a refusal is a closed connection, and a peer that refuses us after
//! its NodeInfo looks like a session that ends at once.

use crate::fuzz_conn::{FuzzConfig, FuzzedConnection};
use crate::key::NodeKey;
use crate::netaddress::{Host, NetAddress, NetAddressError, split_authority};
use crate::node_info::{InvalidNodeInfo, NodeInfo, ProtocolVersion};
use crate::packet::Era;
use crate::redial;
use crate::secret_connection::{Handshake, Secured};
use crate::session::{ChannelSet, CometDecoder, CometEncoder, MAX_MESSAGE, secret_fault};
use bytes::{Buf, BytesMut};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::Connection;
use switchboard::preset::Preset;
use switchboard::text::printable;
use switchboard::wire::{
    AddressError, Established, Fault, HandshakeError, Liveness, Offer, RemoteInfo, Rules, SessionChannel,
    Sniff, Stage, Upgrade, Wire,
};
use switchboard::{BoxFuture, Candidate, Direction, Env, PeerId, Reason, WireName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// The wire's name.
pub const COMET: WireName = "comet";
/// What an initiator's first bytes are.
const FIRST: [u8; 3] = [0x22, 0x0a, 0x20];
/// Bytes read at a time during the handshake.
const READ_CHUNK: usize = 2048;
/// How long a send waits for room (`cometbft p2p/conn/connection.go`, defaultSendTimeout).
const SEND_WITHIN: Duration = Duration::from_secs(10);
/// How often what was sent recently fades (`cometbft p2p/conn/connection.go`, updateStats).
const FADE_EVERY: Duration = Duration::from_secs(2);

/// What sessions keep to: as CometBFT.
fn rules(liveness: Liveness) -> Rules {
    Rules::living(liveness).send_within(SEND_WITHIN).fade_every(FADE_EVERY)
}

/// How a node behaves on this wire. The fields marked † must agree with the peers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CometConfig {
    /// The node's key.
    pub key: Arc<NodeKey>,
    /// † The network's name (chain id).
    pub network: String,
    /// The node's name: printable ASCII.
    pub moniker: String,
    /// The software version announced: printable ASCII or empty.
    pub version: String,
    /// † The three version numbers, of which only `block` is compared.
    pub protocol: ProtocolVersion,
    /// The listening address announced instead of the one we listen on: `[proto://]host:port`.
    pub listen_addr: Option<String>,
    /// Whether we say that transactions are indexed: `on`, `off` or empty.
    pub tx_index: String,
    /// The RPC address announced; may be empty.
    pub rpc_address: String,
    /// † Which packets are spoken.
    pub era: Era,
    /// Time for the key exchange (cometbft p2p/transport.go `defaultHandshakeTimeout`).
    pub secure_within: Duration,
    /// Time for the exchange of NodeInfo (the same constant).
    pub node_info_within: Duration,
    /// Time to find and connect to the address of somebody we dial. CometBFT's 1 s is too short for names and several
    /// addresses.
    pub dial_within: Duration,
    /// Many peers from one public address (cometbft config/config.go `allow_duplicate_ip`).
    pub allow_duplicate_ip: bool,
    /// Dialled connections misbehave on purpose (cometbft config/config.go `test_fuzz`).
    pub test_fuzz: Option<FuzzConfig>,
    /// When persistent peers are dialled again.
    pub redial: redial::Plan,
    /// How liveness is shown: ping every 60 s, pong within 45 s (cometbft p2p/conn/connection.go).
    pub liveness: Liveness,
}

impl CometConfig {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The network's own defaults. Rates are the Switch's matter (`Limits::send_rate`).
    #[must_use]
    pub fn new(key: Arc<NodeKey>, network: &str) -> Self {
        Self {
            key,
            network: network.to_owned(),
            moniker: "switchboard".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: ProtocolVersion::default(),
            listen_addr: None,
            tx_index: "off".to_owned(),
            rpc_address: String::new(),
            era: Era::Protobuf,
            secure_within: Duration::from_secs(3),
            node_info_within: Duration::from_secs(3),
            dial_within: Duration::from_secs(15),
            allow_duplicate_ip: false,
            test_fuzz: None,
            redial: redial::Plan::default(),
            liveness: Liveness::ping(Duration::from_secs(60), Duration::from_secs(45)),
        }
    }

    /// Our NodeInfo with the given channels; `listen` is where peers may dial us.
    #[must_use]
    pub fn node_info(&self, channels: Vec<u8>, listen: Option<SocketAddr>) -> NodeInfo {
        let listen_addr = self.listen_addr.clone().unwrap_or_else(|| match listen {
            Some(addr) => format!("tcp://{addr}"),
            // Legal, and no peer puts an unspecified address into its book.
            None => "tcp://0.0.0.0:0".to_owned(),
        });
        NodeInfo {
            protocol: self.protocol,
            id: self.key.id().to_string(),
            listen_addr,
            network: self.network.clone(),
            version: self.version.clone(),
            channels,
            moniker: self.moniker.clone(),
            tx_index: self.tx_index.clone(),
            rpc_address: self.rpc_address.clone(),
        }
    }
}

/// A configuration no peer would accept; the operator's to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// What is announced breaks the network's rules.
    #[error("comet: {0}: change the setting of that name")]
    Announced(#[from] InvalidNodeInfo),
    /// A channel number this wire cannot carry.
    #[error("comet: protocol {protocol} has channel {channel:#x}; this wire's channels are 0 to 0xff")]
    ChannelNumber {
        /// The protocol.
        protocol: String,
        /// Its channel.
        channel: u16,
    },
}

/// The CometBFT wire.
#[derive(Debug, Clone)]
pub struct Comet {
    config: CometConfig,
    id: PeerId,
}

impl Comet {
    /// A wire with the given configuration.
    ///
    /// # Errors
    /// When no peer would accept it.
    pub fn new(config: CometConfig) -> Result<Self, ConfigError> {
        config.node_info(Vec::new(), None).validate()?;
        let id = peer_id(&config);
        Ok(Self { config, id })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &CometConfig {
        &self.config
    }

    /// Our address as peers write it, where we listen on `listen`.
    #[must_use]
    pub fn address(&self, listen: SocketAddr) -> NetAddress {
        NetAddress::new(self.config.key.id(), Host::Ip(listen.ip().to_canonical()), listen.port())
    }

    /// Checks that every offered channel fits on this wire; the channel bytes in order of registration.
    ///
    /// # Errors
    /// Which channel does not.
    pub fn channels(&self, offer: &Offer) -> Result<Vec<u8>, ConfigError> {
        let channels = channel_bytes(offer)?;
        // Numbers claimed twice, and too many of them, are found by the rules every NodeInfo keeps.
        self.config.node_info(channels.clone(), None).validate()?;
        Ok(channels)
    }

    /// The connection, misbehaving if it is to; only dialled ones do (cometbft p2p/peer.go).
    fn fuzzed(&self, connection: Connection, env: &Env) -> Connection {
        let Some(config) = self.config.test_fuzz else { return connection };
        let rng = || StdRng::from_seed(env.random());
        let Connection { reader, writer, remote, local } = connection;
        Connection {
            reader: Box::new(FuzzedConnection::new(reader, config, rng())),
            writer: Box::new(FuzzedConnection::new(writer, config, rng())),
            remote,
            local,
        }
    }

    async fn shake(
        &self,
        connection: Connection,
        whom: Option<PeerId>,
        direction: Direction,
        upgrade: Upgrade,
    ) -> Result<Established, HandshakeError> {
        // That they keep the rules was seen when the wire was registered.
        let channels = channel_bytes(&upgrade.offer).map_err(|error| HandshakeError::Local(error.into()))?;
        let ours = self.config.node_info(channels, upgrade.listen);
        let mut secure = Secure::establish(connection, &self.config, &upgrade.env).await?;
        let peer = secure.prove(whom)?;
        upgrade.gate.identity(peer, direction).await.map_err(HandshakeError::RefusedByUs)?;
        if peer == self.id {
            return Err(verdict(Stage::Secure, Reason::SelfConnection, "the other end is this node"));
        }
        let exchange = secure.exchange(Some(&ours));
        let theirs = timeout(self.config.node_info_within, exchange)
            .await
            .map_err(|_| HandshakeError::Timeout(Stage::Protocol))??;
        theirs.validate().map_err(|error| HandshakeError::breach(Stage::Protocol, "node info", error))?;
        if theirs.id != secure.id_text() {
            let detail = "the announced ID is not that of the proven key";
            return Err(HandshakeError::breach(Stage::Protocol, "node info id", detail));
        }
        if let Err(difference) = ours.compatible(&theirs) {
            let detail = format!(
                "{difference}: theirs {}, block version {}; ours {}, {}",
                printable(&theirs.network),
                theirs.protocol.block,
                ours.network,
                ours.protocol.block
            );
            return Err(verdict(Stage::Protocol, Reason::Incompatible(difference.field()), detail));
        }
        Ok(secure.session(peer, &theirs, &upgrade.offer, &self.config))
    }
}

/// The channel bytes of an offer.
fn channel_bytes(offer: &Offer) -> Result<Vec<u8>, ConfigError> {
    let all = offer
        .protocols
        .iter()
        .flat_map(|protocol| protocol.channels.iter().map(move |spec| (protocol, spec.id.0)));
    all.map(|(protocol, channel)| {
        u8::try_from(channel)
            .map_err(|_| ConfigError::ChannelNumber { protocol: protocol.name.clone(), channel })
    })
    .collect()
}

/// Dials as a mirror: reads the peer's NodeInfo first and answers with the same network, block version and
/// channels, so that a node of any chain keeps the session, for a tool that wants to know who is there and how far
/// away. The session has no channels; what the peer sends on its own is skipped. A NodeInfo that breaks
/// the network's rules is told in [`RemoteInfo::fields`] as `invalid`.
///
/// # Errors
/// As for any dial, without the checks of compatibility.
pub async fn probe(
    connection: Connection,
    candidate: &Candidate,
    config: &CometConfig,
    env: &Env,
) -> Result<Established, HandshakeError> {
    mirror(connection, candidate, config, env, &Offer::default()).await
}

/// As [`probe`], with the channels of an offer in place of the peer's own, so that there is something to say.
pub(crate) async fn mirror(
    connection: Connection,
    candidate: &Candidate,
    config: &CometConfig,
    env: &Env,
    offer: &Offer,
) -> Result<Established, HandshakeError> {
    let specs = offer.protocols.iter().flat_map(|protocol| &protocol.channels);
    let offered: Vec<u8> = specs.filter_map(|spec| u8::try_from(spec.id.0).ok()).collect();
    let mut secure = Secure::establish(connection, config, env).await?;
    let peer = secure.prove(candidate.id)?;
    let exchange = async {
        let theirs = secure.exchange(None).await?;
        // With none in common nobody would stay.
        let common = offered.iter().any(|channel| theirs.channels.contains(channel));
        let channels = if common { offered.clone() } else { theirs.channels.clone() };
        let mut ours = config.node_info(channels, None);
        ours.network.clone_from(&theirs.network);
        ours.protocol.block = theirs.protocol.block;
        secure.send(&ours).await?;
        Ok(theirs)
    };
    let theirs = timeout(config.node_info_within, exchange)
        .await
        .map_err(|_| HandshakeError::Timeout(Stage::Protocol))??;
    Ok(secure.session(peer, &theirs, offer, config))
}

/// A connection whose other end has proven a key.
struct Secure {
    connection: Connection,
    secured: Secured,
    src: BytesMut,
}

impl Secure {
    /// Runs the key exchange, bounded in time.
    async fn establish(
        connection: Connection,
        config: &CometConfig,
        env: &Env,
    ) -> Result<Self, HandshakeError> {
        let secret = Zeroizing::new(env.random::<32>());
        timeout(config.secure_within, Self::keys(connection, &config.key, &secret))
            .await
            .map_err(|_| HandshakeError::Timeout(Stage::Secure))?
    }

    async fn keys(
        mut connection: Connection,
        key: &NodeKey,
        secret: &[u8; 32],
    ) -> Result<Self, HandshakeError> {
        let fault = |error| HandshakeError::Peer { stage: Stage::Secure, fault: secret_fault(error) };
        let (mut src, mut out) = (BytesMut::new(), BytesMut::new());
        let mut handshake = Handshake::start(secret, &mut out).map_err(fault)?;
        loop {
            // A refusal is not told, so what is left in `out` then stays there.
            match handshake.advance(key, &mut src, &mut out).map_err(fault)? {
                Some(secured) => {
                    write(&mut connection, &mut out, Stage::Secure).await?;
                    return Ok(Self { connection, secured, src });
                }
                None => write_and_read(&mut connection, &mut out, &mut src, Stage::Secure).await?,
            }
        }
    }

    fn id_text(&self) -> String {
        self.secured.id.to_string()
    }

    /// The proven identity, compared with the one that was dialled.
    fn prove(&self, whom: Option<PeerId>) -> Result<PeerId, HandshakeError> {
        let peer = PeerId::new(COMET, &self.secured.id.0)
            .ok_or_else(|| HandshakeError::Local("an ID of no legal length".into()))?;
        match whom {
            Some(whom) if whom != peer => {
                let detail = format!("dialled {whom}, they proved {peer}");
                Err(verdict(Stage::Secure, Reason::WrongIdentity, detail))
            }
            _ => Ok(peer),
        }
    }

    /// Reads their NodeInfo, sending `ours` meanwhile.
    async fn exchange(&mut self, ours: Option<&NodeInfo>) -> Result<NodeInfo, HandshakeError> {
        let stage = Stage::Protocol;
        let fault = |error| HandshakeError::Peer { stage, fault: secret_fault(error) };
        let mut out = BytesMut::new();
        if let Some(ours) = ours {
            self.secured.sealer.seal_all(&ours.encode(), &mut out).map_err(fault)?;
        }
        loop {
            let found = NodeInfo::decode(&self.secured.plain);
            let found = found.map_err(|error| HandshakeError::breach(stage, "node info encoding", error))?;
            if let Some((info, used)) = found {
                self.secured.plain.advance(used);
                write(&mut self.connection, &mut out, stage).await?;
                return Ok(info);
            }
            let Secured { opener, plain, .. } = &mut self.secured;
            if !opener.open_next(&mut self.src, plain).map_err(fault)? {
                write_and_read(&mut self.connection, &mut out, &mut self.src, stage).await?;
            }
        }
    }

    async fn send(&mut self, ours: &NodeInfo) -> Result<(), HandshakeError> {
        let mut out = BytesMut::new();
        self.secured
            .sealer
            .seal_all(&ours.encode(), &mut out)
            .map_err(|error| HandshakeError::Peer { stage: Stage::Protocol, fault: secret_fault(error) })?;
        write(&mut self.connection, &mut out, Stage::Protocol).await
    }

    /// The finished session.
    fn session(self, peer: PeerId, theirs: &NodeInfo, offer: &Offer, config: &CometConfig) -> Established {
        let Self { connection, secured, src } = self;
        let (mut channels, mut largest) = (Vec::new(), Vec::new());
        let (mut shared, mut ignored) = (ChannelSet::default(), ChannelSet::default());
        for protocol in &offer.protocols {
            for spec in &protocol.channels {
                let Ok(byte) = u8::try_from(spec.id.0) else { continue };
                if theirs.channels.contains(&byte) {
                    shared.insert(byte);
                    largest.push((byte, MAX_MESSAGE.max(spec.recv_limit)));
                    channels.push(SessionChannel {
                        protocol: protocol.index,
                        channel: spec.id,
                        wire_id: byte.into(),
                    });
                } else {
                    ignored.insert(byte);
                }
            }
        }
        if channels.is_empty() {
            // A mirror without a channel of its own claims the peer's and listens to none.
            ignored = ChannelSet::ALL;
        }
        Established {
            peer,
            holder: peer,
            info: remote_info(theirs),
            channels,
            encoder: Box::new(CometEncoder::new(secured.sealer, config.era, largest)),
            decoder: Box::new(CometDecoder::new(secured.opener, config.era, shared, ignored, &secured.plain)),
            reader: Box::new(connection.reader),
            writer: Box::new(connection.writer),
            leftover: src,
            rules: rules(config.liveness),
        }
    }
}

/// Sends what there is to send until more comes from the peer; what could not be sent yet stays in `out`. So neither
/// side's full pipe ever keeps the other from reading.
async fn write_and_read(
    connection: &mut Connection,
    out: &mut BytesMut,
    src: &mut BytesMut,
    stage: Stage,
) -> Result<(), HandshakeError> {
    let io = |error| HandshakeError::io(stage, error);
    let Connection { reader, writer, .. } = connection;
    src.reserve(READ_CHUNK);
    loop {
        tokio::select! {
            biased;
            // What we have to say is bounded; what they say need not be.
            written = writer.write(out), if !out.is_empty() => {
                match written.map_err(io)? {
                    0 => return Err(HandshakeError::Closed(stage)),
                    n => out.advance(n),
                }
                if out.is_empty() {
                    writer.flush().await.map_err(io)?;
                }
            }
            read = reader.read_buf(src) => {
                return match read.map_err(io)? {
                    0 => Err(HandshakeError::Closed(stage)),
                    _ => Ok(()),
                };
            }
        }
    }
}

async fn write(connection: &mut Connection, out: &mut BytesMut, stage: Stage) -> Result<(), HandshakeError> {
    if out.is_empty() {
        return Ok(());
    }
    let writing = async {
        connection.writer.write_all(out).await?;
        connection.writer.flush().await
    };
    writing.await.map_err(|error| HandshakeError::io(stage, error))?;
    out.clear();
    Ok(())
}

/// A refusal by a rule of the wire, with its reason; the core tells it as a failed handshake.
fn verdict(
    stage: Stage,
    reason: Reason,
    detail: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> HandshakeError {
    HandshakeError::Peer { stage, fault: Fault { reason, detail: detail.into() } }
}

fn remote_info(theirs: &NodeInfo) -> RemoteInfo {
    let ProtocolVersion { p2p, block, app } = theirs.protocol;
    let mut fields = vec![
        ("version", theirs.version.clone()),
        ("p2p_version", p2p.to_string()),
        ("block_version", block.to_string()),
        ("app_version", app.to_string()),
        ("tx_index", theirs.tx_index.clone()),
        ("rpc_address", theirs.rpc_address.clone()),
    ];
    if let Err(error) = theirs.validate() {
        fields.push(("invalid", error.to_string()));
    }
    RemoteInfo {
        name: theirs.moniker.clone(),
        capabilities: theirs.channels.iter().map(|channel| format!("{channel:#04x}")).collect(),
        network: Some(theirs.network.clone()),
        listen: Some(theirs.listen_addr.clone()),
        fields,
    }
}

fn peer_id(config: &CometConfig) -> PeerId {
    // 20 bytes are a legal length for an identity: the core's limit is 32.
    PeerId::new(COMET, &config.key.id().0).unwrap_or_else(|| unreachable!("20 bytes are a legal identity"))
}

impl Wire for Comet {
    fn name(&self) -> WireName {
        COMET
    }

    fn local_id(&self) -> PeerId {
        self.id
    }

    fn sniff(&self, first: &[u8]) -> Sniff {
        sniff(first)
    }

    fn listener_speaks_first(&self) -> bool {
        true
    }

    fn check(&self, offer: &Offer) -> Result<(), String> {
        self.channels(offer).map(drop).map_err(|error| error.to_string())
    }

    /// One session an address (cometbft p2p/transport.go, ConnDuplicateIPFilter).
    fn preset(&self) -> Preset {
        let many = self.config.allow_duplicate_ip;
        let preset = Preset::new().admission(|rules| {
            rules.one_per_address = !many;
            rules.per_subnet = rules.per_subnet.filter(|_| !many);
        });
        // The exchange has a back-off of its own, address by address.
        preset.dial(|rules| {
            rules.history = Duration::from_secs(2);
            rules.connect_within = self.config.dial_within;
            rules.redial = Some(self.config.redial.redial());
            rules.spread = redial::JITTER;
        })
    }

    fn own_url(&self, listen: SocketAddr) -> String {
        self.address(listen).to_string()
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
            Ok(probe(connection, &whom, &self.config, &env).await?.into_probe(began, pings).await)
        })
    }

    fn accept(
        &self,
        connection: Connection,
        upgrade: Upgrade,
    ) -> BoxFuture<'_, Result<Established, HandshakeError>> {
        Box::pin(self.shake(connection, None, Direction::Inbound, upgrade))
    }

    fn dial(
        &self,
        connection: Connection,
        whom: Candidate,
        upgrade: Upgrade,
    ) -> BoxFuture<'_, Result<Established, HandshakeError>> {
        let connection = self.fuzzed(connection, &upgrade.env);
        Box::pin(self.shake(connection, whom.id, Direction::Outbound, upgrade))
    }

    fn parse(&self, url: &str) -> Result<Candidate, AddressError> {
        parse(url)
    }
}

/// Judges an initiator's first bytes.
#[must_use]
pub fn sniff(first: &[u8]) -> Sniff {
    if first.iter().zip(FIRST).any(|(byte, expected)| *byte != expected) {
        Sniff::No
    } else if first.len() < FIRST.len() {
        Sniff::More
    } else {
        Sniff::Yes
    }
}

/// Reads `[comet://]ID@host:port`, also with `tcp://`; `comet://host:port` dials whoever answers.
///
/// # Errors
/// What is wrong with it.
pub fn parse(url: &str) -> Result<Candidate, AddressError> {
    let error = |what: NetAddressError| {
        AddressError(format!(
            "{}: {what}; a comet address is comet://ID@host:port, ID being 40 hex digits",
            printable(url)
        ))
    };
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if !matches!(scheme, "" | "comet" | "tcp") {
        return Err(AddressError(format!("{}: {} is not this wire", printable(url), printable(scheme))));
    }
    let (id, host, port) = if scheme == COMET && !rest.contains('@') {
        let (host, port) = split_authority(rest).map_err(error)?;
        (None, host, port)
    } else {
        let address = NetAddress::parse(rest).map_err(error)?;
        let id = address.id().and_then(|id| PeerId::new(COMET, &id.0));
        (id, address.host().clone(), address.port())
    };
    if port == 0 {
        return Err(error(NetAddressError::InvalidPort));
    }
    Ok(Candidate::new(COMET, host.to_string(), port).maybe_id(id))
}

#[cfg(test)]
mod tests;
