//! The task that keeps ports mapped.
//!
//! ```text
//!   map, unmap ─▶ [plan] ─ job ─▶ [gateway]        one request at a time; each is bounded in time
//!                    └─▶ external IP, external ports: watch channels
//!   stop ─▶ every mapping is deleted, within 3 s
//! ```
//! Limits: [`crate::plan::MAX_MAPPINGS`] mappings; names are cut to [`MAX_NAME`] characters.
//!
//! When the process dies without [`Mapper::stop`], the router deletes the mappings when their life is over.

use crate::gateway::{Gateway, Mapped};
use crate::plan::{Job, Key, Next, Plan, Times};
use crate::spec::NatSpec;
use crate::{NatError, Protocol, pmp};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

/// Longest name of a mapping.
pub const MAX_NAME: usize = 64;
/// How long the end may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// How a mapper works. The defaults are for the real world.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NatConfig {
    /// The port of NAT-PMP and PCP routers (5351).
    pub gateway_port: u16,
    /// Where UPnP routers are sought (the multicast group 239.255.255.250:1900).
    pub upnp_search: SocketAddr,
    /// How long and how often.
    pub times: Times,
    /// For nonces: random bytes of the caller.
    pub seed: [u8; 32],
}

impl NatConfig {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The defaults, with random bytes of the caller.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            gateway_port: pmp::PORT,
            upnp_search: SocketAddr::from(([239, 255, 255, 250], 1900)),
            times: Times::default(),
            seed,
        }
    }
}

enum Command {
    Map { key: Key, name: String, port: watch::Sender<Option<u16>> },
    Unmap(Key),
}

/// Keeps ports mapped, and knows the external address.
#[derive(Debug)]
pub struct Mapper {
    commands: mpsc::Sender<Command>,
    address: watch::Receiver<Option<IpAddr>>,
    task: JoinHandle<()>,
}

/// A port that is kept mapped.
#[derive(Debug, Clone)]
pub struct Mapping {
    port: watch::Receiver<Option<u16>>,
}

impl Mapping {
    /// The port outside; `None` while there is none. The channel closes when the mapping ends.
    #[must_use]
    pub fn port(&self) -> watch::Receiver<Option<u16>> {
        self.port.clone()
    }
}

impl Mapper {
    /// Starts the task; `None` for [`NatSpec::None`], for which nothing runs.
    ///
    /// It must be called within a tokio runtime.
    #[must_use]
    pub fn start(spec: NatSpec, config: NatConfig) -> Option<Self> {
        if spec == NatSpec::None {
            return None;
        }
        let (commands, receiver) = mpsc::channel(16);
        let (tell, address) = watch::channel(None);
        let actor = Actor {
            spec,
            plan: Plan::new(config.times, Instant::now()),
            ports: BTreeMap::new(),
            rng: ChaCha20Rng::from_seed(config.seed),
            config,
            gateway: None,
            tell,
        };
        Some(Self { commands, address, task: tokio::spawn(actor.run(receiver)) })
    }

    /// The external address; `None` while it is not known.
    #[must_use]
    pub fn external_ip(&self) -> watch::Receiver<Option<IpAddr>> {
        self.address.clone()
    }

    /// Keeps a port mapped from now on; the name is what the router's list of mappings shows.
    pub async fn map(&self, protocol: Protocol, internal: u16, name: &str) -> Mapping {
        let (tell, port) = watch::channel(None);
        let name = name.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MAX_NAME).collect();
        // When the task is gone, the channel is closed: that is what the caller sees.
        let _ = self.commands.send(Command::Map { key: (protocol, internal), name, port: tell }).await;
        Mapping { port }
    }

    /// Deletes a mapping.
    pub async fn unmap(&self, protocol: Protocol, internal: u16) {
        let _ = self.commands.send(Command::Unmap((protocol, internal))).await;
    }

    /// Deletes every mapping and ends the task.
    pub async fn stop(self) {
        drop(self.commands);
        let _ = self.task.await;
    }
}

/// What a job came to.
enum Done {
    Found(Result<Gateway, NatError>),
    Address(Result<Option<IpAddr>, NatError>),
    Mapped(Key, Result<Mapped, NatError>),
    Unmapped,
}

struct Actor {
    spec: NatSpec,
    config: NatConfig,
    plan: Plan,
    ports: BTreeMap<Key, watch::Sender<Option<u16>>>,
    rng: ChaCha20Rng,
    gateway: Option<Gateway>,
    tell: watch::Sender<Option<IpAddr>>,
}

