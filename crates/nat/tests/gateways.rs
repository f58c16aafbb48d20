//! A mapper against routers of our own on loopback: NAT-PMP, PCP, STUN and, with the feature, UPnP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LockResult, Mutex, MutexGuard};
use std::time::Duration;
use switchboard_nat::{Mapper, NatConfig, NatSpec, Protocol, pcp, stun};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// What a router holds, and how it behaves.
#[derive(Debug, Default)]
struct Router {
    /// (transport 6 or 17, port inside) ─▶ (port outside, life).
    mapped: BTreeMap<(u8, u16), (u16, u32)>,
    requests: usize,
    address: [u8; 4],
    /// Requests that it does not hear.
    deaf: usize,
    refuses: bool,
}

/// A router, and news of what it was asked.
#[derive(Debug)]
struct Watched {
    router: Mutex<Router>,
    asked: Notify,
}

type Shared = Arc<Watched>;

fn router() -> Shared {
    let router = Mutex::new(Router { address: [198, 51, 100, 7], ..Router::default() });
    Arc::new(Watched { router, asked: Notify::new() })
}

impl Watched {
    fn lock(&self) -> LockResult<MutexGuard<'_, Router>> {
        self.router.lock()
    }

    /// Waits until the router is as wanted; looks each time it was asked something.
    async fn until(&self, wanted: impl Fn(&Router) -> bool) {
        let reached = async {
            while !wanted(&self.lock().unwrap()) {
                self.asked.notified().await;
            }
        };
        timeout(PATIENCE, reached).await.expect("in time");
    }
}

impl Router {
    fn map(&mut self, protocol: u8, internal: u16, wanted: u16, life: u32) -> u16 {
        if life == 0 {
            self.mapped.remove(&(protocol, internal));
            return wanted;
        }
        // It never has the port that is wanted.
        let external = wanted.max(1000) | 1;
        self.mapped.insert((protocol, internal), (external, life));
        external
    }

    /// An answer in NAT-PMP.
    fn pmp(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let refused = u8::from(self.refuses) * 2;
        match request {
            [0, 0] => {
                let mut out = vec![0, 128, 0, refused, 0, 0, 0, 1];
                out.extend_from_slice(&self.address);
                Some(out)
            }
            [0, op @ (1 | 2), 0, 0, rest @ ..] if rest.len() == 8 => {
                let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
                let life = u32::from_be_bytes(rest[4..].try_into().unwrap());
                let external = self.map(if *op == 1 { 17 } else { 6 }, port(0), port(2), life);
                let mut out = vec![0, 128 + op, 0, refused, 0, 0, 0, 1, rest[0], rest[1]];
                out.extend_from_slice(&external.to_be_bytes());
                out.extend_from_slice(&life.to_be_bytes());
                Some(out)
            }
            // PCP to a router that knows only NAT-PMP.
            [2, ..] => Some(vec![0, 128, 0, 1, 0, 0, 0, 1]),
            _ => None,
        }
    }

    /// An answer in PCP.
    fn pcp(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        if request.len() != pcp::SIZE || request[..2] != [2, 1] {
            return Some(vec![2, 128, 0, 1, 0, 0, 0, 0]);
        }
        let port = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
        let life = u32::from_be_bytes(request[4..8].try_into().unwrap());
        let external = self.map(request[36], port(40), port(42), life);
        let mut out = request.to_vec();
        out[1] = 129;
        out[8..24].fill(0);
        out[42..44].copy_from_slice(&external.to_be_bytes());
        out[44..60].copy_from_slice(&Ipv4Addr::from(self.address).to_ipv6_mapped().octets());
        Some(out)
    }
}

