//! What the tests among real peers share: members of one organisation on loopback, with TLS, each a Switch of its own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)] // helpers of tests

use bytes::Bytes;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use switchboard::service::{OnFailure, ServiceError};
use switchboard::{
    BoxFuture, Env, Limits, Protocol, Service, ServiceContext, Switch, SwitchBuilder, WireName,
};
use switchboard_fabric::gossip::{self, Handler};
use switchboard_fabric::keygen::keygen;
use switchboard_fabric::msp::Trust;
use switchboard_fabric::msp::folder::load_organisation;
use switchboard_fabric::{FABRIC, Fabric, FabricConfig, PeerFolder, PeerPolicy};
use switchboard_fabric_gossip::block::{Block, BlockFolder, Verifier, build};
use switchboard_fabric_gossip::ledger::{BlockStore, Commit, MemoryLedger, Options};
use switchboard_fabric_gossip::privdata::{Collections, Subject};
use switchboard_fabric_gossip::shell::{
    Beginning, ChannelJob, ChannelSetup, External, GossipService, Joining, KnownPeers, MspCrypto, Shell,
    ShellEvent,
};
use switchboard_fabric_gossip::{Channel, Config, JoinConfig, Org, PkiId};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

pub const CHANNEL: &str = "mychannel";
pub const ORG: &str = "Org1MSP";
/// Bounds every wait: a machine may be busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn channel() -> Channel {
    Channel::parse(CHANNEL.as_bytes()).unwrap()
}

/// Keys of one organisation.
pub struct Keys {
    pub dir: tempfile::TempDir,
    pub peers: Vec<PathBuf>,
    org: String,
}

impl Keys {
    pub fn new(org: &str, peers: usize, env: &Env) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let peers = keygen(&dir.path().join("org"), org, peers, env.wall()).unwrap();
        Self { dir, peers, org: org.to_owned() }
    }

    /// The organisation's MSP folder, for others to trust.
    pub fn msp(&self) -> PathBuf {
        self.dir.path().join("org/msp")
    }
}

/// How a member is made.
pub struct Plan {
    pub config: Config,
    pub store: Option<Arc<dyn BlockStore>>,
    pub collections: Option<Collections>,
    pub source: Option<PathBuf>,
    pub external: bool,
    /// Other organisations of the channel: MSP id and folder.
    pub others: Vec<(String, PathBuf)>,
    /// Takes messages before gossip does.
    pub spy: Option<Arc<dyn Handler>>,
}

impl Plan {
    /// A member that keeps its ledger in memory and begins with `boot`, if there is one.
    pub fn new(boot: Option<&Member>) -> Self {
        let mut config = Config::default();
        config.bootstrap = boot.map(|member| member.endpoint.clone()).into_iter().collect();
        let store = Some(Arc::new(MemoryLedger::new(Options::default())) as Arc<dyn BlockStore>);
        Self {
            config,
            store,
            collections: None,
            source: None,
            external: false,
            others: Vec::new(),
            spy: None,
        }
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Starts it with the keys in `folder`.
    pub async fn start(self, keys: &Keys, index: usize, env: &Env) -> Member {
        let folder = PeerFolder::load(&keys.peers[index], &keys.org).unwrap();
        let mut trust = folder.trust();
        let mut orgs = JoinConfig::new(1, [(Org::parse(&keys.org).unwrap(), Vec::new())].into());
        for (mspid, msp) in &self.others {
            add_trust(&mut trust, mspid, msp);
            orgs.orgs.insert(Org::parse(mspid).unwrap(), Vec::new());
        }
        let mut wire = FabricConfig::trusting(folder, trust);
        let known = KnownPeers::new(Arc::clone(&wire.policy));
        wire.peers = Arc::clone(&known) as Arc<dyn PeerPolicy>;
        wire.identity_switch = true;
        let wire = Arc::new(Fabric::new(wire).unwrap());
        let clock = env.clone();
        let crypto = MspCrypto::new(Arc::clone(&wire), known, move || clock.wall());
        let shell = Shell::new(env.clone(), Arc::clone(&wire), crypto);
        let events = shell.events();
        let setup = self.store.map(|store| {
            let own = Subject { mspid: keys.org.clone(), role: None };
            let collections = self.collections.unwrap_or_else(|| {
                let implicit = &self.config.pvt_data.implicit_collection_dissemination_policy;
                Collections::new(&keys.org, implicit.clone())
            });
            ChannelSetup::new(store, Verifier::hash(CHANNEL), self.config.clone(), own, collections)
                .with(|setup| setup.source = self.source.as_deref().map(BlockFolder::new))
        });
        let joining = Joining::new(channel(), orgs).with(|joining| joining.setup = setup);
        let external = if self.external { External::Same } else { External::None };
        let beginning = Beginning::new(self.config, external, vec![joining]);
        let inner = GossipService::new(Arc::clone(&shell), beginning);
        let service = Arc::new(Spied { inner, shell: Arc::clone(&shell), spy: self.spy });
        let limits = Limits::default().with(|limits| {
            limits.inbound = 1_000;
            limits.outbound = 1_000;
            limits.pending_inbound = 256;
        });
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let builder = SwitchBuilder::new(env.clone()).limits(limits).wire(wire).service(service);
        let switch = builder.listen(any, &[FABRIC]).start().await.unwrap();
        let endpoint = switch.listening()[0].0.to_string();
        Member { shell, switch, endpoint, events }
    }
}

fn add_trust(trust: &mut Trust, mspid: &str, msp: &Path) {
    trust.add(load_organisation(msp, mspid).unwrap());
}

/// A running member.
pub struct Member {
    pub shell: Arc<Shell>,
    pub switch: Switch,
    pub endpoint: String,
    /// What happened since it was made.
    pub events: Receiver<ShellEvent>,
}

impl Member {
    pub fn id(&self) -> PkiId {
        self.shell.look(|gossip| gossip.pki_id()).unwrap()
    }

