//! Options of gossip, with Fabric's own names and defaults (`peer.gossip.*` of core.yaml).
//!
//! ```text
//!   [fabric]
//!   pullInterval = "2s"
//!   "state.enabled" = true
//! ```
//! Durations are written as Go writes them. What has a flag of its own (bootstrap, election, external endpoint) is not here twice.

use super::one;
use crate::error::NodeError;
use crate::settings::{Form, Setting, Values};
use serde_json::{Map, Value};
use std::time::Duration;
use switchboard_fabric::FabricConfig;
use switchboard_fabric::http2::KeepAlive;
use switchboard_fabric::session::MAX_MESSAGE;
use switchboard_fabric::wire::Security;
use switchboard_fabric_gossip::Config;
use switchboard_fabric_gossip::config::parse_duration;

/// Options of connections, from `peer` of core.yaml, and one of ours.
pub const WIRE_OPTIONS: &[Setting] = &[
    one("no-tls", Form::Switch, "Speak plain text, between loopback addresses only: to look at what is sent"),
    one(
        "keepalive.interval",
        Form::Text,
        "How often a silent peer is pinged; at least 60s, or peers hang up (60s)",
    ),
    one("keepalive.timeout", Form::Text, "How long the answer to a ping may take (20s)"),
    one("maxRecvMsgSize", Form::Number, "Largest message taken, in bytes (104857600)"),
    one("maxSendMsgSize", Form::Number, "Largest message sent, in bytes (104857600)"),
];

/// Smallest limit of messages: below it, not even identities would get through.
const LEAST_LIMIT: u64 = 256 << 10;

fn limit(values: &Values, name: &str) -> Result<usize, NodeError> {
    let Some(bytes) = values.number(name)? else { return Ok(MAX_MESSAGE) };
    if !(LEAST_LIMIT..=MAX_MESSAGE as u64).contains(&bytes) {
        return Err(NodeError::usage(format!("--{name} {bytes}: give {LEAST_LIMIT} to {MAX_MESSAGE} bytes")));
    }
    Ok(bytes as usize)
}

/// Puts the options of connections into a wire's configuration.
///
/// # Errors
/// A value that cannot be.
pub fn wire_config(values: &Values, wire: &mut FabricConfig) -> Result<(), NodeError> {
    let duration = |name: &str, default: Duration| {
        let Some(text) = values.text(name) else { return Ok(default) };
        let wrong = || NodeError::usage(format!("--{name} {text}: no duration: write 1500ms, 4s or 1m30s"));
        parse_duration(text).ok_or_else(wrong)
    };
    let usual = KeepAlive::default();
    let every = duration("keepalive.interval", usual.every())?;
    let within = duration("keepalive.timeout", usual.within())?;
    wire.keepalive = KeepAlive::new(every, within)
        .map_err(|fault| NodeError::usage(format!("--keepalive.interval, --keepalive.timeout: {fault}")))?;
    (wire.max_receive, wire.max_send) = (limit(values, "maxRecvMsgSize")?, limit(values, "maxSendMsgSize")?);
    if values.switch("no-tls")? {
        wire.security = Security::Plain;
    }
    Ok(())
}

