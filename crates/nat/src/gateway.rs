//! Finds a router, or what tells the external address instead, and talks to it.
//!
//! ```text
//!   NatSpec ─ find ─▶ Gateway ─ address, map, unmap ─▶ one request, one answer, each bounded in time
//! ```
//! NAT-PMP and PCP routers are sought at the default route (Linux) and at x.x.x.1 of our private address. A search
//! is over after a second (go-ethereum p2p/nat/natpmp.go). Only datagrams from the router's address are looked at.

use crate::exchange::{Exchange, Turn};
use crate::mapper::NatConfig;
use crate::plan::Key;
use crate::spec::{NatSpec, STUN_PORT};
use crate::{NatError, Protocol, pcp, pmp, stun};
use rand::Rng;
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout, timeout_at};

/// How often a request is sent, and how long the first wait is.
const FIRST: Duration = Duration::from_millis(250);
const SENDS: u32 = 4;
/// While a router is sought: 250 and 500 ms.
const SEARCH_SENDS: u32 = 2;
/// For looking a STUN server's name up.
const LOOKUP: Duration = Duration::from_secs(5);
/// STUN servers tried of those built in.
const STUN_TRIES: usize = 3;

/// A router, or what stands for one.
#[derive(Debug)]
pub enum Gateway {
    /// The operator knows the address.
    Fixed(IpAddr),
    /// STUN servers tell it.
    Stun(Vec<(String, u16)>),
    /// A NAT-PMP router.
    Pmp(SocketAddr),
    /// A PCP router, the nonces of its mappings and the address it told last.
    Pcp {
        /// Where it listens.
        router: SocketAddr,
        /// By mapping.
        nonces: BTreeMap<Key, [u8; 12]>,
        /// Told with each mapping.
        address: Option<IpAddr>,
    },
    /// A UPnP router.
    #[cfg(feature = "upnp")]
    Upnp(crate::upnp::Router),
}

/// A port that a router mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapped {
    /// The port outside.
    pub external: u16,
    /// For how long.
    pub life: Duration,
}

fn random<const N: usize>(rng: &mut ChaCha20Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// A socket that only receives from `to`.
async fn socket_to(to: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(to).await?;
    Ok(socket)
}

/// Asks until an answer is read. What does not read as the answer is passed over; a refusal ends it.
async fn ask<T>(
    socket: &UdpSocket,
    request: &[u8],
    sends: u32,
    mut read: impl FnMut(&[u8]) -> Result<T, NatError>,
) -> Result<T, NatError> {
    let mut exchange = Exchange::new(FIRST, sends);
    let mut buffer = [0; stun::MAX_ANSWER];
    loop {
        match exchange.turn(Instant::now()) {
            Turn::GiveUp => return Err(NatError::TimedOut),
            // An unreachable port shows as an error of the next call: the wait goes on.
            Turn::Send => drop(socket.send(request).await),
            Turn::Wait(until) => {
                let received = match timeout_at(until, socket.recv(&mut buffer)).await {
                    Ok(Ok(length)) => buffer.get(..length).unwrap_or_default(),
                    Ok(Err(_)) => {
                        tokio::time::sleep_until(until).await;
                        continue;
                    }
                    Err(_) => continue,
                };
                match read(received) {
                    Err(NatError::Malformed(_)) => {}
                    other => return other,
                }
            }
        }
    }
}

/// The default routes in Linux's `/proc/net/route`: columns interface, destination, gateway, in hex, the
/// bytes of an address reversed.
fn default_routes(table: &str) -> Vec<Ipv4Addr> {
    let route = |line: &str| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (destination, gateway) = (columns.next()?, columns.next()?);
        let gateway = u32::from_str_radix(gateway, 16).ok().filter(|gateway| *gateway != 0)?;
        (destination == "00000000").then(|| Ipv4Addr::from(gateway.swap_bytes()))
    };
    table.lines().filter_map(route).take(4).collect()
}

