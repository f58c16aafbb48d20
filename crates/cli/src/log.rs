//! What is logged, to standard error: chosen at the start, changed while a role runs.
//!
//! ```text
//!   RUST_LOG, then --log (or SWITCHBOARD_LOG) over it ─▶ filter ─▶ text with its time, or JSON one object a line
//! ```
//! Lines go to a queue of their own ([`crate::output::Log`]). Rotation is the supervisor's (journald).

use crate::fail::Fail;
use crate::output;
use parking_lot::Mutex;
use std::sync::OnceLock;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// What is logged where nothing is said.
const USUAL: &str = "warn";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

struct Logging {
    handle: reload::Handle<EnvFilter, Registry>,
    filter: Mutex<String>,
}

static LOGGING: OnceLock<Logging> = OnceLock::new();

fn filter(text: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(text)
        .map_err(|e| format!("{text:?} is no log filter ({e}): try info or switchboard=debug"))
}

/// Begins to log. What `--log` says counts over RUST_LOG, target by target.
pub(crate) fn start(given: Option<&str>, format: Format) -> Result<(), Fail> {
    let named = std::env::var("RUST_LOG").ok().filter(|named| !named.trim().is_empty());
    if let Some(Err(wrong)) = named.as_deref().map(filter) {
        return Err(Fail::usage(format!("RUST_LOG: {wrong}")));
    }
    if let Some(Err(wrong)) = given.map(filter) {
        return Err(Fail::usage(format!("--log {wrong}")));
    }
    let text = match (named, given) {
        (Some(named), Some(given)) => format!("{named},{given}"),
        (Some(named), None) => named,
        (None, given) => given.unwrap_or(USUAL).to_owned(),
    };
    let chosen = filter(&text).map_err(|wrong| Fail::usage(format!("--log {wrong}")))?;
    let (layer, handle) = reload::Layer::new(chosen);
    let lines = fmt::layer().with_writer(output::Log);
    let lines = match format {
        Format::Text => lines.with_ansi(output::coloured(&std::io::stderr())).boxed(),
        Format::Json => {
            lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
        }
    };
    tracing_subscriber::registry().with(layer).with(lines).init();
    let _ = LOGGING.set(Logging { handle, filter: Mutex::new(text) });
    Ok(())
}

/// What is logged now.
pub(crate) fn current() -> String {
    LOGGING.get().map(|logging| logging.filter.lock().clone()).unwrap_or_default()
}

/// Logs this from now on.
pub(crate) fn set(text: &str) -> Result<(), String> {
    let Some(logging) = LOGGING.get() else { return Err("nothing is logged".into()) };
    let mut kept = logging.filter.lock();
    logging.handle.reload(filter(text)?).map_err(|error| error.to_string())?;
    text.clone_into(&mut kept);
    Ok(())
}