/// The options.
pub const OPTIONS: &[Setting] = &[
    one(
        "membershipTrackerInterval",
        Form::Text,
        "Stands in Fabric's file; no effect: members are told as they come and go",
    ),
    one("endpoint", Form::Text, "Endpoint inside the organisation (default: the address listened on)"),
    one("maxBlockCountToStore", Form::Number, "Blocks kept in memory per channel (10)"),
    one(
        "maxPropagationBurstLatency",
        Form::Text,
        "How long messages are gathered before they are gossiped (10ms)",
    ),
    one("maxPropagationBurstSize", Form::Number, "How many messages are gathered (10)"),
    one("propagateIterations", Form::Number, "How often a message is gossiped; 0 turns pushing off (1)"),
    one("propagatePeerNum", Form::Number, "To how many peers a message is gossiped (3)"),
    one("pullInterval", Form::Text, "How often blocks, identities and the membership are pulled (4s)"),
    one("pullPeerNum", Form::Number, "From how many peers (3)"),
    one("requestStateInfoInterval", Form::Text, "How often StateInfo is pulled (4s)"),
    one("publishStateInfoInterval", Form::Text, "How often a changed StateInfo is published (4s)"),
    one("stateInfoRetentionInterval", Form::Text, "Stands in Fabric's file; not read, as in Fabric"),
    one("publishCertPeriod", Form::Text, "How long alive messages carry the identity (10s)"),
    one("skipBlockVerification", Form::Switch, "Take gossiped blocks without verification (false)"),
    one("dialTimeout", Form::Text, "How long a dial may take (3s)"),
    one("connTimeout", Form::Text, "How long a Ping or a first message may take (2s)"),
    one(
        "recvBuffSize",
        Form::Number,
        "Stands in Fabric's file; no effect: what is received is bounded by bytes",
    ),
    one("sendBuffSize", Form::Number, "Messages to be sent, per connection (200)"),
    one("digestWaitTime", Form::Text, "How long digests are gathered (1s)"),
    one("requestWaitTime", Form::Text, "How long a digest's receiver may ask for items (1500ms)"),
    one("responseWaitTime", Form::Text, "How long items asked for are accepted (2s)"),
    one("aliveTimeInterval", Form::Text, "How often this node says that it is alive (5s)"),
    one("aliveExpirationTimeout", Form::Text, "A member not heard of for this long is dead (25s)"),
    one("reconnectInterval", Form::Text, "How often dead members are tried (25s)"),
    one("maxConnectionAttempts", Form::Number, "How often a bootstrap or anchor peer is tried (120)"),
    one(
        "msgExpirationFactor",
        Form::Number,
        "A dead member is forgotten after aliveExpirationTimeout times this (20)",
    ),
    one(
        "nonBlockingCommitMode",
        Form::Switch,
        "Refuse blocks of the own source when the buffer is full (false)",
    ),
    one("election.startupGracePeriod", Form::Text, "How long the membership may take to become stable (15s)"),
    one("election.membershipSampleInterval", Form::Text, "How often it is sampled for that (1s)"),
    one("election.leaderAliveThreshold", Form::Text, "A leader not heard of for this long is replaced (10s)"),
    one("election.leaderElectionDuration", Form::Text, "How long proposals are gathered (5s)"),
    one("pvtData.pullRetryThreshold", Form::Text, "How long missing private data is pulled at commit (60s)"),
    one(
        "pvtData.transientstoreMaxBlockRetention",
        Form::Number,
        "Blocks after which unused private data is dropped (20000)",
    ),
    one("pvtData.pushAckTimeout", Form::Text, "How long acknowledgements of a push are waited for (3s)"),
    one(
        "pvtData.btlPullMargin",
        Form::Number,
        "Private data that expires within so many blocks is not pulled (10)",
    ),
    one("pvtData.reconcileBatchSize", Form::Number, "Blocks looked at per reconciliation (10)"),
    one("pvtData.reconcileSleepInterval", Form::Text, "How often missing private data is reconciled (1m)"),
    one("pvtData.reconciliationEnabled", Form::Switch, "Whether it is (true)"),
    one(
        "pvtData.skipPullingInvalidTransactionsDuringCommit",
        Form::Switch,
        "Leave private data of invalid transactions to reconciliation (false)",
    ),
    one(
        "pvtData.implicitCollectionDisseminationPolicy.requiredPeerCount",
        Form::Number,
        "Acknowledgements that an implicit collection needs (0)",
    ),
    one(
        "pvtData.implicitCollectionDisseminationPolicy.maxPeerCount",
        Form::Number,
        "Peers that an implicit collection is pushed to (1)",
    ),
    one("state.enabled", Form::Switch, "Transfer blocks from peers that are ahead (false)"),
    one("state.checkInterval", Form::Text, "How often heights are compared (10s)"),
    one("state.responseTimeout", Form::Text, "How long a batch may take (3s)"),
    one("state.batchSize", Form::Number, "Blocks per batch (10)"),
    one("state.blockBufferSize", Form::Number, "Blocks that may wait for an earlier one (20)"),
    one("state.maxRetries", Form::Number, "How often a batch is asked for (3)"),
    one("state.channelSize", Form::Number, "Requests that wait to be answered (100)"),
];

fn put(into: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(into.insert(path.to_owned(), value)),
        Some((first, rest)) => {
            let inner = into.entry(first).or_insert_with(|| Map::new().into());
            if let Some(inner) = inner.as_object_mut() {
                put(inner, rest, value);
            }
        }
    }
}

