//! UPnP routers, through `igd-next`: IGDv1 and v2, IP and PPP connections.
//!
//! A port is asked for up to four times, 200 ms apart; when it cannot be had, three random ones from 10,000 up are
//! tried (go-ethereum p2p/nat/natupnp.go). A request takes at most 3 s. `igd-next` bounds what it reads (1 MiB)
//! and takes URLs only at the address that answered the search.

use crate::gateway::Mapped;
use crate::mapper::NatConfig;
use crate::plan::Key;
use crate::{NatError, Protocol};
use igd_next::aio::Gateway;
use igd_next::aio::tokio::{Tokio, search_gateway};
use igd_next::{AddPortError, PortMappingProtocol, SearchOptions};
use rand::Rng;
use rand_chacha::ChaCha20Rng;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

const REQUEST: Duration = Duration::from_secs(3);
const SEARCH: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(200);
const TRIES: u32 = 4;
const OTHER_PORTS: u32 = 3;

/// A router that was found.
#[derive(Debug)]
pub struct Router {
    gateway: Gateway<Tokio>,
    local: IpAddr,
}

fn transport(protocol: Protocol) -> PortMappingProtocol {
    match protocol {
        Protocol::Tcp => PortMappingProtocol::TCP,
        Protocol::Udp => PortMappingProtocol::UDP,
    }
}

async fn bounded<T, E: std::fmt::Display>(
    request: impl Future<Output = Result<T, E>>,
) -> Result<T, NatError> {
    let answer = timeout(REQUEST, request).await.map_err(|_| NatError::TimedOut)?;
    answer.map_err(|error| NatError::Refused(error.to_string().chars().take(200).collect()))
}

impl Router {
    pub(crate) async fn find(config: &NatConfig) -> Result<Self, NatError> {
        let mut options = SearchOptions::default();
        options.broadcast_address = config.upnp_search;
        options.timeout = Some(SEARCH);
        options.single_search_timeout = Some(SEARCH);
        // `igd-next` takes no router on this machine unless it is named.
        if config.upnp_search.ip().is_loopback() {
            options.allowed_gateway_ips = vec![config.upnp_search.ip()];
        }
        let gateway = search_gateway(options).await.map_err(|_| NatError::NotFound { what: "UPnP" })?;
        // Connecting a UDP socket sends nothing; it tells from which address the router sees us.
        let socket = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0))).await?;
        socket.connect(gateway.addr).await?;
        let local = socket.local_addr()?.ip();
        Ok(Self { gateway, local })
    }

    pub(crate) async fn address(&self) -> Result<IpAddr, NatError> {
        bounded(self.gateway.get_external_ip()).await
    }

    async fn add(&self, key: Key, external: u16, seconds: u32, name: &str) -> Result<(), NatError> {
        let local = SocketAddr::new(self.local, key.1);
        let add = |seconds| self.gateway.add_port(transport(key.0), external, local, seconds, name);
        let answer = timeout(REQUEST, add(seconds)).await.map_err(|_| NatError::TimedOut)?;
        // Some routers know only mappings that last; they are deleted at the end all the same.
        if let Err(AddPortError::OnlyPermanentLeasesSupported) = answer {
            return bounded(add(0)).await;
        }
        answer.map_err(|error| NatError::Refused(error.to_string().chars().take(200).collect()))
    }

    pub(crate) async fn map(
        &self,
        key: Key,
        wanted: u16,
        seconds: u32,
        name: &str,
        rng: &mut ChaCha20Rng,
    ) -> Result<Mapped, NatError> {
        let mut last = NatError::TimedOut;
        for attempt in 0..TRIES + OTHER_PORTS {
            let external = if attempt < TRIES { wanted } else { random_port(rng) };
            match self.add(key, external, seconds, name).await {
                Ok(()) => return Ok(Mapped { external, life: Duration::from_secs(seconds.into()) }),
                Err(error) => last = error,
            }
            sleep(PAUSE).await;
        }
        Err(last)
    }

    pub(crate) async fn unmap(&self, key: Key, external: u16) -> Result<(), NatError> {
        bounded(self.gateway.remove_port(transport(key.0), external)).await
    }
}

fn random_port(rng: &mut ChaCha20Rng) -> u16 {
    let span = u64::from(u16::MAX - 10_000) + 1;
    10_000 + u16::try_from(rng.next_u64() % span).unwrap_or_default()
}
