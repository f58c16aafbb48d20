//! What is told to the node. Every request has a JSON object; a field it does not know is refused, so that a misspelt
//! one changes nothing.

use super::{Answer, Node, Refusal, answer, show};
use crate::control::Control;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use ipnet::IpNet;
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use switchboard::switch::score::{Ban, BanError, Banned, MAX_WHY};
use switchboard::text::printable;
use switchboard::{Candidate, Peer, PeerId, Reason, Switch};

/// How long a ban lasts where nothing is said.
const BAN_FOR: u64 = 24 * 60 * 60;
/// Longest ban, in seconds: a hundred years.
const LONGEST_BAN: u64 = 100 * 365 * 24 * 60 * 60;
/// Digits of an id that name a connected peer, at least.
const LEAST_DIGITS: usize = 6;

/// The fields of a body.
struct Fields(Map<String, Value>);

impl Fields {
    fn read(body: &Bytes, known: &[&str]) -> Result<Self, Refusal> {
        let object =
            if body.is_empty() { Ok(Value::Object(Map::new())) } else { serde_json::from_slice(body) };
        let object = match object {
            Ok(Value::Object(object)) => object,
            Ok(_) => return Err(Refusal::bad("the body is not a JSON object")),
            Err(error) => return Err(Refusal::bad(printable(&format!("the body is not JSON: {error}")))),
        };
        match object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => {
                Err(Refusal::bad(format!("there is no field {:?}: use {}", printable(key), known.join(", "))))
            }
            None => Ok(Self(object)),
        }
    }

    fn text(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Refusal::bad(format!("{name} is text"))),
        }
    }

    fn needed(&self, name: &str) -> Result<&str, Refusal> {
        self.text(name)?.ok_or_else(|| Refusal::bad(format!("{name} is missing")))
    }

    fn flag(&self, name: &str, usual: bool) -> Result<bool, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(usual),
            Some(Value::Bool(on)) => Ok(*on),
            Some(_) => Err(Refusal::bad(format!("{name} is true or false"))),
        }
    }

    fn number(&self, name: &str, usual: u64) -> Result<u64, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(usual),
            Some(value) => {
                value.as_u64().ok_or_else(|| Refusal::bad(format!("{name} is a whole number, 0 or more")))
            }
        }
    }
}

fn switch(control: &Arc<dyn Control>) -> Result<Switch, Refusal> {
    control.switch().ok_or_else(|| Refusal::conflict("this node has no sessions: it only answers discovery"))
}

/// What was begun did not come to its end.
fn gone() -> Refusal {
    Refusal(StatusCode::SERVICE_UNAVAILABLE, "the node is going: this was not done".into())
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
            u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
        }
        _ => None,
    };
    pairs.map(byte).collect()
}

/// `WIRE:ID`, for a wire of this node and an id as long as the node's own: the beginning of one is nobody's.
fn identity(switch: &Switch, text: &str) -> Option<PeerId> {
    let (wire, digits) = text.split_once(':')?;
    let wire = switch.wires().into_iter().find(|known| *known == wire)?;
    let id = PeerId::new(wire, &hex(digits)?)?;
    (id.as_bytes().len() == switch.local_id(wire)?.as_bytes().len()).then_some(id)
}

/// The beginning of an id, of one wire where it is named.
struct Prefix<'a> {
    wire: Option<&'a str>,
    digits: String,
}

impl<'a> Prefix<'a> {
    fn of(text: &'a str) -> Self {
        let (wire, digits) = text.rsplit_once(':').map_or((None, text), |(wire, id)| (Some(wire), id));
        Self { wire, digits: digits.to_ascii_lowercase() }
    }

    /// Whether a wire of this node is named, and then digits: this can be no address.
    fn is_of_wire(&self, switch: &Switch) -> bool {
        let named = self.wire.is_some_and(|wire| switch.wires().into_iter().any(|known| known == wire));
        named && !self.digits.is_empty() && self.digits.bytes().all(|b| b.is_ascii_hexdigit())
    }

    fn begins(&self, id: &PeerId) -> bool {
        self.digits.len() >= LEAST_DIGITS
            && self.wire.is_none_or(|wire| id.wire() == wire)
            && id.to_string().starts_with(&self.digits)
    }
}

