//! Options of gossip, with Fabric's own names and defaults (`peer.gossip.*` of core.yaml).
//!
//! ```text
//!   [fabric]
//!   pullInterval = "2s"
//!   "state.enabled" = true
//! ```
//! Durations are written as Go writes them. What has a flag of its own (bootstrap, election, external endpoint) is not here twice.

use crate::error::NodeError;
use crate::settings::{Form, Setting, Values};
use serde_json::{Map, Value};
use switchboard_fabric::FABRIC;
use switchboard_fabric_gossip::Config;

const fn option(name: &'static str, form: Form, help: &'static str) -> Setting {
    Setting::one(FABRIC, name, form, help)
}

/// The options.
pub const OPTIONS: &[Setting] = &[
    option("membershipTrackerInterval", Form::Text, "How often a channel's members are compared (5s)"),
    option("endpoint", Form::Text, "Endpoint inside the organisation (default: the address listened on)"),
    option("maxBlockCountToStore", Form::Number, "Blocks kept in memory per channel (10)"),
    option(
        "maxPropagationBurstLatency",
        Form::Text,
        "How long messages are gathered before they are gossiped (10ms)",
    ),
    option("maxPropagationBurstSize", Form::Number, "How many messages are gathered (10)"),
    option("propagateIterations", Form::Number, "How often a message is gossiped; 0 turns pushing off (1)"),
    option("propagatePeerNum", Form::Number, "To how many peers a message is gossiped (3)"),
    option("pullInterval", Form::Text, "How often blocks, identities and the membership are pulled (4s)"),
    option("pullPeerNum", Form::Number, "From how many peers (3)"),
    option("requestStateInfoInterval", Form::Text, "How often StateInfo is pulled (4s)"),
    option("publishStateInfoInterval", Form::Text, "How often a changed StateInfo is published (4s)"),
    option("stateInfoRetentionInterval", Form::Text, "Stands in Fabric's file; not read, as in Fabric"),
    option("publishCertPeriod", Form::Text, "How long alive messages carry the identity (10s)"),
    option("skipBlockVerification", Form::Switch, "Take gossiped blocks without verification (false)"),
    option("dialTimeout", Form::Text, "How long a dial may take (3s)"),
    option("connTimeout", Form::Text, "How long a Ping or a first message may take (2s)"),
    option("recvBuffSize", Form::Number, "Messages received and not yet handled, per connection (20)"),
    option("sendBuffSize", Form::Number, "Messages to be sent, per connection (200)"),
    option("digestWaitTime", Form::Text, "How long digests are gathered (1s)"),
    option("requestWaitTime", Form::Text, "How long a digest's receiver may ask for items (1500ms)"),
    option("responseWaitTime", Form::Text, "How long items asked for are accepted (2s)"),
    option("aliveTimeInterval", Form::Text, "How often this node says that it is alive (5s)"),
    option("aliveExpirationTimeout", Form::Text, "A member not heard of for this long is dead (25s)"),
    option("reconnectInterval", Form::Text, "How often dead members are tried (25s)"),
    option("maxConnectionAttempts", Form::Number, "How often a bootstrap or anchor peer is tried (120)"),
    option(
        "msgExpirationFactor",
        Form::Number,
        "A dead member is forgotten after aliveExpirationTimeout times this (20)",
    ),
    option(
        "nonBlockingCommitMode",
        Form::Switch,
        "Refuse blocks of the own source when the buffer is full (false)",
    ),
    option(
        "election.startupGracePeriod",
        Form::Text,
        "How long the membership may take to become stable (15s)",
    ),
    option("election.membershipSampleInterval", Form::Text, "How often it is sampled for that (1s)"),
    option(
        "election.leaderAliveThreshold",
        Form::Text,
        "A leader not heard of for this long is replaced (10s)",
    ),
    option("election.leaderElectionDuration", Form::Text, "How long proposals are gathered (5s)"),
    option(
        "pvtData.pullRetryThreshold",
        Form::Text,
        "How long missing private data is pulled at commit (60s)",
    ),
    option(
        "pvtData.transientstoreMaxBlockRetention",
        Form::Number,
        "Blocks after which unused private data is dropped (20000)",
    ),
    option("pvtData.pushAckTimeout", Form::Text, "How long acknowledgements of a push are waited for (3s)"),
    option(
        "pvtData.btlPullMargin",
        Form::Number,
        "Private data that expires within so many blocks is not pulled (10)",
    ),
    option("pvtData.reconcileBatchSize", Form::Number, "Blocks looked at per reconciliation (10)"),
    option("pvtData.reconcileSleepInterval", Form::Text, "How often missing private data is reconciled (1m)"),
    option("pvtData.reconciliationEnabled", Form::Switch, "Whether it is (true)"),
    option(
        "pvtData.skipPullingInvalidTransactionsDuringCommit",
        Form::Switch,
        "Leave private data of invalid transactions to reconciliation (false)",
    ),
    option(
        "pvtData.implicitCollectionDisseminationPolicy.requiredPeerCount",
        Form::Number,
        "Acknowledgements that an implicit collection needs (0)",
    ),
    option(
        "pvtData.implicitCollectionDisseminationPolicy.maxPeerCount",
        Form::Number,
        "Peers that an implicit collection is pushed to (1)",
    ),
    option("state.enabled", Form::Switch, "Transfer blocks from peers that are ahead (false)"),
    option("state.checkInterval", Form::Text, "How often heights are compared (10s)"),
    option("state.responseTimeout", Form::Text, "How long a batch may take (3s)"),
    option("state.batchSize", Form::Number, "Blocks per batch (10)"),
    option("state.blockBufferSize", Form::Number, "Blocks that may wait for an earlier one (20)"),
    option("state.maxRetries", Form::Number, "How often a batch is asked for (3)"),
    option("state.channelSize", Form::Number, "Requests that wait to be answered (100)"),
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
    use std::time::Duration;

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
