//! Every option `peer.gossip.*` of Fabric, with its name and default.
//!
//! ```toml
//! pullInterval = "4s"
//! propagatePeerNum = 3
//! [election]
//! leaderAliveThreshold = "10s"
//! ```
//! (fabric sampleconfig/core.yaml; code defaults of gossip/gossip/config.go, state/config.go, privdata/config.go,
//! service/config.go) Durations are written as Go writes them: `1500ms`, `4s`, `1m30s`. What is not known is refused.

use serde::{Deserialize, Deserializer, de};
use std::time::Duration;

/// Longest duration taken: an operator's slip of units should be told, not waited for.
const MAX: Duration = Duration::from_secs(365 * 86_400);

/// Reads a duration as Go writes it: numbers with units ns, us, ms, s, m, h, in a row.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut sum = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(digits)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit_end)?;
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * seconds;
        rest = after;
    }
    let duration = Duration::try_from_secs_f64(sum).ok()?;
    (!text.is_empty() && duration <= MAX).then_some(duration)
}

fn duration<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(input)?;
    parse_duration(&text)
        .ok_or_else(|| de::Error::custom(format!("{text:?} is no duration: write 1500ms, 4s or 1m30s")))
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Options of `peer.gossip`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Config {
    /// Peers of the own organisation to connect to first, host:port.
    pub bootstrap: Vec<String>,
    /// Whether leaders are elected.
    pub use_leader_election: bool,
    /// Whether this peer is a leader without election; not together with `useLeaderElection`.
    pub org_leader: bool,
    /// Whether this peer only observes who is elected, and is never a leader; no option of Fabric's.
    #[serde(skip)]
    pub observes_leaders: bool,
    /// How often changes of a channel's members are looked for.
    #[serde(deserialize_with = "duration")]
    pub membership_tracker_interval: Duration,
    /// The endpoint inside the organisation; empty: the host's choice.
    pub endpoint: String,
    /// The endpoint told to other organisations; empty: none.
    pub external_endpoint: String,
    /// Blocks kept in memory per channel.
    pub max_block_count_to_store: usize,
    /// How long messages to be gossiped are gathered.
    #[serde(deserialize_with = "duration")]
    pub max_propagation_burst_latency: Duration,
    /// How many messages to be gossiped are gathered.
    pub max_propagation_burst_size: usize,
    /// How often a message is gossiped; 0 turns pushing off.
    pub propagate_iterations: usize,
    /// To how many peers a message is gossiped.
    pub propagate_peer_num: usize,
    /// How often blocks, identities and the membership are pulled.
    #[serde(deserialize_with = "duration")]
    pub pull_interval: Duration,
    /// From how many peers they are pulled.
    pub pull_peer_num: usize,
    /// How often StateInfo is pulled.
    #[serde(deserialize_with = "duration")]
    pub request_state_info_interval: Duration,
    /// How often a changed StateInfo is published.
    #[serde(deserialize_with = "duration")]
    pub publish_state_info_interval: Duration,
    /// Stands in Fabric's file; Fabric does not read it and neither do we.
    #[serde(deserialize_with = "duration")]
    pub state_info_retention_interval: Duration,
    /// How long after the start alive messages carry the identity.
    #[serde(deserialize_with = "duration")]
    pub publish_cert_period: Duration,
    /// Whether blocks are taken without verification.
    pub skip_block_verification: bool,
    /// How long a dial may take.
    #[serde(deserialize_with = "duration")]
    pub dial_timeout: Duration,
    /// How long a Ping, or the first message of a connection, may take.
    #[serde(deserialize_with = "duration")]
    pub conn_timeout: Duration,
    /// Messages received and not yet handled, per connection.
    pub recv_buff_size: usize,
    /// Messages to be sent, per connection (20 where Fabric has no file).
    pub send_buff_size: usize,
    /// How long digests are gathered before items are asked for.
    #[serde(deserialize_with = "duration")]
    pub digest_wait_time: Duration,
    /// How long a digest's receiver may ask for items.
    #[serde(deserialize_with = "duration")]
    pub request_wait_time: Duration,
    /// How long items asked for are accepted.
    #[serde(deserialize_with = "duration")]
    pub response_wait_time: Duration,
    /// How often this node says that it is alive.
    #[serde(deserialize_with = "duration")]
    pub alive_time_interval: Duration,
    /// A member not heard of for this long is dead.
    #[serde(deserialize_with = "duration")]
    pub alive_expiration_timeout: Duration,
    /// How often dead members are tried.
    #[serde(deserialize_with = "duration")]
    pub reconnect_interval: Duration,
    /// How often a bootstrap or anchor peer is tried.
    pub max_connection_attempts: u32,
    /// A dead member is forgotten after `aliveExpirationTimeout` times this.
    pub msg_expiration_factor: u32,
    /// Whether received blocks are refused, not waited with, when the buffer is full.
    pub non_blocking_commit_mode: bool,
    /// Leader election.
    pub election: Election,
    /// Private data.
    pub pvt_data: PvtData,
    /// State transfer.
    pub state: State,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bootstrap: vec!["127.0.0.1:7051".to_owned()],
            use_leader_election: false,
            org_leader: true,
            observes_leaders: false,
            membership_tracker_interval: s(5),
            endpoint: String::new(),
            external_endpoint: String::new(),
            max_block_count_to_store: 10,
            max_propagation_burst_latency: ms(10),
            max_propagation_burst_size: 10,
            propagate_iterations: 1,
            propagate_peer_num: 3,
            pull_interval: s(4),
            pull_peer_num: 3,
            request_state_info_interval: s(4),
            publish_state_info_interval: s(4),
            state_info_retention_interval: s(0),
            publish_cert_period: s(10),
            skip_block_verification: false,
            dial_timeout: s(3),
            conn_timeout: s(2),
            recv_buff_size: 20,
            send_buff_size: 200,
            digest_wait_time: s(1),
            request_wait_time: ms(1_500),
            response_wait_time: s(2),
            alive_time_interval: s(5),
            alive_expiration_timeout: s(25),
            reconnect_interval: s(25),
            max_connection_attempts: 120,
            msg_expiration_factor: 20,
            non_blocking_commit_mode: false,
            election: Election::default(),
            pvt_data: PvtData::default(),
            state: State::default(),
        }
    }
}