/// Where a router may be.
async fn guesses() -> Vec<IpAddr> {
    let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let mut found: Vec<IpAddr> = default_routes(&table).into_iter().map(IpAddr::from).collect();
    // Connecting a UDP socket sends nothing; it tells from which address we would send.
    let outside = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9));
    if let Ok(socket) = socket_to(outside).await
        && let Ok(SocketAddr::V4(local)) = socket.local_addr()
        && local.ip().is_private()
    {
        let [a, b, c, _] = local.ip().octets();
        let first = IpAddr::from([a, b, c, 1]);
        if !found.contains(&first) {
            found.push(first);
        }
    }
    found
}

async fn find_pmp(gateway: Option<IpAddr>, port: u16) -> Result<Gateway, NatError> {
    let routers = gateway.map_or_else(Vec::new, |ip| vec![ip]);
    let routers = if routers.is_empty() { guesses().await } else { routers };
    for ip in routers {
        let router = SocketAddr::new(ip, port);
        let Ok(socket) = socket_to(router).await else { continue };
        let request = pmp::Request::Address;
        let bytes = request.encode();
        let answer = ask(&socket, &bytes, SEARCH_SENDS, |bytes| {
            let response = pmp::Response::decode(bytes)?;
            if request.is_answered_by(&response) {
                Ok(())
            } else {
                Err(NatError::Malformed("another answer"))
            }
        });
        if answer.await.is_ok() {
            return Ok(Gateway::Pmp(router));
        }
    }
    Err(NatError::NotFound { what: "NAT-PMP" })
}

async fn find_pcp(gateway: Option<IpAddr>, port: u16, rng: &mut ChaCha20Rng) -> Result<Gateway, NatError> {
    let routers = gateway.map_or_else(Vec::new, |ip| vec![ip]);
    let routers = if routers.is_empty() { guesses().await } else { routers };
    for ip in routers {
        let router = SocketAddr::new(ip, port);
        let Ok(socket) = socket_to(router).await else { continue };
        // Deleting what does not exist is the one request that changes nothing; any PCP answer will do.
        let probe = pcp::Map {
            nonce: random(rng),
            protocol: Protocol::Udp,
            internal: 9,
            external: 0,
            ip: Ipv4Addr::UNSPECIFIED.into(),
            life: 0,
        };
        let local = socket.local_addr()?.ip();
        let bytes = probe.encode(local);
        let answer = ask(&socket, &bytes, SEARCH_SENDS, |bytes| match pcp::Map::decode(bytes) {
            Ok(_) | Err(NatError::Refused(_)) => Ok(()),
            Err(error) => Err(error),
        });
        if answer.await.is_ok() {
            return Ok(Gateway::Pcp { router, nonces: BTreeMap::new(), address: None });
        }
    }
    Err(NatError::NotFound { what: "PCP" })
}

#[cfg(feature = "upnp")]
async fn find_upnp(config: &NatConfig) -> Result<Gateway, NatError> {
    crate::upnp::Router::find(config).await.map(Gateway::Upnp)
}

#[cfg(not(feature = "upnp"))]
async fn find_upnp(_config: &NatConfig) -> Result<Gateway, NatError> {
    Err(NatError::Unsupported("this build has no UPnP: build it with the feature upnp"))
}

/// Whichever answers first; when none does, the error of the last.
async fn race(config: &NatConfig, rng: &mut ChaCha20Rng) -> Result<Gateway, NatError> {
    let pcp = find_pcp(None, config.gateway_port, rng);
    let pmp = find_pmp(None, config.gateway_port);
    let upnp = find_upnp(config);
    tokio::pin!(pcp, pmp, upnp);
    let (mut pcp_over, mut pmp_over, mut upnp_over) = (false, false, false);
    while !(pcp_over && pmp_over && upnp_over) {
        let found = tokio::select! {
            biased;
            found = &mut pcp, if !pcp_over => { pcp_over = true; found }
            found = &mut pmp, if !pmp_over => { pmp_over = true; found }
            found = &mut upnp, if !upnp_over => { upnp_over = true; found }
        };
        if found.is_ok() {
            return found;
        }
    }
    Err(NatError::NotFound { what: "PCP, NAT-PMP or UPnP" })
}

