//! `node`: run until told to stop.

use crate::config::Args;
use crate::fail::Fail;
use crate::operate;
use crate::output::{self, Output};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use switchboard::service::{ServiceStatus, State};
use switchboard::{Event, Events};
use switchboard_admin::event::switch_event;
use switchboard_cast::{Cast, CastEvent};
use switchboard_node::Node;
use switchboard_node::events::cast_event;
use switchboard_node::operate::AdminSettings;
use switchboard_node::operate::Operated;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot};

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Fail> {
    let command = args.command();
    let reread = args.reread();
    let (config, values) = args.decide()?;
    let settings = AdminSettings::read(&values)?;
    // From here on a terminal that nobody reads holds up nothing.
    output::never_wait();
    // Taken before anything starts, so that no signal is missed.
    let stop = stop_signal(config.stdin_stop)?;
    tokio::pin!(stop);
    let start = Node::builder().values(values.clone()).start();
    let Some(started) = operate::unless_stopped(start, &mut stop, *output).await else { return Ok(()) };
    let node = Arc::new(started.map_err(|error| crate::config::named(error, command))?);
    let operated = Arc::clone(&node) as Arc<dyn Operated>;
    let operating = match operate::start(operated, values, settings, reread, *output).await {
        Ok(operating) => operating,
        Err(fail) => {
            node.stop().await;
            return Err(fail);
        }
    };
    let (switch_events, cast_events) = (node.switch().events(), node.cast().map(Cast::events));
    output.event(&node.ready(), &node.ready_text());
    operating.ready(*output);
    if let Some(cast) = node.cast() {
        for path in &config.cast {
            cast.start_soon(path);
        }
    }
    let stop = either(stop, operating.stop_asked());
    let (mut switch_events, asked) = report(switch_events, cast_events, stop, *output).await;
    let failing = failed(&node);
    let mut lost = None;
    let role = async {
        node.stop().await;
        while let Ok(event) = switch_events.try_recv() {
            print(switch_event(&event), *output);
        }
        for service in node.switch().services() {
            let figures: serde_json::Map<_, _> =
                service.figures.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            let text: Vec<_> =
                service.figures.iter().map(|(name, value)| format!("{name} {value}")).collect();
            let value = json!({"event": "figures", "service": service.name, "figures": figures});
            output.told(&value, &format!("{}: {}", service.name, text.join(", ")));
        }
        lost = failed(&node).into_iter().find(|(name, _)| !failing.contains_key(name));
    };
    operating.stop(asked, role, *output).await;
    asked.verdict()?;
    match lost {
        Some((service, detail)) => Err(Fail::job(format!("{service}: {detail}"))),
        None => Ok(()),
    }
}

/// Services that failed and are not started again, with their last words. Those that do so as the node stops could not
/// finish, as where a book cannot be saved.
fn failed(node: &Node) -> BTreeMap<String, String> {
    let words = |service: ServiceStatus| match service.state {
        State::Failed { detail } => Some((service.name, detail)),
        _ => None,
    };
    node.switch().services().into_iter().filter_map(words).collect()
}

/// Why a role ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Somebody asked: a signal, a command, the end of standard input.
    Asked,
    /// Its Switch stopped by itself, as after a service that it cannot do without failed.
    ByItself,
}

impl End {
    /// A node that nobody stopped has failed, so that its supervisor starts it again.
    pub(crate) fn verdict(self) -> Result<(), Fail> {
        match self {
            Self::Asked => Ok(()),
            Self::ByItself => Err(Fail::job("the node stopped by itself: see its log")),
        }
    }
}

/// Resolves with the first.
pub(crate) async fn either(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    tokio::select! {
        () = one => {}
        () = other => {}
    }
}

fn print(event: Option<(Value, String)>, output: Output) {
    if let Some((value, text)) = event {
        output.told(&value, &text);
    }
}

/// Prints events until told to stop, or the Switch is down; gives back those that are not printed yet.
async fn report(
    mut switch: Events,
    mut cast: Option<broadcast::Receiver<CastEvent>>,
    stop: impl Future<Output = ()>,
    output: Output,
) -> (Events, End) {
    let missed = |n: u64| {
        output.told(&json!({"event": "missed", "count": n}), &format!("{n} events came too fast to be told"));
    };
    tokio::pin!(stop);
    loop {
        let next_cast = async {
            match &mut cast {
                Some(events) => events.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = &mut stop => return (switch, End::Asked),
            event = switch.recv() => match event {
                Ok(Event::Behind { missed: n, .. }) => missed(n),
                Ok(event) => print(switch_event(&event), output),
                Err(switchboard::event::Closed) => return (switch, End::ByItself),
            },
            event = next_cast => match event {
                Ok(event) => print(cast_event(&event), output),
                Err(RecvError::Lagged(n)) => missed(n),
                Err(RecvError::Closed) => cast = None,
            },
        }
    }
}

/// Resolves on SIGINT, SIGTERM, and at the end of standard input if asked for.
pub(crate) fn stop_signal(stdin: bool) -> Result<impl Future<Output = ()>, Fail> {
    let take = |kind| signal(kind).map_err(|e| Fail::job(format!("cannot listen for signals: {e}")));
    let (mut interrupt, mut terminate) = (take(SignalKind::interrupt())?, take(SignalKind::terminate())?);
    let (end, ended) = oneshot::channel();
    if stdin {
        // A thread of its own: reading standard input cannot be cancelled.
        std::thread::spawn(move || {
            let mut rest = [0; 1024];
            while matches!(std::io::stdin().read(&mut rest), Ok(n) if n > 0) {}
            let _ = end.send(());
        });
    }
    Ok(async move {
        let stdin_end = async {
            if !stdin || ended.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = stdin_end => {}
        }
    })
}