async fn serve(shared: Shared, answer: fn(&mut Router, &[u8]) -> Option<Vec<u8>>) -> (u16, JoinHandle<()>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let answer = {
                let mut router = shared.lock().unwrap();
                router.requests += 1;
                shared.asked.notify_one();
                if router.deaf > 0 {
                    router.deaf -= 1;
                    continue;
                }
                answer(&mut router, &buffer[..length])
            };
            if let Some(answer) = answer {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    (port, task)
}

fn config(gateway_port: u16) -> NatConfig {
    let mut config = NatConfig::new([9; 32]);
    config.gateway_port = gateway_port;
    config.times.life = Duration::from_secs(600);
    config.times.refresh = Duration::from_millis(300);
    config.times.retry = Duration::from_millis(100);
    config.times.address = Duration::from_millis(100);
    config
}

/// Waits until a channel holds what is wanted.
async fn until<T: Copy + PartialEq + std::fmt::Debug>(channel: &mut watch::Receiver<T>, want: T) {
    let wait = channel.wait_for(|value| *value == want);
    timeout(PATIENCE, wait).await.expect("in time").expect("the mapper runs");
}

fn spec(text: &str) -> NatSpec {
    text.parse().unwrap()
}

async fn keeps_ports_mapped(spec: NatSpec, port: u16, shared: Shared) {
    let mapper = Mapper::start(spec, config(port)).unwrap();
    let mut address = mapper.external_ip();
    let tcp = mapper.map(Protocol::Tcp, 30303, "switchboard").await;
    let udp = mapper.map(Protocol::Udp, 30304, "switchboard").await;
    until(&mut tcp.port(), Some(30303)).await;
    until(&mut udp.port(), Some(30305)).await;
    until(&mut address, Some(IpAddr::from([198, 51, 100, 7]))).await;
    let expected = BTreeMap::from([((6, 30303), (30303, 600)), ((17, 30304), (30305, 600))]);
    assert_eq!(shared.lock().unwrap().mapped, expected);

    // It is refreshed: what the router forgot comes back.
    shared.lock().unwrap().mapped.clear();
    shared.until(|router| router.mapped.len() == 2).await;

    // Another address is told.
    shared.lock().unwrap().address = [198, 51, 100, 8];
    until(&mut address, Some(IpAddr::from([198, 51, 100, 8]))).await;

    // One mapping ends by hand, the other with the mapper.
    mapper.unmap(Protocol::Udp, 30304).await;
    assert!(timeout(PATIENCE, udp.port().wait_for(|_| false)).await.unwrap().is_err());
    timeout(PATIENCE, mapper.stop()).await.unwrap();
    assert_eq!(shared.lock().unwrap().mapped, BTreeMap::new());
}

#[tokio::test]
async fn nat_pmp_keeps_ports_mapped_and_deletes_them_at_the_end() {
    let shared = router();
    let (port, task) = serve(shared.clone(), Router::pmp).await;
    keeps_ports_mapped(spec("pmp:127.0.0.1"), port, shared).await;
    task.abort();
}

#[tokio::test]
async fn pcp_keeps_ports_mapped_and_deletes_them_at_the_end() {
    let shared = router();
    let (port, task) = serve(shared.clone(), Router::pcp).await;
    keeps_ports_mapped(spec("pcp:127.0.0.1"), port, shared).await;
    task.abort();
}

#[tokio::test]
async fn lost_requests_are_sent_again() {
    let shared = router();
    shared.lock().unwrap().deaf = 1;
    let (port, task) = serve(shared.clone(), Router::pmp).await;
    let mapper = Mapper::start(spec("pmp:127.0.0.1"), config(port)).unwrap();
    until(&mut mapper.external_ip(), Some(IpAddr::from([198, 51, 100, 7]))).await;
    assert!(shared.lock().unwrap().requests >= 3);
    mapper.stop().await;
    task.abort();
}

#[tokio::test]
async fn a_router_that_refuses_is_asked_again_later() {
    let shared = router();
    let (port, task) = serve(shared.clone(), Router::pmp).await;
    let mapper = Mapper::start(spec("pmp:127.0.0.1"), config(port)).unwrap();
    let mut address = mapper.external_ip();
    until(&mut address, Some(IpAddr::from([198, 51, 100, 7]))).await;
    shared.lock().unwrap().refuses = true;
    until(&mut address, None).await;
    let tcp = mapper.map(Protocol::Tcp, 30303, "switchboard").await;
    shared.lock().unwrap().refuses = false;
    until(&mut tcp.port(), Some(30303)).await;
    mapper.stop().await;
    task.abort();
}

#[tokio::test]
async fn a_router_that_speaks_another_protocol_or_none_is_no_router() {
    let shared = router();
    let (port, task) = serve(shared.clone(), Router::pmp).await;
    let mapper = Mapper::start(spec("pcp:127.0.0.1"), config(port)).unwrap();
    let tcp = mapper.map(Protocol::Tcp, 30303, "switchboard").await;
    shared.until(|router| router.requests >= 3).await;
    assert_eq!((*tcp.port().borrow(), *mapper.external_ip().borrow()), (None, None));
    timeout(PATIENCE, mapper.stop()).await.unwrap();
    assert!(shared.lock().unwrap().mapped.is_empty());
    task.abort();
}

#[tokio::test]
async fn stun_tells_the_address_only() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = socket.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let Ok(binding) = stun::Binding::decode(&buffer[..length]) else { continue };
            // First nonsense and an answer to another question, then ours.
            let seen = SocketAddr::from(([198, 51, 100, 9], from.port()));
            let other = stun::Binding { transaction: [0; 12] }.answer("1.2.3.4:5".parse().unwrap());
            for answer in [&b"nonsense"[..], &other, &binding.answer(seen)] {
                let _ = socket.send_to(answer, from).await;
            }
        }
    });
    let mapper = Mapper::start(spec(&format!("stun:{server}")), config(1)).unwrap();
    until(&mut mapper.external_ip(), Some(IpAddr::from([198, 51, 100, 9]))).await;
    let tcp = mapper.map(Protocol::Tcp, 30303, "switchboard").await;
    assert_eq!(*tcp.port().borrow(), None);
    timeout(PATIENCE, mapper.stop()).await.unwrap();
    task.abort();
}

