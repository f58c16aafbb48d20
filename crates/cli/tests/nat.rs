//! A node and a bootnode behind a router of this test: their ports are mapped, announced, and deleted at the end.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, clippy::indexing_slicing)] // a test of a real program, in real time

mod common;

use common::Program;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use switchboard_enr::Record;

/// What the router maps: (1 for UDP, 2 for TCP; port inside) ─▶ port outside.
type Mapped = Arc<Mutex<BTreeMap<(u8, u16), u16>>>;

/// A NAT-PMP router (RFC 6886) at an address of its own, since the protocol has a fixed port.
fn router(at: Ipv4Addr) -> Mapped {
    let socket = UdpSocket::bind((at, 5351)).unwrap();
    let mapped = Mapped::default();
    let shared = Arc::clone(&mapped);
    std::thread::spawn(move || {
        let mut request = [0; 64];
        while let Ok((len, from)) = socket.recv_from(&mut request) {
            let answer = match request[..len] {
                [0, 0] => vec![0, 128, 0, 0, 0, 0, 0, 1, 198, 51, 100, 7],
                [0, op @ (1 | 2), ..] if len == 12 => {
                    let inside = u16::from_be_bytes([request[4], request[5]]);
                    let life = u32::from_be_bytes(request[8..12].try_into().unwrap());
                    let outside = inside ^ 1;
                    if life == 0 {
                        shared.lock().unwrap().remove(&(op, inside));
                    } else {
                        shared.lock().unwrap().insert((op, inside), outside);
                    }
                    let mut answer = vec![0, 128 + op, 0, 0, 0, 0, 0, 1];
                    answer.extend([inside.to_be_bytes(), outside.to_be_bytes()].concat());
                    answer.extend(life.to_be_bytes());
                    answer
                }
                _ => continue,
            };
            let _ = socket.send_to(&answer, from);
        }
    });
    mapped
}

/// Waits until the router is as wanted.
fn until(mapped: &Mapped, what: &str, wanted: impl Fn(&BTreeMap<(u8, u16), u16>) -> bool) {
    let start = Instant::now();
    while !wanted(&mapped.lock().unwrap()) {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}: {:?}", mapped.lock().unwrap());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn port(ready: &Value) -> u16 {
    let at = ready["listening"][0]["address"].as_str().unwrap();
    at.rsplit(':').next().unwrap().parse().unwrap()
}

/// The record a node gives of itself.
fn record(url: &str) -> Record {
    let said = common::must(&["discv4", "request-enr", url, "--json"]).event("record");
    Record::parse(said["record"].as_str().unwrap()).unwrap()
}

/// Waits until the node's record says that it is reached at the router.
fn announced(url: &str) -> Record {
    let start = Instant::now();
    loop {
        let record = record(url);
        if record.entries().ip() == Some([198, 51, 100, 7].into()) {
            return record;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{record}");
    }
}

#[test]
fn ports_are_mapped_announced_and_deleted_at_the_end() {
    let gateway = Ipv4Addr::new(127, 0, 77, 1);
    let mapped = router(gateway);
    let nat = format!("pmp:{gateway}");
    let args = ["--wire", "devp2p", "--listen", "127.0.0.1:0", "--discovery", "v4,v5", "--nat", &nat];
    let (mut node, ready) = Program::node(&args);
    let port = port(&ready);
    until(&mapped, "both ports", |all| all.contains_key(&(1, port)) && all.contains_key(&(2, port)));
    let key = ready["devp2p"]["enode"].as_str().unwrap().split('@').next().unwrap();
    let record = announced(&format!("{key}@127.0.0.1:{port}"));
    let at = |tcp: bool| {
        let entries = record.entries();
        let endpoint = if tcp { entries.tcp_endpoint() } else { entries.udp_endpoint() };
        endpoint.unwrap().port()
    };
    assert_eq!((at(false), at(true)), (port ^ 1, port ^ 1), "the ports outside");
    assert_eq!(node.stop(), 0);
    until(&mapped, "nothing is left", BTreeMap::is_empty);

    let mut boot = Program::start(
        &["bootnode", "--json", "--stdin-stop", "--listen", "127.0.0.1:0", "--nat", &nat],
        &[],
    );
    let ready = boot.wait("ready");
    let port = self::port(&ready);
    until(&mapped, "its UDP port", |all| all.contains_key(&(1, port)));
    assert!(!mapped.lock().unwrap().contains_key(&(2, port)), "a bootnode takes no TCP");
    let key = ready["devp2p"]["enode"].as_str().unwrap().split('@').next().unwrap();
    announced(&format!("{key}@127.0.0.1:{port}"));
    let began = Instant::now();
    assert_eq!(boot.stop(), 0);
    assert!(began.elapsed() < Duration::from_secs(30));
    until(&mapped, "nothing is left", BTreeMap::is_empty);
}