async fn work(
    job: Job,
    spec: &NatSpec,
    config: &NatConfig,
    gateway: &mut Option<Gateway>,
    rng: &mut ChaCha20Rng,
) -> Done {
    const GONE: NatError = NatError::NotFound { what: "any more" };
    match (job, gateway) {
        (Job::Find, _) => Done::Found(Gateway::find(spec, config, rng).await),
        (Job::Address, Some(gateway)) => Done::Address(gateway.address(rng).await),
        (Job::Address, None) => Done::Address(Err(GONE)),
        (Job::Map { key, wanted, name }, Some(gateway)) => {
            Done::Mapped(key, gateway.map(key, wanted, config.times.life, &name, rng).await)
        }
        (Job::Map { key, .. }, None) => Done::Mapped(key, Err(GONE)),
        (Job::Unmap { key, external }, Some(gateway)) => {
            if let Err(error) = gateway.unmap(key, external).await {
                tracing::debug!(%error, external, "a port mapping was not deleted");
            }
            Done::Unmapped
        }
        (Job::Unmap { .. }, None) => Done::Unmapped,
    }
}

impl Actor {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            match self.plan.next(Instant::now()) {
                Next::At(at) => tokio::select! {
                    command = commands.recv() => match command {
                        Some(command) => self.command(command),
                        None => break,
                    },
                    () = sleep_until(at) => {}
                },
                Next::Now(job) => {
                    let (mut gateway, mut rng) = (self.gateway.take(), self.rng.clone());
                    let (spec, config) = (self.spec.clone(), self.config.clone());
                    let mut working = Box::pin(work(job, &spec, &config, &mut gateway, &mut rng));
                    let done = loop {
                        tokio::select! {
                            done = &mut working => break Some(done),
                            command = commands.recv() => match command {
                                Some(command) => self.command(command),
                                None => break None,
                            },
                        }
                    };
                    drop(working);
                    (self.gateway, self.rng) = (gateway, rng);
                    match done {
                        Some(done) => self.done(done),
                        None => break,
                    }
                }
            }
        }
        if timeout(FAREWELL, self.farewell()).await.is_err() {
            tracing::warn!("the router did not confirm in time that port mappings are deleted");
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Map { key, name, port } => {
                if self.plan.add(key, name, Instant::now()) {
                    self.ports.insert(key, port);
                } else {
                    tracing::warn!(protocol = %key.0, port = key.1, "too many port mappings: this one is not made");
                }
            }
            Command::Unmap(key) => {
                self.plan.remove(key);
                self.ports.remove(&key);
            }
        }
    }

    fn tell_address(&mut self, ip: Option<IpAddr>) -> bool {
        self.tell.send_if_modified(|known| {
            let changed = *known != ip;
            *known = ip;
            changed
        })
    }

    fn tell_port(&self, key: Key, port: Option<u16>) {
        if let Some(tell) = self.ports.get(&key) {
            tell.send_if_modified(|known| {
                let changed = *known != port;
                *known = port;
                changed
            });
        }
    }

    fn done(&mut self, done: Done) {
        let now = Instant::now();
        match done {
            Done::Found(Ok(gateway)) => {
                tracing::info!(mechanism = gateway.name(), "how this node is reached is known now");
                self.plan.found(gateway.maps(), now);
                self.gateway = Some(gateway);
            }
            Done::Found(Err(error)) => {
                tracing::info!(%error, "no router to map ports with; it is tried again later");
                self.plan.not_found(now);
            }
            Done::Address(Ok(ip)) => {
                // Until a PCP router has told an address, nothing changes.
                let changed = ip.is_some() && self.tell_address(ip);
                self.plan.address_told(changed, now);
            }
            Done::Address(Err(error)) => {
                tracing::debug!(%error, "the external address is not known");
                self.tell_address(None);
                self.plan.address_failed(now);
                let standing: Vec<_> = self.plan.standing().into_iter().map(|(key, _)| key).collect();
                self.ports
                    .keys()
                    .filter(|key| !standing.contains(key))
                    .for_each(|key| self.tell_port(*key, None));
            }
            Done::Mapped(key, Ok(Mapped { external, life })) => {
                if self.plan.mapped(key, external, life, now) {
                    self.tell_port(key, Some(external));
                }
                // A PCP router tells the address with a mapping.
                if let Some(Gateway::Pcp { address, .. }) = &self.gateway {
                    let address = *address;
                    self.tell_address(address);
                }
            }
            Done::Mapped(key, Err(error)) => {
                tracing::info!(%error, protocol = %key.0, port = key.1, "a port is not mapped; it is tried again later");
                if self.plan.map_failed(key, now) {
                    self.tell_port(key, None);
                }
            }
            Done::Unmapped => {}
        }
    }

    async fn farewell(&mut self) {
        let Some(gateway) = &mut self.gateway else { return };
        for (key, external) in self.plan.standing() {
            if let Err(error) = gateway.unmap(key, external).await {
                tracing::debug!(%error, external, "a port mapping was not deleted");
            }
        }
    }
}