/// Options of `peer.gossip.election`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Election {
    /// How long the membership may take to become stable.
    #[serde(deserialize_with = "duration")]
    pub startup_grace_period: Duration,
    /// How often it is sampled for that.
    #[serde(deserialize_with = "duration")]
    pub membership_sample_interval: Duration,
    /// A leader not heard of for this long is replaced.
    #[serde(deserialize_with = "duration")]
    pub leader_alive_threshold: Duration,
    /// How long proposals are gathered.
    #[serde(deserialize_with = "duration")]
    pub leader_election_duration: Duration,
}

impl Default for Election {
    fn default() -> Self {
        Self {
            startup_grace_period: s(15),
            membership_sample_interval: s(1),
            leader_alive_threshold: s(10),
            leader_election_duration: s(5),
        }
    }
}

/// Options of `peer.gossip.pvtData`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct PvtData {
    /// How long missing private data is pulled before a block is committed without it.
    #[serde(deserialize_with = "duration")]
    pub pull_retry_threshold: Duration,
    /// Blocks after which unused private data is dropped.
    pub transientstore_max_block_retention: u64,
    /// How long acknowledgements of a push are waited for.
    #[serde(deserialize_with = "duration")]
    pub push_ack_timeout: Duration,
    /// Private data that expires within so many blocks is not pulled.
    pub btl_pull_margin: u64,
    /// Blocks looked at per reconciliation.
    pub reconcile_batch_size: usize,
    /// How often missing private data is reconciled.
    #[serde(deserialize_with = "duration")]
    pub reconcile_sleep_interval: Duration,
    /// Whether it is.
    pub reconciliation_enabled: bool,
    /// Whether private data of invalid transactions is left to reconciliation.
    pub skip_pulling_invalid_transactions_during_commit: bool,
    /// Pushing of implicit collections.
    pub implicit_collection_dissemination_policy: ImplicitCollection,
}

impl Default for PvtData {
    fn default() -> Self {
        Self {
            pull_retry_threshold: s(60),
            transientstore_max_block_retention: 20_000,
            push_ack_timeout: s(3),
            btl_pull_margin: 10,
            reconcile_batch_size: 10,
            reconcile_sleep_interval: s(60),
            reconciliation_enabled: true,
            skip_pulling_invalid_transactions_during_commit: false,
            implicit_collection_dissemination_policy: ImplicitCollection::default(),
        }
    }
}

/// Options of `implicitCollectionDisseminationPolicy`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct ImplicitCollection {
    /// Peers that must acknowledge.
    pub required_peer_count: usize,
    /// Peers pushed to.
    pub max_peer_count: usize,
}

impl Default for ImplicitCollection {
    fn default() -> Self {
        Self { required_peer_count: 0, max_peer_count: 1 }
    }
}

/// Options of `peer.gossip.state`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct State {
    /// Whether blocks are transferred from peers that are ahead.
    pub enabled: bool,
    /// How often heights are compared.
    #[serde(deserialize_with = "duration")]
    pub check_interval: Duration,
    /// How long a batch may take.
    #[serde(deserialize_with = "duration")]
    pub response_timeout: Duration,
    /// Blocks per batch: an answer may hold one more.
    pub batch_size: u64,
    /// Blocks that may wait for an earlier one.
    pub block_buffer_size: usize,
    /// How often a batch is asked for.
    pub max_retries: u32,
    /// Requests that wait to be answered.
    pub channel_size: usize,
}