#[tokio::test]
async fn a_fixed_address_is_told_and_none_runs_nothing() {
    let mapper = Mapper::start(spec("extip:198.51.100.1"), config(1)).unwrap();
    until(&mut mapper.external_ip(), Some(IpAddr::from([198, 51, 100, 1]))).await;
    mapper.stop().await;
    assert!(Mapper::start(spec("none"), config(1)).is_none());
}

#[cfg(feature = "upnp")]
mod upnp {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    const DEVICE: &str = r#"<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device>
        <deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><deviceList><device>
        <deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType><deviceList><device>
        <deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType><serviceList><service>
        <serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>
        <serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
        <SCPDURL>/schema</SCPDURL><controlURL>/control</controlURL><eventSubURL>/events</eventSubURL>
        </service></serviceList></device></deviceList></device></deviceList></device></root>"#;

    fn schema() -> String {
        let action = |name: &str, arguments: &[&str]| {
            let arguments: String = arguments
                .iter()
                .map(|a| format!("<argument><name>{a}</name><direction>in</direction></argument>"))
                .collect();
            format!("<action><name>{name}</name><argumentList>{arguments}</argumentList></action>")
        };
        let port = ["NewRemoteHost", "NewExternalPort", "NewProtocol"];
        let mut full = port.to_vec();
        full.extend([
            "NewInternalPort",
            "NewInternalClient",
            "NewEnabled",
            "NewPortMappingDescription",
            "NewLeaseDuration",
        ]);
        format!(
            r#"<?xml version="1.0"?><scpd xmlns="urn:schemas-upnp-org:service-1-0"><actionList>{}{}{}</actionList></scpd>"#,
            action("GetExternalIPAddress", &["NewExternalIPAddress"]),
            action("AddPortMapping", &full),
            action("DeletePortMapping", &port)
        )
    }

