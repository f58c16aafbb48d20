//! Lists of nodes in DNS, through the built program: made, served by a name server of this test, read and used.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, clippy::indexing_slicing)] // a test of a real program, in real time

mod common;

use common::{Program, bad, must, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;

/// An answer to a question for TXT records; `None` for what is no question.
fn answer(zone: &BTreeMap<String, String>, question: &[u8], udp: bool) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let len = usize::from(*question.get(at)?);
        at += 1;
        if len == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + len)?).into_owned());
        at += len;
    }
    let found = zone.get(&labels.join("."));
    let mut out = question[..2].to_vec();
    // Roots are cut short over UDP, so that they are asked for over TCP.
    let cut = udp && found.is_some_and(|text| text.starts_with("enrtree-root"));
    let flags: u16 = 0x8180 | if found.is_none() { 3 } else { 0 } | if cut { 0x200 } else { 0 };
    out.extend(flags.to_be_bytes());
    out.extend([0, 1, 0, u8::from(found.is_some() && !cut), 0, 0, 0, 0]);
    out.extend(question.get(12..at + 4)?);
    if let Some(found) = found.filter(|_| !cut) {
        let data: Vec<u8> =
            found.as_bytes().chunks(255).flat_map(|part| [&[part.len() as u8], part].concat()).collect();
        out.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60]);
        out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        out.extend(data);
    }
    Some(out)
}

/// A name server on loopback that serves a zone until the test ends.
fn serve(zone: BTreeMap<String, String>) -> SocketAddr {
    let zone = Arc::new(zone);
    let (tcp, udp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
            break (tcp, udp);
        }
    };
    let at = udp.local_addr().unwrap();
    let by_udp = Arc::clone(&zone);
    std::thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while let Ok((len, from)) = udp.recv_from(&mut buffer) {
            if let Some(answer) = answer(&by_udp, &buffer[..len], true) {
                let _ = udp.send_to(&answer, from);
            }
        }
    });
    std::thread::spawn(move || {
        for stream in tcp.incoming().flatten() {
            let mut stream = stream;
            let mut len = [0; 2];
            let mut question = Vec::new();
            if stream.read_exact(&mut len).is_ok() {
                question.resize(usize::from(u16::from_be_bytes(len)), 0);
            }
            if stream.read_exact(&mut question).is_ok()
                && let Some(answer) = answer(&zone, &question, false)
            {
                let _ = stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes());
                let _ = stream.write_all(&answer);
            }
        }
    });
    at
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_list_is_signed_served_synced_and_gives_a_node_its_peer() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    // A node, and a file that holds its record among others of nobody.
    let args = ["--wire", "devp2p", "--listen", "127.0.0.1:0", "--discovery", "v5", "--protocol", "bench"];
    let (mut listed, ready) = Program::node(&args);
    let mut nodes = serde_json::Map::new();
    let id = ready["devp2p"]["id"].as_str().unwrap().to_owned();
    nodes.insert(id.clone(), json!({"seq": 1, "record": ready["devp2p"]["enr"]}));
    for n in 0..20 {
        let key = path(&format!("key{n}"));
        must(&["keygen", "--wire", "devp2p", "--out", text(&key)]);
        let shown = must(&["id", "--wire", "devp2p", "--key", text(&key), "--json"]).json().remove(0);
        let id = shown["id"].as_str().unwrap().to_owned();
        nodes.insert(id, json!({"seq": 1, "record": shown["enr"]}));
    }
    let (file, zone, key) = (path("nodes.json"), path("zone.json"), path("key0"));
    std::fs::write(&file, serde_json::to_vec(&nodes).unwrap()).unwrap();
    let sign =
        ["dns", "sign", text(&file), "--key", text(&key), "--domain", "list.example.org", "--seq", "3"];
    let signed = must(&[&sign[..], &["--out", text(&zone), "--json"]].concat()).event("signed");
    let url = signed["url"].as_str().unwrap();
    assert_eq!(signed["nodes"], 21);
    let printed = must(&[&sign[..], &["--out", "-"]].concat()).stdout;
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), json_of(&zone));
    let server = serve(serde_json::from_value(json_of(&zone)).unwrap()).to_string();

    // It is read whole, and is the same list again.
    let folder = path("list");
    let asked = ["dns", "sync", url, text(&folder), "--dns-server", &server, "--rate", "1000", "--json"];
    let synced = must(&asked).event("synced");
    assert_eq!((&synced["nodes"], &synced["seq"]), (&json!(21), &json!(3)));
    let again = path("again.json");
    must(&["dns", "to-txt", text(&folder), text(&again)]);
    assert_eq!(json_of(&again), json_of(&zone));
    let shown = must(&["dns", "to-txt", text(&folder)]).stdout;
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), json_of(&zone));

    // A folder is signed in place: its sequence goes on. Changed and not signed, it is no list.
    must(&["dns", "sign", text(&folder), "--key", text(&key)]);
    let info = json_of(&folder.join("enrtree-info.json"));
    assert_eq!((&info["seq"], &info["url"]), (&json!(4), &json!(url)));
    nodes.remove(&id);
    std::fs::write(folder.join("nodes.json"), serde_json::to_vec(&nodes).unwrap()).unwrap();
    bad(&["dns", "to-txt", text(&folder)], "not signed");
    bad(&sign[..5], "--domain");

    // A node that knows only the list finds the one that is there.
    let args = ["--wire", "devp2p", "--listen", "127.0.0.1:0", "--discovery", "v5", "--protocol", "bench"];
    let (mut finder, _) = Program::node(&[&args[..], &["--dns", url, "--dns-server", &server]].concat());
    let peer = finder.wait("peer_added");
    assert_eq!(peer["id"].as_str().unwrap().trim_start_matches("0x"), id);
    assert_eq!((finder.stop(), listed.stop()), (0, 0));

    // A server that knows nothing of the list, and a run that takes too long.
    let empty = serve(BTreeMap::new()).to_string();
    let lost = common::run(&["dns", "sync", url, text(&path("none")), "--dns-server", &empty]);
    common::failed(&lost, &["dns", "sync"], 1, "no answer");
    let slow =
        common::run(&["dns", "sync", url, text(&path("none")), "--dns-server", &server, "--timeout", "1s"]);
    common::failed(&slow, &["dns", "sync"], 1, "--timeout");
    assert!(!path("none").exists(), "nothing half read is written");
}
