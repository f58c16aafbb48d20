//! `fabric peer` and `fabric observe`: a member that runs until it is told to stop.

use super::view::Views;
use crate::config;
use crate::fail::Fail;
use crate::node::{End, either, stop_signal};
use crate::operate;
use crate::output::{self, Output};
use clap::ArgMatches;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use switchboard::Env;
use switchboard_admin::event::switch_event;
use switchboard_fabric_gossip::shell::ShellEvent;
use switchboard_node::operate::{AdminSettings, Operated};
use switchboard_node::settings::Values;
use switchboard_node::wires::fabric::FabricPeer;
use switchboard_node::wires::fabric::events;
use switchboard_node::wires::fabric::peer::settings;
use tokio::sync::broadcast::error::RecvError;

/// How often an observer's channels are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The settings of a member; with `STORES` those of one that stores blocks.
pub(crate) struct Args<const STORES: bool> {
    given: config::Given,
}

impl<const STORES: bool> clap::FromArgMatches for Args<STORES> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { given: config::Given::of(matches, &settings(STORES)) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<const STORES: bool> clap::Args for Args<STORES> {
    fn augment_args(command: clap::Command) -> clap::Command {
        config::augment(command, &settings(STORES))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

pub(crate) async fn run<const STORES: bool>(args: Args<STORES>, output: &Output) -> Result<(), Fail> {
    let command = if STORES { "fabric peer" } else { "fabric observe" };
    let again = args.given.clone();
    let reread = Box::new(move || again.clone().values(&settings(STORES)).map_err(|fail| fail.to_string()));
    let values = args.given.values(&settings(STORES))?;
    let admin = AdminSettings::read(&values).map_err(|error| config::named(error, command))?;
    let stdin_stop = values.switch("stdin-stop").map_err(|error| config::named(error, command))?;
    output::never_wait();
    // Taken before anything starts, so that no signal is missed.
    let stop = stop_signal(stdin_stop)?;
    tokio::pin!(stop);
    let start = start(&values, STORES, command);
    let Some(started) = operate::unless_stopped(start, &mut stop, *output).await else { return Ok(()) };
    let peer = Arc::new(started?);
    let operated = Arc::clone(&peer) as Arc<dyn Operated>;
    let operating = match operate::start(operated, values, admin, reread, *output).await {
        Ok(operating) => operating,
        Err(fail) => {
            peer.stop().await;
            return Err(fail);
        }
    };
    output.event(peer.ready(), &ready_text(peer.ready()));
    operating.ready(*output);
    let events = peer.events();
    let views = (!STORES).then(Views::default);
    let end = report(&peer, events, either(stop, operating.stop_asked()), views, *output).await;
    let channels: Vec<String> = peer
        .shell()
        .look(|gossip| gossip.channels().map(|(name, _)| name.to_string()).collect())
        .unwrap_or_default();
    output.told(&json!({"event": "leaving", "channels": channels}), "leaving");
    operating.stop(end, peer.stop(), *output).await;
    end.verdict()
}

async fn start(values: &Values, stores: bool, command: &str) -> Result<FabricPeer, Fail> {
    let env = Env::system().map_err(Fail::job)?;
    let started = FabricPeer::start(values, stores, env).await;
    started.map_err(|error| config::named(error, command))
}

fn ready_text(ready: &Value) -> String {
    let text = |key: &str| ready["fabric"][key].as_str().unwrap_or_default().to_owned();
    format!("fabric  {} {} {}", text("endpoint"), text("msp"), text("pki_id"))
}

fn print(event: Option<(Value, String)>, output: Output) {
    if let Some((value, text)) = event {
        output.told(&value, &text);
    }
}

/// Prints events until told to stop, or the Switch is down; with `views` also what is seen of channels.
async fn report(
    peer: &FabricPeer,
    mut gossip: tokio::sync::broadcast::Receiver<ShellEvent>,
    stop: impl Future<Output = ()>,
    mut views: Option<Views>,
    output: Output,
) -> End {
    let mut switch = peer.switch().events();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return End::Asked,
            _ = look.tick(), if views.is_some() => {
                let changed = views.as_mut().and_then(|views| peer.shell().look(|gossip| views.changed(gossip)));
                changed.unwrap_or_default().into_iter().for_each(|one| print(Some(one), output));
            }
            event = gossip.recv() => match event {
                Ok(event) => print(events::shell_event(&event), output),
                Err(RecvError::Lagged(count)) => output.told(
                    &json!({"event": "missed", "count": count}),
                    &format!("{count} events came too fast to be told"),
                ),
                Err(RecvError::Closed) => return End::ByItself,
            },
            event = switch.recv() => match event {
                Ok(event) => print(switch_event(&event), output),
                // The Switch is down: so is this member.
                Err(_) => return End::ByItself,
            },
        }
    }
}