    fn element<'a>(text: &'a str, name: &str) -> &'a str {
        let rest = text.split_once(&format!("<{name}>")).map_or("", |(_, rest)| rest);
        rest.split_once("</").map_or("", |(value, _)| value)
    }

    fn soap(router: &mut Router, body: &str) -> String {
        router.requests += 1;
        let transport = if element(body, "NewProtocol") == "TCP" { 6 } else { 17 };
        let number = |name: &str| element(body, name).parse::<u32>().unwrap_or_default();
        let external = number("NewExternalPort") as u16;
        let inner = if body.contains("GetExternalIPAddress") {
            let address = Ipv4Addr::from(router.address);
            format!(
                "<u:GetExternalIPAddressResponse><NewExternalIPAddress>{address}</NewExternalIPAddress></u:GetExternalIPAddressResponse>"
            )
        } else if body.contains("AddPortMapping") {
            let internal = number("NewInternalPort") as u16;
            router.mapped.insert((transport, internal), (external, number("NewLeaseDuration")));
            "<u:AddPortMappingResponse/>".to_owned()
        } else {
            router.mapped.retain(|(of, _), (port, _)| *of != transport || *port != external);
            "<u:DeletePortMappingResponse/>".to_owned()
        };
        let inner = inner.replacen("/>", " xmlns:u=\"urn:schemas-upnp-org:service:WANIPConnection:1\"/>", 1);
        let inner = inner.replacen(
            "<u:GetExternalIPAddressResponse>",
            "<u:GetExternalIPAddressResponse xmlns:u=\"urn:schemas-upnp-org:service:WANIPConnection:1\">",
            1,
        );
        format!(
            r#"<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{inner}</s:Body></s:Envelope>"#
        )
    }

    async fn answer(stream: &mut TcpStream, router: &Shared) -> Option<()> {
        let mut request = String::new();
        let mut buffer = [0; 4096];
        let body = loop {
            if let Some((head, body)) = request.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
                });
                if body.len() >= length.unwrap_or(0) {
                    break body.to_owned();
                }
            }
            let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
            request.push_str(std::str::from_utf8(&buffer[..read]).ok()?);
        };
        let body = match request.split_ascii_whitespace().nth(1)? {
            "/device" => DEVICE.to_owned(),
            "/schema" => schema(),
            _ => soap(&mut router.lock().unwrap(), &body),
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.ok()
    }

    #[tokio::test]
    async fn upnp_keeps_ports_mapped_and_deletes_them_at_the_end() {
        let shared = router();
        let http = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let location = format!("http://{}/device", http.local_addr().unwrap());
        let ssdp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let search = ssdp.local_addr().unwrap();
        let search_task = tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = ssdp.recv_from(&mut buffer).await {
                assert!(buffer[..length].starts_with(b"M-SEARCH"));
                let answer = format!("HTTP/1.1 200 OK\r\nLOCATION: {location}\r\n\r\n");
                let _ = ssdp.send_to(answer.as_bytes(), from).await;
            }
        });
        let routed = shared.clone();
        let http_task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = http.accept().await {
                let _ = answer(&mut stream, &routed).await;
            }
        });

        let mut config = config(1);
        config.upnp_search = search;
        let mapper = Mapper::start(NatSpec::Upnp, config).unwrap();
        let mut address = mapper.external_ip();
        let tcp = mapper.map(Protocol::Tcp, 30303, "switchboard & co").await;
        until(&mut tcp.port(), Some(30303)).await;
        until(&mut address, Some(IpAddr::from([198, 51, 100, 7]))).await;
        assert_eq!(shared.lock().unwrap().mapped, BTreeMap::from([((6, 30303), (30303, 600))]));
        shared.lock().unwrap().address = [198, 51, 100, 8];
        until(&mut address, Some(IpAddr::from([198, 51, 100, 8]))).await;
        timeout(PATIENCE, mapper.stop()).await.unwrap();
        assert!(shared.lock().unwrap().mapped.is_empty());
        search_task.abort();
        http_task.abort();
    }
}