/// A connected peer by its id, the beginning of its id, or `WIRE:ID`.
pub(super) fn connected(control: &Arc<dyn Control>, text: &str) -> Result<Peer, Refusal> {
    let switch = switch(control)?;
    if let Some(peer) = identity(&switch, text).and_then(|id| switch.peers().get(&id)) {
        return Ok(peer);
    }
    let prefix = Prefix::of(text);
    let mut found = switch.peers().list().into_iter().filter(|peer| prefix.begins(&peer.id()));
    match (found.next(), found.next()) {
        (Some(peer), None) => Ok(peer),
        (Some(_), Some(_)) => {
            Err(Refusal::bad(format!("more than one peer begins with {}: give more digits", prefix.digits)))
        }
        _ => Err(Refusal::missing(format!("no peer {:?} is connected", printable(text)))),
    }
}

/// Whom a text means: somebody who is connected, an identity, or an address.
fn whom(control: &Arc<dyn Control>, text: &str) -> Result<Candidate, Refusal> {
    let switch = switch(control)?;
    if let Some(id) = identity(&switch, text) {
        return Ok(Candidate::unresolved(id));
    }
    match connected(control, text) {
        Ok(peer) => Ok(Candidate::unresolved(peer.id())),
        Err(ambiguous) if ambiguous.0 == StatusCode::BAD_REQUEST => Err(ambiguous),
        Err(_) if Prefix::of(text).is_of_wire(&switch) => Err(Refusal::missing(format!(
            "no peer {:?} is connected: give the whole id to mean somebody who is not",
            printable(text)
        ))),
        Err(_) => control.parse(text).map_err(Refusal::bad),
    }
}

pub(super) async fn add(Shared(state): Node, body: Bytes) -> Answer {
    let fields = Fields::read(&body, &["peer", "trusted"])?;
    let text = fields.needed("peer")?;
    let switch = switch(&state.control)?;
    let candidate = state.control.parse(text).map_err(Refusal::bad)?;
    let trusted = fields.flag("trusted", false)?;
    let trust = match (trusted, candidate.id) {
        (true, None) => return Err(Refusal::bad("an address without an identity cannot be trusted")),
        (on, id) => id.filter(|_| on),
    };
    let (wire, shown) = (candidate.wire, printable(&candidate.to_string()));
    // A task of its own: a caller that hangs up does not leave a peer trusted but not kept.
    let adding = tokio::spawn(async move {
        if let Some(id) = trust {
            switch.set_trusted(id, true).await;
        }
        switch.add_static(candidate).await;
        switch.dial_now();
    });
    adding.await.map_err(|_| gone())?;
    Ok(answer(&json!({"added": shown, "wire": wire, "trusted": trusted})))
}

pub(super) async fn remove(Shared(state): Node, body: Bytes) -> Answer {
    let fields = Fields::read(&body, &["peer", "keep_session"])?;
    let (text, keep) = (fields.needed("peer")?, fields.flag("keep_session", false)?);
    let switch = switch(&state.control)?;
    let candidate = whom(&state.control, text)?;
    let same = |known: &Candidate| known.wire == candidate.wire && known.authority() == candidate.authority();
    let mut id = candidate.id;
    let mut kept = false;
    for known in switch.candidates().await {
        let is = match (known.id, candidate.id) {
            (Some(a), Some(b)) => a == b,
            _ => !candidate.host.is_empty() && same(&known.candidate),
        };
        if is && known.is_static {
            id = id.or(known.id);
            switch.remove_static(known.candidate).await;
            kept = true;
        }
    }
    let peer = id.and_then(|id| switch.peers().get(&id));
    if !kept && peer.is_none() {
        return Err(Refusal::missing(format!("{:?} is neither kept connected nor a peer", printable(text))));
    }
    let ended = match (&peer, keep) {
        (Some(peer), false) => switch.disconnect(&peer.id(), Reason::Requested),
        _ => false,
    };
    let shown = printable(&candidate.to_string());
    Ok(answer(&json!({"removed": shown, "was_static": kept, "session_ended": ended})))
}

