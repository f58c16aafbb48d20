//! A node that an operator can ask and tell: the sockets of `switchboard-admin` in front of any role.
//!
//! ```text
//!   Node, Bootnode, FabricPeer ─▶ Operated ─▶ Operation: Control ─▶ DATA/admin.sock, --admin
//!                                                 ├─ reload: settings, keys, certificates, trust, access, limits
//!                                                 └─ expiry: warns once a day
//! ```
//!
//! Without a data folder there is no Unix socket; without `--admin` no HTTP. Nothing here is persisted.

mod expiry;
mod roles;

pub use switchboard_admin::{AdminError, Certificate, Figure, client, control, event, metrics, time};

use crate::error::NodeError;
use crate::settings::{Setting, Source, Values};
use futures_util::StreamExt;
use parking_lot::RwLock;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use switchboard::service::State;
use switchboard::{BoxFuture, Candidate, Env, Peer, Switch};
use switchboard_admin::control::{About, Control, EventStream};
use switchboard_admin::{Admin, Config, Token};
use tokio::sync::{Mutex, watch};

/// A role of a running process.
pub trait Operated: Send + Sync + 'static {
    /// Its name, as in `node`.
    fn role(&self) -> &'static str;

    /// Its Switch, if it has sessions.
    fn switch(&self) -> Option<Switch>;

    /// What each wire shows of itself, and where it listens.
    fn shown(&self) -> Value;

    /// The same in the shape of a wire's own programs, by wire, where it has one.
    fn native(&self) -> Value {
        json!({})
    }

    /// A peer in that shape.
    fn native_peer(&self, peer: &Peer) -> Option<Value> {
        let _ = peer;
        None
    }

    /// Its certificates.
    fn certificates(&self) -> Vec<Certificate>;

    /// Its figures.
    fn figures(&self) -> BoxFuture<'_, Vec<Figure>>;

    /// What happens from now on.
    fn events(&self) -> EventStream;

    /// Reads an address in any form of its wires.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    fn parse(&self, text: &str) -> Result<Candidate, String>;

    /// The settings it has.
    fn settings(&self) -> Vec<Setting>;

    /// Takes over what may change while it runs: keys, certificates, trust, access lists, limits. Says what changed.
    ///
    /// # Errors
    /// What must be corrected; then nothing has changed.
    fn reload<'a>(
        &'a self,
        old: &'a Values,
        new: &'a Values,
    ) -> BoxFuture<'a, Result<Vec<String>, NodeError>>;
}

/// What the process does for its operator beside the role.
pub trait Host: Send + Sync + 'static {
    /// Reads the settings anew, as at the start.
    ///
    /// # Errors
    /// What must be corrected.
    fn settings(&self) -> Result<Values, String>;

    /// What is logged now.
    fn log(&self) -> String;

    /// Sets what is logged.
    ///
    /// # Errors
    /// A filter that cannot be.
    fn set_log(&self, filter: &str) -> Result<(), String>;
}

/// Where and how a process is administered.
#[derive(Debug, Default)]
pub struct AdminSettings {
    listen: Option<SocketAddr>,
    token: Option<Token>,
    names: metrics::Names,
    off: bool,
}

/// `IP:PORT`, or `off`.
#[derive(Debug, Clone, Copy)]
struct Place(Option<SocketAddr>);

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let wrong = |_| format!("{text:?} is not IP:PORT, as in 127.0.0.1:6060, or off");
        text.parse().map(|addr| Self(Some(addr))).map_err(wrong)
    }
}

impl AdminSettings {
    /// Reads them, and the token's file.
    ///
    /// # Errors
    /// A value that cannot be, a token file that others may read, an address that asks for a token.
    pub fn read(values: &Values) -> Result<Self, NodeError> {
        let place: Option<Place> = values.parse("admin")?;
        let names = values.parse("metric-names")?.unwrap_or_default();
        let token = values.path("admin-token").map(|path| {
            Token::read(&path).map_err(|why| {
                NodeError::usage(format!("cannot use --admin-token {}: {why}", path.display()))
            })
        });
        let token = token.transpose()?;
        let (listen, off) = (place.and_then(|place| place.0), matches!(place, Some(Place(None))));
        if let Some(addr) = listen.filter(|addr| !addr.ip().is_loopback() && token.is_none()) {
            return Err(NodeError::usage(AdminError::NeedsToken(addr)));
        }
        if token.is_some() && listen.is_none() {
            return Err(NodeError::usage("--admin-token is for HTTP: say where with --admin IP:PORT"));
        }
        Ok(Self { listen, token, names, off })
    }
}