    pub fn job(&self) -> Arc<ChannelJob> {
        self.shell.job(&channel()).unwrap()
    }

    /// How often gossip refused a message for this reason.
    pub fn refused(&self, why: &str) -> u64 {
        let of = |gossip: &switchboard_fabric_gossip::Gossip| {
            gossip.refusals().filter(|(reason, _)| reason.contains(why)).map(|(_, count)| count).sum()
        };
        self.shell.look(of).unwrap()
    }

    /// Waits for an event.
    pub async fn event(&mut self, what: &str, mut wanted: impl FnMut(&ShellEvent) -> bool) -> ShellEvent {
        let found = async {
            loop {
                match self.events.recv().await {
                    Ok(event) if wanted(&event) => return event,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => panic!("the member stopped before {what}"),
                }
            }
        };
        timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no {what} in time"))
    }

    pub async fn stop(self) {
        self.shell.stop().await;
        self.switch.stop().await;
    }
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// The gossip service, with somebody who takes messages before it.
struct Spied {
    inner: Arc<GossipService>,
    shell: Arc<Shell>,
    spy: Option<Arc<dyn Handler>>,
}

impl Service for Spied {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn protocol(&self) -> Option<(Arc<dyn Protocol>, Option<WireName>)> {
        let handlers = self.spy.iter().cloned().chain([Arc::clone(&self.shell) as Arc<dyn Handler>]);
        Some((gossip::Gossip::new(handlers.collect()), Some(FABRIC)))
    }

    fn on_failure(&self) -> OnFailure {
        self.inner.on_failure()
    }

    fn start<'a>(&'a self, context: &'a ServiceContext) -> BoxFuture<'a, Result<(), ServiceError>> {
        self.inner.start(context)
    }

    fn run(self: Arc<Self>, context: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Arc::clone(&self.inner).run(context)
    }
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 128 {
        out.push(length as u8 | 128);
        length >>= 7;
    }
    out.push(length as u8);
    [out, bytes.to_vec()].concat()
}

/// A block of one transaction with so many bytes of filling.
pub fn block(number: u64, previous: &[u8], filling: usize) -> Bytes {
    let header = [vec![8, 3], field(4, CHANNEL.as_bytes())].concat();
    let header = [field(1, &header), field(2, &field(1, b"creator"))].concat();
    let data = [number.to_be_bytes().to_vec(), vec![7; filling]].concat();
    let payload = [field(1, &header), field(2, &data)].concat();
    let envelope = [field(1, &payload), field(2, b"signature")].concat();
    build(number, previous, &[envelope.into()], &[])
}

/// Blocks 1 … count that follow each other.
pub fn chain(count: u64, filling: usize) -> Vec<Block> {
    let mut previous = vec![7; 32];
    let mut blocks = Vec::new();
    for number in 1..=count {
        let block = Block::decode(block(number, &previous, filling)).unwrap();
        previous = block.header_hash().to_vec();
        blocks.push(block);
    }
    blocks
}

/// A ledger in memory with these blocks.
pub fn ledger_of(blocks: &[Block]) -> Arc<dyn BlockStore> {
    let store = MemoryLedger::new(Options::default());
    fill(&store, blocks);
    Arc::new(store)
}

/// Appends blocks to a ledger.
pub fn fill(store: &dyn BlockStore, blocks: &[Block]) {
    for group in blocks.chunks(256) {
        let commits: Vec<_> = group.iter().cloned().map(Commit::of).collect();
        store.append(&commits).unwrap();
    }
}
