//! `node`: run until told to stop.

use crate::config::{Args, ListenAt, NodeConfig, ProtocolName};
use crate::events::{cast_event, switch_event};
use crate::fail::{self, Fail};
use crate::output::Output;
use crate::wires::{self, Built, Settings};
use serde_json::{Map, Value, json};
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use switchboard::{Env, Event, Limits, Switch, SwitchBuilder};
use switchboard_cast::{Cast, CastEvent, FileStores};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot};

/// A running node and what must live as long.
struct Running {
    switch: Switch,
    built: Vec<Built>,
    cast: Option<Cast>,
    /// Removed at the end, where nobody named a folder.
    #[allow(dead_code)]
    scratch: Option<tempfile::TempDir>,
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Fail> {
    let config = args.decide()?;
    // Taken before anything starts, so that no signal is missed.
    let stop = stop_signal(config.stdin_stop)?;
    let running = start(&config).await?;
    let (switch_events, cast_events) = (running.switch.events(), running.cast.as_ref().map(Cast::events));
    output.event(&ready(&running), &ready_text(&running));
    for peer in &config.peers {
        let (_, candidate) = wires::parse(peer)?;
        running.switch.add_static(candidate).await;
    }
    if let Some(cast) = &running.cast {
        for path in &config.cast {
            cast.start(path).await.map_err(Fail::usage)?;
        }
    }
    let mut switch_events = report(switch_events, cast_events, stop, *output).await;
    running.switch.stop().await;
    while let Ok(event) = switch_events.try_recv() {
        print(switch_event(&event), *output);
    }
    output.event(&json!({"event": "stopped"}), "stopped");
    Ok(())
}

async fn start(config: &NodeConfig) -> Result<Running, Fail> {
    let env = Env::system().map_err(Fail::job)?;
    let mut built = Vec::new();
    for kind in &config.wires {
        let settings = Settings {
            key: config.key(*kind),
            network: config.network.clone(),
            org: config.org.clone(),
            channel: config.channel.clone(),
        };
        built.push(wires::build(*kind, &settings, &env)?);
    }
    let mut scratch = None;
    let cast = if config.protocols.contains(&ProtocolName::Cast) {
        let dir = cast_dir(config, &mut scratch)?;
        let wrong = |e| {
            Fail::usage(format!("cannot keep casts in {}: {e}: choose another --cast-dir", dir.display()))
        };
        let cast = Cast::new(switchboard_cast::Config::default(), FileStores::new(&dir).map_err(wrong)?);
        cast.resume().await.map_err(wrong)?;
        Some(cast)
    } else {
        None
    };
    let limits = Limits {
        inbound: config.max_peers,
        outbound: config.max_peers.max(1),
        send_rate: config.send_rate,
        recv_rate: config.recv_rate,
        ..Limits::default()
    };
    let mut builder = SwitchBuilder::new(env).limits(limits).access(config.access.clone());
    for wire in &built {
        builder = builder.wire(Arc::clone(&wire.wire));
        let name = wire.kind.name();
        for protocol in &config.protocols {
            builder = match (protocol, &cast) {
                (ProtocolName::Bench, _) => builder.protocol_on(name, Arc::clone(&wire.bench)),
                (ProtocolName::Cast, Some(cast)) => {
                    builder.protocol_on(name, cast.protocol(wire.cast.clone()))
                }
                (ProtocolName::Cast, None) => builder,
            };
        }
    }
    for ListenAt { wire, addr } in &config.listen {
        let one = wire.map(|w| w.name());
        builder = builder.listen(*addr, one.as_slice());
    }
    let switch = builder.start().await.map_err(Fail::usage)?;
    Ok(Running { switch, built, cast, scratch })
}

fn cast_dir(config: &NodeConfig, scratch: &mut Option<tempfile::TempDir>) -> Result<PathBuf, Fail> {
    if let Some(dir) = &config.cast_dir {
        return Ok(dir.clone());
    }
    if let Some(data) = &config.data {
        return Ok(data.join("cast"));
    }
    let dir = fail::scratch()?;
    Ok(scratch.insert(dir).path().to_owned())
}

/// Everywhere a wire listens.
fn listens(running: &Running, built: &Built) -> Vec<SocketAddr> {
    let listening = running.switch.listening().iter();
    listening.filter(|(_, wires)| wires.contains(&built.kind.name())).map(|(addr, _)| *addr).collect()
}

fn ready(running: &Running) -> Value {
    let mut fields = Map::new();
    fields.insert("event".into(), "ready".into());
    for built in &running.built {
        let first = listens(running, built).first().copied();
        fields.insert(built.kind.name().into(), (built.ready)(first));
    }
    let at = |(addr, wires): &(SocketAddr, Vec<&str>)| json!({"address": addr.to_string(), "wires": wires});
    fields.insert("listening".into(), running.switch.listening().iter().map(at).collect());
    Value::Object(fields)
}

fn ready_text(running: &Running) -> String {
    let mut lines = Vec::new();
    for built in &running.built {
        let (name, all) = (built.kind.name(), listens(running, built));
        if all.is_empty() {
            lines.push(format!("{name:<7} does not listen"));
        }
        lines.extend(all.into_iter().map(|at| format!("{name:<7} {}", (built.url)(at))));
    }
    lines.join("\n")
}

fn print(event: Option<(Value, String)>, output: Output) {
    if let Some((value, text)) = event {
        output.event(&value, &text);
    }
}

/// Prints events until told to stop; gives back those that are not printed yet.
async fn report(
    mut switch: broadcast::Receiver<Event>,
    mut cast: Option<broadcast::Receiver<CastEvent>>,
    stop: impl Future<Output = ()>,
    output: Output,
) -> broadcast::Receiver<Event> {
    let missed = |n: u64| {
        output
            .event(&json!({"event": "missed", "count": n}), &format!("{n} events came too fast to be told"));
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
            () = &mut stop => return switch,
            event = switch.recv() => match event {
                Ok(event) => print(switch_event(&event), output),
                Err(RecvError::Lagged(n)) => missed(n),
                Err(RecvError::Closed) => return switch,
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