/// A role under administration.
pub struct Operation {
    inner: Arc<Inner>,
    admin: Option<Admin>,
    expiry: tokio::task::JoinHandle<()>,
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operation").field("admin", &self.admin).finish_non_exhaustive()
    }
}

struct Inner {
    operated: Arc<dyn Operated>,
    host: Arc<dyn Host>,
    env: Env,
    started: SystemTime,
    data: Option<PathBuf>,
    /// What the node was started with: what of it counts from the next start is compared with this.
    start: Values,
    /// What counts now.
    values: RwLock<Values>,
    /// One reload at a time.
    reloading: Mutex<()>,
    stop: watch::Sender<bool>,
}

impl Operation {
    /// Opens the sockets that the settings ask for.
    ///
    /// # Errors
    /// An address that is taken, a folder that takes no socket.
    pub async fn start(
        operated: Arc<dyn Operated>,
        host: Arc<dyn Host>,
        values: Values,
        settings: AdminSettings,
        env: Env,
    ) -> Result<Self, NodeError> {
        let data = values.path("data");
        let started = env.wall();
        let inner = Arc::new(Inner {
            operated,
            host,
            started,
            data: data.clone(),
            start: values.clone(),
            values: RwLock::new(values),
            reloading: Mutex::default(),
            stop: watch::Sender::new(false),
            env,
        });
        let AdminSettings { listen, token, names, off } = settings;
        let config = Config::default().with(|config| {
            (config.folder, config.listen) = (data.filter(|_| !off), listen);
            (config.token, config.names) = (token, names);
        });
        let admin =
            Admin::start(Arc::clone(&inner) as Arc<dyn Control>, config).await.map_err(NodeError::usage)?;
        let expiry = tokio::spawn(expiry::watch(Arc::downgrade(&inner)));
        Ok(Self { inner, admin: Some(admin), expiry })
    }

    /// Where HTTP is served.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(Admin::addr)
    }

    /// The Unix socket.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.admin.as_ref().and_then(Admin::socket)
    }

    /// Resolves when somebody asked that the node stops.
    pub fn stop_asked(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.inner.stop.subscribe();
        async move {
            if stop.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Reads everything anew that may change while the node runs.
    ///
    /// # Errors
    /// What must be corrected; then nothing has changed.
    pub async fn reload(&self) -> Result<Vec<String>, String> {
        self.inner.reload_now().await
    }

    /// A handle that reloads, for a task of its own.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader(Arc::clone(&self.inner))
    }

    /// Whether the node can do its work; what a watchdog hears.
    ///
    /// # Errors
    /// What is missing.
    pub fn ready(&self) -> Result<(), String> {
        Control::ready(&*self.inner)
    }

    /// Closes the sockets.
    pub async fn stop(mut self) {
        self.expiry.abort();
        if let Some(admin) = self.admin.take() {
            admin.stop().await;
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.expiry.abort();
    }
}

/// Reloads a node.
pub struct Reloader(Arc<Inner>);

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reloader")
    }
}

impl Reloader {
    /// As [`Operation::reload`].
    ///
    /// # Errors
    /// What must be corrected; then nothing has changed.
    pub async fn reload(&self) -> Result<Vec<String>, String> {
        self.0.reload_now().await
    }
}

/// Settings that [`Operated::reload`] takes over, or says itself what becomes of (`key-file`); others count from the next
/// start.
pub const LIVE: [&str; 9] = [
    "max-peers",
    "send-rate",
    "recv-rate",
    "access-allow",
    "access-deny",
    "trusted",
    "peer",
    "trust",
    "key-file",
];