impl Default for State {
    fn default() -> Self {
        Self {
            enabled: false,
            check_interval: s(10),
            response_timeout: s(3),
            batch_size: 10,
            block_buffer_size: 20,
            max_retries: 3,
            channel_size: 100,
        }
    }
}

/// Options that do not go together; the operator is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFault {
    /// Both ways to a leader are on.
    #[error("useLeaderElection and orgLeader must not both be true")]
    BothLeaders,
    /// An interval that timers run by, a time that something may take, or a size or count that nothing goes without is zero.
    #[error("{0} must be more than zero")]
    Zero(&'static str),
}

impl Config {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Checks what cannot go together (fabric gossip/service/gossip_service.go).
    ///
    /// # Errors
    /// [`ConfigFault`], which names the option.
    pub fn check(&self) -> Result<(), ConfigFault> {
        if self.use_leader_election && self.org_leader {
            return Err(ConfigFault::BothLeaders);
        }
        let (election, state) = (&self.election, &self.state);
        let intervals = [
            ("pullInterval", self.pull_interval),
            ("requestStateInfoInterval", self.request_state_info_interval),
            ("publishStateInfoInterval", self.publish_state_info_interval),
            ("aliveTimeInterval", self.alive_time_interval),
            ("aliveExpirationTimeout", self.alive_expiration_timeout),
            ("reconnectInterval", self.reconnect_interval),
            ("digestWaitTime", self.digest_wait_time),
            ("requestWaitTime", self.request_wait_time),
            ("responseWaitTime", self.response_wait_time),
            ("election.membershipSampleInterval", election.membership_sample_interval),
            ("election.leaderAliveThreshold", election.leader_alive_threshold),
            ("election.leaderElectionDuration", election.leader_election_duration),
            ("dialTimeout", self.dial_timeout),
            ("connTimeout", self.conn_timeout),
            ("pvtData.reconcileSleepInterval", self.pvt_data.reconcile_sleep_interval),
            ("state.checkInterval", state.check_interval),
            ("state.responseTimeout", state.response_timeout),
        ];
        let counts = [
            ("maxBlockCountToStore", self.max_block_count_to_store as u64),
            ("sendBuffSize", self.send_buff_size as u64),
            ("msgExpirationFactor", self.msg_expiration_factor.into()),
            ("pvtData.reconcileBatchSize", self.pvt_data.reconcile_batch_size as u64),
            ("state.batchSize", state.batch_size),
            ("state.blockBufferSize", state.block_buffer_size as u64),
            ("state.maxRetries", state.max_retries.into()),
            ("state.channelSize", state.channel_size as u64),
        ];
        let never = intervals.iter().find(|(_, interval)| interval.is_zero()).map(|(name, _)| name);
        let none = counts.iter().find(|(_, count)| *count == 0).map(|(name, _)| name);
        match never.or(none) {
            Some(name) => Err(ConfigFault::Zero(name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, want) in [
            ("4s", Some(s(4))),
            ("1500ms", Some(ms(1_500))),
            ("1m30s", Some(s(90))),
            ("0", Some(Duration::ZERO)),
            ("0s", Some(Duration::ZERO)),
            ("1.5h", Some(s(5_400))),
            ("", None),
            ("4", None),
            ("s", None),
            ("-4s", None),
            ("4 s", None),
            ("99999999999999h", None),
            ("4d", None),
        ] {
            assert_eq!(parse_duration(text), want, "{text}");
        }
    }

    #[test]
    fn names_are_fabrics_and_what_is_unknown_is_refused() {
        let text = "pullInterval = '2s'\nuseLeaderElection = true\n[pvtData]\nbtlPullMargin = 3\n\
            [pvtData.implicitCollectionDisseminationPolicy]\nmaxPeerCount = 2\n[state]\nenabled = true";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.pull_interval, s(2));
        assert_eq!((config.pvt_data.btl_pull_margin, config.state.enabled), (3, true));
        assert_eq!(config.pvt_data.implicit_collection_dissemination_policy.max_peer_count, 2);
        assert_eq!(config.alive_time_interval, Config::default().alive_time_interval);
        assert_eq!(config.check(), Err(ConfigFault::BothLeaders));
        assert!(toml::from_str::<Config>("pullIntervall = '2s'").is_err());
        assert!(toml::from_str::<Config>("pullInterval = 2").is_err());
        let zero = Config { pull_interval: Duration::ZERO, ..Config::default() };
        assert_eq!(zero.check(), Err(ConfigFault::Zero("pullInterval")));
        let none = Config::default().with(|config| config.state.batch_size = 0);
        assert_eq!(none.check(), Err(ConfigFault::Zero("state.batchSize")));
        assert_eq!(Config::default().check(), Ok(()));
    }
}
