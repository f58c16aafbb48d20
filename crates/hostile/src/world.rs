//! What all trials share: a folder that goes with the run, one Fabric organisation, settings, the machine's randomness.
//!
//! ```text
//!   peer0            the node's identity on the fabric wire
//!   peer1            the honest session that stays     peer2 … peer41    visitors, in turn
//!   peer42           the honest taker of casts         peer43 … peer60   attackers
//! ```

use crate::Args;
use crate::proxy::From;
use anyhow::{Context, bail};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use switchboard::Env;
use switchboard_fabric::keygen::keygen;
use switchboard_node::kit::{BuildRequest, Built, KeySource, Kit};
use switchboard_node::settings::Values;
use switchboard_node::wires::Kits;
use tempfile::TempDir;

/// The organisation.
pub(crate) const ORG: &str = "Org1MSP";
/// What breaks a bound here takes ten times as long, or for ever.
const SLACK: f64 = 4.0;
const VISITORS: usize = 40;
const TAKER: usize = 2 + VISITORS;
/// Attackers on the fabric wire.
pub(crate) const ATTACKERS: usize = 18;
const PEERS: usize = TAKER + 1 + ATTACKERS;

/// What all trials share.
pub(crate) struct World {
    folder: TempDir,
    peers: Vec<PathBuf>,
    env: Env,
    next: AtomicUsize,
    pub(crate) binary: PathBuf,
    pub(crate) short: bool,
    pub(crate) one_cpu: bool,
    /// How long each attack is kept up.
    pub(crate) hold: Duration,
    /// Bound of honest echoes.
    pub(crate) latency: Duration,
    /// Bounds of time are multiplied by this: the short form runs where others compile.
    pub(crate) slack: f64,
}

impl World {
    pub(crate) fn new(args: &Args) -> anyhow::Result<Self> {
        let binary = args.binary.canonicalize();
        let binary = binary.with_context(|| {
            format!("{}: build it with cargo build --release -p switchboard-cli", args.binary.display())
        })?;
        let (folder, env) = (tempfile::tempdir()?, Env::system()?);
        let peers = keygen(&folder.path().join("org"), ORG, PEERS, env.wall())?;
        Ok(Self {
            folder,
            peers,
            env,
            next: AtomicUsize::new(0),
            binary,
            short: args.short,
            one_cpu: args.one_cpu,
            hold: Duration::from_secs(args.seconds.unwrap_or(if args.short { 2 } else { 15 })),
            latency: Duration::from_millis(args.latency_ms.unwrap_or(if args.short { 3_000 } else { 250 })),
            slack: if args.short { SLACK } else { 1.0 },
        })
    }

    /// `full`, or `short` in the short form.
    pub(crate) fn scaled(&self, full: usize, short: usize) -> usize {
        if self.short { short } else { full }
    }

    /// A new folder.
    pub(crate) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.path().join(format!("{name}-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// A new file of random bytes.
    pub(crate) fn file(&self, bytes: usize) -> anyhow::Result<PathBuf> {
        let path = self.folder("file")?.join("own.bin");
        let mut content = vec![0; bytes];
        self.env.fill(&mut content);
        std::fs::write(&path, content)?;
        Ok(path)
    }

    /// Clock and randomness, with connections from this address.
    pub(crate) fn env(&self, from: Ipv4Addr) -> Env {
        self.env.clone().with_network(Arc::new(From(from)))
    }

    /// `N` random bytes.
    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        self.env.random()
    }

    fn peer(&self, n: usize) -> &Path {
        self.peers.get(n).map_or(Path::new(""), PathBuf::as_path)
    }

    /// The node's folder on the fabric wire.
    pub(crate) fn node_peer(&self) -> &Path {
        self.peer(0)
    }

    /// The `n`th attacker's folder on the fabric wire.
    pub(crate) fn hostile_peer(&self, n: usize) -> &Path {
        self.peer(TAKER + 1 + n % ATTACKERS)
    }

    fn key(&self, wire: &str, peer: usize) -> KeySource {
        match wire {
            "fabric" => KeySource::File(self.peer(peer).to_owned()),
            _ => KeySource::Throwaway,
        }
    }

    /// The key of the session that stays.
    pub(crate) fn resident_key(&self, wire: &str) -> KeySource {
        self.key(wire, 1)
    }

    /// The key of the `n`th visitor.
    pub(crate) fn visitor_key(&self, wire: &str, n: usize) -> KeySource {
        self.key(wire, 2 + n % VISITORS)
    }

    /// The key of the taker of casts.
    pub(crate) fn taker_key(&self, wire: &str) -> KeySource {
        self.key(wire, TAKER)
    }

    /// A wire with a key, whose connections come from an address.
    pub(crate) fn build(&self, kit: &dyn Kit, key: &KeySource, from: Ipv4Addr) -> anyhow::Result<Built> {
        let (values, env) = (Values::default(), self.env(from));
        Ok(kit.build(&BuildRequest::new(&values, key, &env))?)
    }
}

/// A wire's kit by name.
pub(crate) fn kit(wire: &str) -> anyhow::Result<&'static dyn Kit> {
    match Kits::builtin().get(wire) {
        Some(kit) => Ok(kit),
        None => bail!("there is no wire {wire}"),
    }
}