pub(super) async fn trust(Shared(state): Node, body: Bytes) -> Answer {
    let fields = Fields::read(&body, &["peer", "trusted"])?;
    let switch = switch(&state.control)?;
    let candidate = whom(&state.control, fields.needed("peer")?)?;
    let on = fields.flag("trusted", true)?;
    let id = candidate.id.ok_or_else(|| Refusal::bad("an address without an identity cannot be trusted"))?;
    switch.set_trusted(id, on).await;
    Ok(answer(&json!({"peer": id.to_string(), "wire": id.wire(), "trusted": on})))
}

/// Addresses, or an identity.
fn banned(control: &Arc<dyn Control>, text: &str) -> Result<Banned, Refusal> {
    if let Ok(net) = text.parse::<IpNet>() {
        return Ok(Banned::Net(net.trunc()));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Banned::Net(ip.into()));
    }
    let candidate = whom(control, text)?;
    let unproven = "this address names no identity: ban its IP address";
    candidate.id.map(Banned::Id).ok_or_else(|| Refusal::bad(unproven))
}

pub(super) async fn ban(Shared(state): Node, body: Bytes) -> Answer {
    let fields = Fields::read(&body, &["peer", "seconds", "why"])?;
    let switch = switch(&state.control)?;
    let who = banned(&state.control, fields.needed("peer")?)?;
    let seconds = fields.number("seconds", BAN_FOR)?;
    if seconds == 0 || seconds > LONGEST_BAN {
        return Err(Refusal::bad(format!("a ban lasts from 1 to {LONGEST_BAN} seconds")));
    }
    let why = fields.text("why")?.unwrap_or("by the operator");
    if why.len() > MAX_WHY {
        return Err(Refusal::bad(format!("why has at most {MAX_WHY} bytes")));
    }
    let until = state.control.now() + Duration::from_secs(seconds);
    match switch.ban(Ban::new(who, until, printable(why))).await {
        Ok(made) => Ok(answer(&json!({"banned": show::ban(&made)}))),
        Err(error @ (BanError::Trusted | BanError::Local)) => Err(Refusal::conflict(error.to_string())),
        Err(error @ BanError::NotStored(_)) => Err(Refusal::failed(error.to_string())),
        Err(_) => Err(gone()),
    }
}

pub(super) async fn unban(Shared(state): Node, body: Bytes) -> Answer {
    let fields = Fields::read(&body, &["peer"])?;
    let (switch, text) = (switch(&state.control)?, fields.needed("peer")?);
    // Those that are banned are named by what the list of bans shows, too.
    let prefix = Prefix::of(text);
    let listed = switch.bans().await.into_iter().filter(|ban| {
        let who = match &ban.who {
            Banned::Id(id) => Some(id),
            Banned::Net(_) => None,
        };
        who.into_iter().chain(ban.seen_as.as_ref()).any(|id| prefix.begins(id))
    });
    let mut listed = listed.map(|ban| ban.who);
    let who = match (listed.next(), listed.next()) {
        (Some(who), None) => who,
        _ => banned(&state.control, text)?,
    };
    match switch.lift_ban(who).await {
        Ok(true) => Ok(answer(&json!({"unbanned": who.to_string()}))),
        Ok(false) => Err(Refusal::missing(format!("{:?} is not banned", printable(text)))),
        Err(error) => {
            Err(Refusal::failed(format!("the ban is lifted, but a restart brings it back: {error}")))
        }
    }
}

pub(super) async fn log(Shared(state): Node) -> Answer {
    Ok(answer(&json!({"log": state.control.log()})))
}

pub(super) async fn set_log(Shared(state): Node, body: Bytes) -> Answer {
    let fields = Fields::read(&body, &["log"])?;
    state.control.set_log(fields.needed("log")?).map_err(Refusal::bad)?;
    Ok(answer(&json!({"log": state.control.log()})))
}

pub(super) async fn reload(Shared(state): Node, body: Bytes) -> Answer {
    Fields::read(&body, &[])?;
    // A task of its own: a caller that hangs up does not leave half of the settings taken over.
    let reloading = tokio::spawn(async move { state.control.reload().await });
    let changes = reloading.await.map_err(|_| gone())?.map_err(Refusal::conflict)?;
    Ok(answer(&json!({"changes": changes})))
}

pub(super) async fn stop(Shared(state): Node, body: Bytes) -> Answer {
    Fields::read(&body, &[])?;
    state.control.stop();
    Ok((StatusCode::ACCEPTED, answer(&json!({"stopping": true}))).into_response())
}
