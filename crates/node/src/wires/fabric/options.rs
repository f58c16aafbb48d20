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
use switchboard_fabric_gossip::Config;

/// The options.
pub const OPTIONS: &[Setting] = &[
    one("membershipTrackerInterval", Form::Text, "How often a channel's members are compared (5s)"),
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
    one("recvBuffSize", Form::Number, "Messages received and not yet handled, per connection (20)"),
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