fn built_in_servers(rng: &mut ChaCha20Rng) -> Vec<(String, u16)> {
    let mut servers: Vec<_> = stun::SERVERS.iter().filter_map(|server| server.rsplit_once(':')).collect();
    let mut picked = Vec::new();
    while picked.len() < STUN_TRIES && !servers.is_empty() {
        let (host, port) = servers.swap_remove((rng.next_u64() % servers.len() as u64) as usize);
        picked.push((host.to_owned(), port.parse().unwrap_or(STUN_PORT)));
    }
    picked
}

impl Gateway {
    /// Looks for what the specification names.
    ///
    /// # Errors
    /// [`NatError`].
    pub async fn find(spec: &NatSpec, config: &NatConfig, rng: &mut ChaCha20Rng) -> Result<Self, NatError> {
        match spec {
            NatSpec::None => Err(NatError::Unsupported("no NAT mechanism was asked for")),
            NatSpec::ExtIp(ip) => Ok(Self::Fixed(*ip)),
            NatSpec::Stun { server: Some(server) } => Ok(Self::Stun(vec![server.clone()])),
            NatSpec::Stun { server: None } => Ok(Self::Stun(built_in_servers(rng))),
            NatSpec::Pmp { gateway } => find_pmp(*gateway, config.gateway_port).await,
            NatSpec::Pcp { gateway } => find_pcp(*gateway, config.gateway_port, rng).await,
            NatSpec::Upnp => find_upnp(config).await,
            NatSpec::Any => race(config, rng).await,
        }
    }

    /// Whether it maps ports.
    #[must_use]
    pub fn maps(&self) -> bool {
        !matches!(self, Self::Fixed(_) | Self::Stun(_))
    }

