//! What every role does for its operator and its supervisor: sockets for administration, signals, systemd's notices.
//!
//! ```text
//!   SIGTERM, SIGINT, stop      ─▶ goodbye to peers, at most STOP_WITHIN ─▶ exit, in STOP_ALL whatever happens
//!   SIGHUP, reload             ─▶ settings read anew, what changed is told
//!   NOTIFY_SOCKET (systemd)    ◀─ READY, RELOADING, STOPPING, WATCHDOG
//! ```

use crate::fail::Fail;
use crate::node::End;
use crate::output::{self, Output};
use sd_notify::NotifyState;
use serde_json::json;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use switchboard::Env;
use switchboard_node::operate::{AdminSettings, Host, Operated, Operation};
use switchboard_node::settings::Values;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long a role may take to stop: what is not said by then is not said. With [`switchboard_admin::serve::STOP_WITHIN`]
/// and [`output::LAST_LINES`], which follow one after the other, this is less than two seconds.
const STOP_WITHIN: Duration = Duration::from_millis(900);

const _: () = assert!(
    STOP_WITHIN.as_millis()
        + switchboard_admin::serve::STOP_WITHIN.as_millis()
        + output::LAST_LINES.as_millis()
        <= 1_800
);

/// When the process ends whatever still runs in it: a task that never yields, a disk that does not answer.
const STOP_ALL: Duration = Duration::from_millis(1_950);

/// Lets the process end in [`STOP_ALL`]. A thread of its own: nothing in the runtime can hold it up.
fn end_in_time(end: End) {
    let code = if end == End::Asked { 0 } else { 1 };
    std::thread::spawn(move || {
        std::thread::sleep(STOP_ALL);
        let _ = writeln!(std::io::stderr(), "switchboard: something did not stop in time and was left");
        std::process::exit(code);
    });
}

/// What was started, or nothing where the process was told to stop before it had started.
pub(crate) async fn unless_stopped<T>(
    start: impl Future<Output = T>,
    stop: impl Future<Output = ()>,
    output: Output,
) -> Option<T> {
    tokio::select! {
        biased;
        () = stop => {
            end_in_time(End::Asked);
            output.told(&json!({"event": "stopped", "in_time": true}), "stopped before it had started");
            None
        }
        started = start => Some(started),
    }
}

/// Reads the settings anew, as at the start.
pub(crate) type Reread = Box<dyn Fn() -> Result<Values, String> + Send + Sync>;

struct Process {
    reread: Reread,
}

impl Host for Process {
    fn settings(&self) -> Result<Values, String> {
        (self.reread)()
    }

    fn log(&self) -> String {
        crate::log::current()
    }

    fn set_log(&self, filter: &str) -> Result<(), String> {
        crate::log::set(filter)
    }
}

/// A role at work under its operator.
pub(crate) struct Operating {
    operation: Operation,
    tasks: Vec<JoinHandle<()>>,
}

/// Tells a supervisor; whether there is one, and hears it, is its own matter.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(target: "switchboard::operate", %error, "the supervisor cannot be told");
    }
}

/// Opens the sockets and follows SIGHUP. The role is ready.
pub(crate) async fn start(
    operated: Arc<dyn Operated>,
    values: Values,
    settings: AdminSettings,
    reread: Reread,
    output: Output,
) -> Result<Operating, Fail> {
    let mut hangups =
        signal(SignalKind::hangup()).map_err(|e| Fail::job(format!("cannot listen for signals: {e}")))?;
    let env = Env::system().map_err(Fail::job)?;
    let operation = Operation::start(operated, Arc::new(Process { reread }), values, settings, env).await?;
    let reloader = operation.reloader();
    let follow = async move {
        while hangups.recv().await.is_some() {
            let reloading = NotifyState::monotonic_usec_now();
            tell(&reloading.into_iter().chain([NotifyState::Reloading]).collect::<Vec<_>>());
            match reloader.reload().await {
                Ok(changes) => {
                    let value = json!({"event": "reloaded", "changes": changes});
                    output.told(&value, &crate::admin::reload::changes(&value));
                }
                Err(why) => {
                    let text = format!("nothing is reloaded: {why}");
                    output.told(&json!({"event": "reload_failed", "reason": why}), &text);
                    tracing::error!(target: "switchboard::operate", "{text}");
                }
            }
            tell(&[NotifyState::Ready]);
        }
    };
    let mut tasks = vec![tokio::spawn(follow)];
    if let Some(every) = sd_notify::watchdog_enabled() {
        tasks.push(tokio::spawn(async move {
            // Twice as often as it must be; a runtime that is stuck does not come to it.
            let mut turns = interval((every / 2).max(Duration::from_millis(10)));
            turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                turns.tick().await;
                tell(&[NotifyState::Watchdog]);
            }
        }));
    }
    Ok(Operating { operation, tasks })
}

impl Operating {
    /// Tells a supervisor and whoever reads that the role is ready.
    pub(crate) fn ready(&self, output: Output) {
        if let Some(addr) = self.operation.addr() {
            let socket = self.operation.socket().map(|socket| socket.display().to_string());
            let value = json!({"event": "admin", "http": addr.to_string(), "socket": socket});
            output.told(&value, &format!("administration on http://{addr}"));
        }
        tell(&[NotifyState::Ready]);
    }

    /// Resolves when somebody asked over a socket that the role stops.
    pub(crate) fn stop_asked(&self) -> impl Future<Output = ()> + Send + 'static {
        self.operation.stop_asked()
    }

    /// Stops the role, and then administration, so that whoever asked sees when it is done.
    pub(crate) async fn stop(self, end: End, role: impl Future<Output = ()>, output: Output) {
        end_in_time(end);
        tell(&[NotifyState::Stopping]);
        self.tasks.iter().for_each(JoinHandle::abort);
        let in_time = timeout(STOP_WITHIN, role).await.is_ok();
        self.operation.stop().await;
        let value = json!({"event": "stopped", "in_time": in_time, "lines_dropped": output::dropped()});
        output.told(
            &value,
            if in_time { "stopped" } else { "stopped, although not every goodbye was said in time" },
        );
    }
}