/// The options as given, over Fabric's defaults; nobody to bootstrap from.
///
/// # Errors
/// A value that cannot be.
pub fn gossip_config(values: &Values) -> Result<Config, NodeError> {
    let mut given = Map::new();
    for Setting { name, form, .. } in OPTIONS {
        let value = match form {
            _ if !values.has(name) => continue,
            Form::Number => values.number(name)?.unwrap_or_default().into(),
            Form::Switch => values.switch(name)?.into(),
            _ => values.text(name).unwrap_or_default().into(),
        };
        let mut alone = Map::new();
        put(&mut alone, name, Value::clone(&value));
        // Each by itself first, so that what is wrong is named.
        serde_json::from_value::<Config>(alone.into())
            .map_err(|error| NodeError::usage(format!("--{name}: {error}: correct that option")))?;
        put(&mut given, name, value);
    }
    given.insert("bootstrap".into(), values.texts("bootstrap").into());
    serde_json::from_value(given.into()).map_err(NodeError::usage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Source;

    /// Every option is one that Fabric's configuration has, and takes a value of its form.
    #[test]
    fn every_option_is_taken() {
        for Setting { name, form, .. } in OPTIONS {
            let mut values = Values::default();
            let text = match form {
                Form::Number => "7",
                Form::Switch => "true",
                _ if *name == "endpoint" => "127.0.0.1:7051",
                _ => "7s",
            };
            values.set(name, vec![text.to_owned()], Source::Flag);
            let config = gossip_config(&values).unwrap_or_else(|error| panic!("{name}: {error}"));
            let without = gossip_config(&Values::default()).unwrap();
            let default = matches!(*name, "pvtData.reconciliationEnabled");
            assert_eq!(config == without, default, "{name} changes nothing");
        }
    }

    #[test]
    fn options_of_connections_reach_the_wire() {
        let dir = tempfile::tempdir().unwrap();
        let now = switchboard::Env::system().unwrap().wall();
        let made = switchboard_fabric::keygen::keygen(&dir.path().join("org"), "Org1MSP", 1, now).unwrap();
        let config = |given: &[(&str, &str)]| {
            let mut values = Values::default();
            given.iter().for_each(|(name, text)| values.set(name, vec![(*text).to_owned()], Source::Flag));
            let folder = switchboard_fabric::PeerFolder::load(&made[0], "Org1MSP").unwrap();
            let mut config = FabricConfig::new(folder);
            wire_config(&values, &mut config).map(|()| config).map_err(|error| error.to_string())
        };
        let usual = config(&[]).unwrap();
        assert_eq!((usual.max_receive, usual.max_send), (MAX_MESSAGE, MAX_MESSAGE));
        assert_eq!((usual.keepalive, usual.security), (KeepAlive::default(), Security::Tls));
        let changed = config(&[
            ("keepalive.interval", "1m30s"),
            ("keepalive.timeout", "5s"),
            ("maxRecvMsgSize", "1048576"),
            ("maxSendMsgSize", "2097152"),
            ("no-tls", "true"),
        ]);
        let changed = changed.unwrap();
        assert_eq!((changed.max_receive, changed.max_send), (1 << 20, 2 << 20));
        assert_eq!(changed.keepalive.every(), Duration::from_secs(90));
        assert_eq!(changed.keepalive.within(), Duration::from_secs(5));
        assert_eq!(changed.security, Security::Plain);
        for (name, wrong, why) in [
            ("keepalive.interval", "59s", "60s"),
            ("keepalive.interval", "90", "1m30s"),
            ("keepalive.timeout", "0", "more than 0"),
            ("maxRecvMsgSize", "1000", "--maxRecvMsgSize"),
            ("maxSendMsgSize", "104857601", "--maxSendMsgSize"),
        ] {
            let error = config(&[(name, wrong)]).unwrap_err();
            assert!(error.contains(why) && error.contains("--"), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let mut values = Values::default();
        values.set("pullInterval", vec!["4".to_owned()], Source::Flag);
        let error = gossip_config(&values).unwrap_err().to_string();
        assert!(error.contains("--pullInterval") && error.contains("1m30s"), "{error}");
        let config = gossip_config(&Values::default()).unwrap();
        assert!(config.bootstrap.is_empty());
        assert_eq!(config.pull_interval, Duration::from_secs(4));
    }
}
