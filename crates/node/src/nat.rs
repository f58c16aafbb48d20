//! How a node behind a router is reached: its ports mapped before it starts, so that it can announce them.
//!
//! Limits: the router has [`WITHIN`] to answer; then the node starts without its help, and the mapping is still tried.
//! A port that is chosen by the system (0) cannot be mapped beforehand, and is not.

use crate::config::ListenAt;
use crate::kit::External;
use std::time::Duration;
use switchboard::Env;
use switchboard_nat::{Mapper, NatConfig, NatSpec, Protocol};
use tokio::time::timeout;

/// How long a start waits for the router.
pub const WITHIN: Duration = Duration::from_secs(6);

/// A mapper at work, and where peers reach the node, by listening port.
pub(crate) struct Reached {
    pub(crate) mapper: Mapper,
    pub(crate) places: Vec<(u16, External)>,
}

/// Maps every TCP port that is listened on. `None` when nothing is to be asked of anybody.
pub(crate) async fn reach(spec: NatSpec, listen: &[ListenAt], env: &Env) -> Option<Reached> {
    let only_address = matches!(spec, NatSpec::ExtIp(_) | NatSpec::Stun { .. });
    let mut ports: Vec<u16> = listen.iter().map(|at| at.addr.port()).filter(|port| *port != 0).collect();
    ports.sort_unstable();
    ports.dedup();
    if ports.is_empty() {
        // Nothing to map yet: a start need not wait for the router.
        return None;
    }
    let mapper = Mapper::start(spec, NatConfig::new(env.random()))?;
    let mut mappings = Vec::new();
    if !only_address {
        for port in &ports {
            mappings.push((*port, mapper.map(Protocol::Tcp, *port, "switchboard").await));
        }
    }
    let mut address = mapper.external_ip();
    let wait = async {
        let ip = address.wait_for(Option::is_some).await.ok().and_then(|ip| *ip)?;
        let place = |port| External { host: ip.to_string(), port };
        if only_address {
            return Some(ports.iter().map(|port| (*port, place(*port))).collect());
        }
        let mut places = Vec::new();
        for (port, mapping) in &mappings {
            let mut mapped = mapping.port();
            let outside = mapped.wait_for(Option::is_some).await.ok().and_then(|port| *port)?;
            places.push((*port, place(outside)));
        }
        Some(places)
    };
    let places = timeout(WITHIN, wait).await.ok().flatten().unwrap_or_default();
    if places.is_empty() && !ports.is_empty() {
        tracing::warn!(target: "switchboard::nat", "no router mapped a port in time: set --external if you know the address");
    }
    Some(Reached { mapper, places })
}
