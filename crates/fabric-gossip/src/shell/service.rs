//! The shell as a service of the Switch: it starts when the listeners are bound, and says that it leaves before sessions end.

use super::channel::{ChannelFigures, ChannelSetup};
use super::node::Shell;
use crate::config::Config;
use crate::host::JoinConfig;
use crate::membership::SelfInfo;
use crate::types::{Channel, Endpoint};
use bytes::Bytes;
use parking_lot::Mutex;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use switchboard::service::{OnFailure, ServiceError};
use switchboard::{BoxFuture, Protocol, Service, ServiceContext, WireName};
use switchboard_fabric::FABRIC;
use switchboard_fabric::message::Chaincode;

/// Where other organisations reach this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum External {
    /// Nowhere: they do not see it.
    #[default]
    None,
    /// Where its own organisation does.
    Same,
    /// Here.
    At(Endpoint),
}

/// A channel to be joined at the start.
#[non_exhaustive]
pub struct Joining {
    /// Its name.
    pub channel: Channel,
    /// Its organisations and anchors.
    pub config: JoinConfig,
    /// How its blocks are kept; `None` to keep none.
    pub setup: Option<ChannelSetup>,
    /// Chaincodes that this node says it has.
    pub chaincodes: Vec<Chaincode>,
}

impl Joining {
    /// A channel of which no blocks are kept and no chaincodes told.
    #[must_use]
    pub fn new(channel: Channel, config: JoinConfig) -> Self {
        Self { channel, config, setup: None, chaincodes: Vec::new() }
    }

    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// What a node begins with.
#[non_exhaustive]
pub struct Beginning {
    /// Options. An empty `endpoint` is the address listened on.
    pub config: Config,
    /// Where other organisations reach it.
    pub external: External,
    /// Channels.
    pub channels: Vec<Joining>,
}

impl Beginning {
    /// A node that joins these channels.
    #[must_use]
    pub fn new(config: Config, external: External, channels: Vec<Joining>) -> Self {
        Self { config, external, channels }
    }
}

/// Gossip as a service, with the wire's protocol.
pub struct GossipService {
    shell: Arc<Shell>,
    beginning: Mutex<Option<Beginning>>,
}

impl GossipService {
    /// A service that begins so.
    #[must_use]
    pub fn new(shell: Arc<Shell>, beginning: Beginning) -> Arc<Self> {
        Arc::new(Self { shell, beginning: Mutex::new(Some(beginning)) })
    }

    fn begin(&self, context: &ServiceContext) -> Result<(), ServiceError> {
        let Some(beginning) = self.beginning.lock().take() else { return Ok(()) };
        let Beginning { config, external, channels } = beginning;
        let endpoint = match config.endpoint.is_empty() {
            false => Endpoint::parse(&config.endpoint),
            true => {
                let listening = context.listening();
                let at = listening.iter().find(|(_, wires)| wires.contains(&FABRIC));
                at.and_then(|(addr, _)| Endpoint::parse(&reachable(*addr).to_string()))
            }
        };
        let endpoint = endpoint.ok_or_else(|| {
            ServiceError::new(
                "peers must be told where this one is as HOST:PORT with one colon: listen on an IPv4 address, or set \
                 the option endpoint",
            )
        })?;
        let external = match external {
            External::None => None,
            External::Same => Some(endpoint.clone()),
            External::At(at) => Some(at),
        };
        let info = SelfInfo { endpoint, external, metadata: Bytes::new() };
        let failed = |error: &dyn std::fmt::Display| ServiceError::new(error.to_string());
        self.shell.start(Arc::new(context.clone()), config, info).map_err(|fault| failed(&fault))?;
        for Joining { channel, config, setup, chaincodes } in channels {
            self.shell.join(&channel, config, setup).map_err(|refusal| failed(&refusal))?;
            if !chaincodes.is_empty() {
                self.shell.call(|gossip, now, out| gossip.update_chaincodes(&channel, chaincodes, now, out));
            }
        }
        Ok(())
    }
}

/// An address that can be dialled: a node that listens everywhere is reached on this machine, at least.
fn reachable(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), addr.port()),
        _ => addr,
    }
}

impl Service for GossipService {
    fn name(&self) -> &str {
        "fabric.gossip"
    }

    fn protocol(&self) -> Option<(Arc<dyn Protocol>, Option<WireName>)> {
        Some((self.shell.protocol(), Some(FABRIC)))
    }

    fn on_failure(&self) -> OnFailure {
        OnFailure::StopNode
    }

    fn figures(&self) -> Vec<(&'static str, String)> {
        let members = self.shell.look(|gossip| gossip.peers().count()).unwrap_or(0);
        let mut figures =
            vec![("members", members.to_string()), ("overflow", self.shell.overflow().to_string())];
        // One line a figure, with every channel in it.
        let jobs = self.shell.jobs();
        let mut add = |name, of: &dyn Fn(ChannelFigures) -> String| {
            let all = jobs.iter().map(|(channel, job)| format!("{channel}={}", of(job.figures())));
            figures.push((name, all.collect::<Vec<_>>().join(" ")));
        };
        if !jobs.is_empty() {
            add("height", &|figures| figures.height.to_string());
            add("highest", &|figures| figures.highest.to_string());
            add("buffered", &|figures| figures.buffered.to_string());
            add("commits", &|figures| figures.durations.commit_block.count().to_string());
            add("commit_seconds", &|figures| {
                format!("{:.3}", figures.durations.commit_block.sum.as_secs_f64())
            });
            add("private_missing", &|figures| figures.private.missing.to_string());
        }
        figures
    }

    fn start<'a>(&'a self, context: &'a ServiceContext) -> BoxFuture<'a, Result<(), ServiceError>> {
        Box::pin(async move { self.begin(context) })
    }

    fn run(self: Arc<Self>, context: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            context.stopping().await;
            self.shell.stop().await;
            Ok(())
        })
    }
}