    /// What it is, for logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fixed(_) => "fixed address",
            Self::Stun(_) => "STUN",
            Self::Pmp(_) => "NAT-PMP",
            Self::Pcp { .. } => "PCP",
            #[cfg(feature = "upnp")]
            Self::Upnp(_) => "UPnP",
        }
    }

    /// The external address; `None` while a PCP router has mapped nothing, since it tells it with a mapping.
    ///
    /// # Errors
    /// [`NatError`].
    pub async fn address(&mut self, rng: &mut ChaCha20Rng) -> Result<Option<IpAddr>, NatError> {
        match self {
            Self::Fixed(ip) => Ok(Some(*ip)),
            Self::Pcp { address, .. } => Ok(*address),
            Self::Pmp(router) => {
                let request = pmp::Request::Address;
                let read = |bytes: &[u8]| match pmp::Response::decode(bytes)? {
                    pmp::Response::Address(ip) => Ok(Some(ip.into())),
                    pmp::Response::Map { .. } => Err(NatError::Malformed("another answer")),
                };
                ask(&socket_to(*router).await?, &request.encode(), SENDS, read).await
            }
            Self::Stun(servers) => {
                let mut last = NatError::NotFound { what: "STUN" };
                for (host, port) in servers.iter() {
                    match stun_address(host, *port, rng).await {
                        Ok(ip) => return Ok(Some(ip)),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            #[cfg(feature = "upnp")]
            Self::Upnp(router) => router.address().await.map(Some),
        }
    }

    /// Maps a port, or refreshes it.
    ///
    /// # Errors
    /// [`NatError`].
    pub async fn map(
        &mut self,
        key: Key,
        wanted: u16,
        life: Duration,
        name: &str,
        rng: &mut ChaCha20Rng,
    ) -> Result<Mapped, NatError> {
        let (protocol, internal) = key;
        let seconds = u32::try_from(life.as_secs()).unwrap_or(u32::MAX).max(1);
        match self {
            Self::Fixed(_) | Self::Stun(_) => Err(NatError::Unsupported("it only tells the address")),
            Self::Pmp(router) => {
                let request = pmp::Request::Map { protocol, internal, wanted, life: seconds };
                pmp_map(*router, request).await
            }
            Self::Pcp { router, nonces, address } => {
                let nonce = *nonces.entry(key).or_insert_with(|| random(rng));
                let ip = address.unwrap_or(unspecified(*router));
                let map = pcp::Map { nonce, protocol, internal, external: wanted, ip, life: seconds };
                let got = pcp_map(*router, map).await?;
                *address = Some(got.ip);
                Ok(Mapped { external: got.external, life: Duration::from_secs(got.life.into()) })
            }
            #[cfg(feature = "upnp")]
            Self::Upnp(router) => router.map(key, wanted, seconds, name, rng).await,
        }
        .inspect(|mapped| {
            tracing::debug!(%protocol, internal, external = mapped.external, name, "port mapped");
        })
    }

    /// Deletes a mapping.
    ///
    /// # Errors
    /// [`NatError`].
    pub async fn unmap(&mut self, key: Key, external: u16) -> Result<(), NatError> {
        let (protocol, internal) = key;
        match self {
            Self::Fixed(_) | Self::Stun(_) => Ok(()),
            Self::Pmp(router) => {
                // RFC 6886 §3.4: the wanted port of a deletion is 0.
                let request = pmp::Request::Map { protocol, internal, wanted: 0, life: 0 };
                pmp_map(*router, request).await.map(drop)
            }
            Self::Pcp { router, nonces, .. } => {
                let Some(nonce) = nonces.remove(&key) else { return Ok(()) };
                let ip = unspecified(*router);
                let map = pcp::Map { nonce, protocol, internal, external, ip, life: 0 };
                pcp_map(*router, map).await.map(drop)
            }
            #[cfg(feature = "upnp")]
            Self::Upnp(router) => router.unmap(key, external).await,
        }
    }
}

fn unspecified(router: SocketAddr) -> IpAddr {
    if router.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

async fn pmp_map(router: SocketAddr, request: pmp::Request) -> Result<Mapped, NatError> {
    let read = |bytes: &[u8]| {
        let response = pmp::Response::decode(bytes)?;
        match response {
            pmp::Response::Map { external, life, .. } if request.is_answered_by(&response) => {
                Ok(Mapped { external, life: Duration::from_secs(life.into()) })
            }
            _ => Err(NatError::Malformed("another answer")),
        }
    };
    ask(&socket_to(router).await?, &request.encode(), SENDS, read).await
}

async fn pcp_map(router: SocketAddr, map: pcp::Map) -> Result<pcp::Map, NatError> {
    let socket = socket_to(router).await?;
    let request = map.encode(socket.local_addr()?.ip());
    let read = |bytes: &[u8]| {
        let got = pcp::Map::decode(bytes)?;
        if map.is_answered_by(&got) { Ok(got) } else { Err(NatError::Malformed("another answer")) }
    };
    ask(&socket, &request, SENDS, read).await
}

async fn stun_address(host: &str, port: u16, rng: &mut ChaCha20Rng) -> Result<IpAddr, NatError> {
    let looked_up = timeout(LOOKUP, tokio::net::lookup_host((host, port))).await;
    let server = looked_up.map_err(|_| NatError::TimedOut)??.next();
    let server = server.ok_or(NatError::NotFound { what: "STUN" })?;
    let binding = stun::Binding { transaction: random(rng) };
    let socket = socket_to(server).await?;
    let seen = ask(&socket, &binding.encode(), SENDS, |bytes| binding.decode_answer(bytes)).await?;
    Ok(seen.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn default_routes_are_read_from_linux_table() {
        let table = "Iface\tDestination\tGateway \tFlags\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\nnonsense\n";
        assert_eq!(default_routes(table), [Ipv4Addr::new(192, 168, 1, 1)]);
        assert!(default_routes("").is_empty());
    }

    #[test]
    fn three_different_servers_are_picked() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let picked = built_in_servers(&mut rng);
        assert_eq!(picked.iter().collect::<std::collections::BTreeSet<_>>().len(), STUN_TRIES);
    }
}