/// What counts after a reload: of `new` what is live, of the start all else.
fn in_effect(start: &Values, new: &Values) -> Values {
    let mut values = Values::default();
    let live = new.iter().filter(|(name, _)| LIVE.contains(name));
    let kept = start.iter().filter(|(name, _)| !LIVE.contains(name));
    for (name, given) in live.chain(kept) {
        values.set(name, given.texts.clone(), given.source.clone());
    }
    values
}

impl Inner {
    async fn reload_now(&self) -> Result<Vec<String>, String> {
        let _turn = self.reloading.lock().await;
        let new = self.host.settings()?;
        let old = self.values.read().clone();
        let mut changes = self.operated.reload(&old, &new).await.map_err(|error| error.to_string())?;
        let settings = self.operated.settings();
        for setting in settings.iter().filter(|setting| !LIVE.contains(&setting.name)) {
            if !setting.is_same(&self.start, &new) {
                let name = setting.name;
                changes.push(format!("{name} is another than what runs: it counts from the next start"));
            }
        }
        *self.values.write() = in_effect(&self.start, &new);
        for change in &changes {
            tracing::info!(target: "switchboard::operate", "reloaded: {change}");
        }
        Ok(changes)
    }

    fn certificates(&self) -> Vec<Certificate> {
        self.operated.certificates()
    }
}

impl Control for Inner {
    fn about(&self) -> About {
        About {
            role: self.operated.role(),
            version: env!("CARGO_PKG_VERSION"),
            started: self.started,
            data: self
                .data
                .as_ref()
                .map(|data| std::path::absolute(data).unwrap_or_else(|_| data.clone()).display().to_string()),
            ready: self.operated.shown(),
            certificates: self.certificates(),
        }
    }

    fn switch(&self) -> Option<Switch> {
        self.operated.switch()
    }

    fn native(&self) -> Value {
        self.operated.native()
    }

    fn native_peer(&self, peer: &Peer) -> Option<Value> {
        self.operated.native_peer(peer)
    }

    fn now(&self) -> SystemTime {
        self.env.wall()
    }

    fn ready(&self) -> Result<(), String> {
        if *self.stop.borrow() {
            return Err("the node stops".into());
        }
        let services = self.operated.switch().map(|switch| switch.services()).unwrap_or_default();
        let broken = services.into_iter().find_map(|service| match service.state {
            State::Waiting { detail, .. } | State::Failed { detail } => {
                Some(format!("service {} does not run: {detail}", service.name))
            }
            _ => None,
        });
        broken.map_or(Ok(()), Err)
    }

    fn figures(&self) -> BoxFuture<'_, Vec<Figure>> {
        self.operated.figures()
    }

    fn events(&self) -> EventStream {
        let env = self.env.clone();
        self.operated
            .events()
            .map(move |mut event| {
                event::stamp(&mut event, env.wall());
                event
            })
            .boxed()
    }

    fn parse(&self, text: &str) -> Result<Candidate, String> {
        self.operated.parse(text)
    }

    fn configuration(&self) -> Value {
        configuration(&self.operated.settings(), &self.values.read())
    }

    fn reload(&self) -> BoxFuture<'_, Result<Vec<String>, String>> {
        Box::pin(self.reload_now())
    }

    fn log(&self) -> String {
        self.host.log()
    }

    fn set_log(&self, filter: &str) -> Result<(), String> {
        self.host.set_log(filter)
    }

    fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// Every setting that was given, with where; the others by name.
#[must_use]
pub fn configuration(settings: &[Setting], values: &Values) -> Value {
    let one = |setting: &Setting| {
        let given = values.iter().find(|(name, _)| *name == setting.name).map(|(_, given)| given);
        let value = given.map(|given| match (setting.list, given.texts.as_slice()) {
            (false, [only]) => json!(only),
            (_, texts) => json!(texts),
        });
        let from = match given.map(|given| &given.source) {
            None => json!({"kind": "default"}),
            Some(Source::Flag) => json!({"kind": "flag"}),
            Some(Source::Variable(name)) => json!({"kind": "variable", "name": name}),
            Some(Source::File { path, line }) => {
                json!({"kind": "file", "path": path, "line": (*line > 0).then_some(line)})
            }
        };
        json!({"section": setting.section, "name": setting.name, "value": value, "from": from})
    };
    json!({"settings": settings.iter().map(one).collect::<Vec<_>>()})
}
