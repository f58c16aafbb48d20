//! Keys from `keygen` through `id` to a node, and a node's settings by strength.
#![cfg(test)]

mod common;
use common::{Program, bad, must, run, text};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use switchboard_discv::udp::Bootnode;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn id(wire: &str, key: &Path) -> Value {
    must(&["id", "--json", "--wire", wire, "--key", text(key), "--at", "203.0.113.7:30303"]).event("id")
}

/// An event without the time it was told at.
fn timeless(mut event: Value) -> Value {
    assert!(event["time"].is_string(), "{event:#}");
    event.as_object_mut().unwrap().remove("time");
    event
}

#[test]
fn devp2p_keys_are_geths() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("nodekey");
    let made = must(&["keygen", "--json", "--wire", "devp2p", "--out", text(&key)]).event("key");
    let content = std::fs::read_to_string(&key).unwrap();
    assert!(content.len() == 64 && content.bytes().all(|b| b.is_ascii_hexdigit()));
    assert_eq!(mode(&key), 0o600);
    let forms = id("devp2p", &key);
    assert_eq!(made["id"], forms["id"]);
    let enode = format!("enode://{}@203.0.113.7:30303", forms["public_key"].as_str().unwrap());
    assert!(forms["enode"].as_str().unwrap().starts_with(&enode), "{forms:#}");
    assert!(forms["enr"].as_str().unwrap().starts_with("enr:-"), "{forms:#}");
    assert_eq!(run(&["keygen", "--wire", "devp2p", "--out", text(&key)]).code, 2);
    assert_eq!(std::fs::read_to_string(&key).unwrap(), content, "never overwritten");
    // On standard output there is nothing but the key.
    let printed = must(&["keygen", "--wire", "devp2p", "--out", "-"]).stdout;
    assert!(printed.len() == 65 && printed.trim_end().bytes().all(|b| b.is_ascii_hexdigit()), "{printed}");
    common::bad(&["keygen", "--wire", "fabric", "--out", "-"], "an organisation is a folder");
    let from_geth = dir.path().join("geth");
    std::fs::write(&from_geth, format!("{content}\n")).unwrap();
    assert_eq!(timeless(id("devp2p", &from_geth)), timeless(forms));
}

#[test]
fn comet_keys_are_cometbfts() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("node_key.json");
    let made = must(&["keygen", "--json", "--wire", "comet", "--out", text(&key)]).event("key");
    let content: Value = serde_json::from_slice(&std::fs::read(&key).unwrap()).unwrap();
    assert_eq!(content["priv_key"]["type"], "tendermint/PrivKeyEd25519");
    assert_eq!(mode(&key), 0o600);
    let forms = id("comet", &key);
    assert_eq!(made["id"], forms["id"]);
    let address = format!("{}@203.0.113.7:30303", forms["id"].as_str().unwrap());
    assert_eq!(forms["address"], address);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing beside the key");
}

#[test]
fn fabric_keys_are_an_organisations_folders() {
    let dir = tempfile::tempdir().unwrap();
    let org = dir.path().join("org7");
    let made = must(&["keygen", "--wire", "fabric", "--out", text(&org), "--org", "Org7MSP", "--peers", "2"]);
    assert!(made.stdout.ends_with(&format!("peer folder {}/peer1\n", text(&org))), "{}", made.stdout);
    for peer in ["peer0", "peer1"] {
        let peer = org.join(peer);
        for folder in ["signcerts", "keystore", "cacerts", "tlscacerts"] {
            assert_eq!(std::fs::read_dir(peer.join("msp").join(folder)).unwrap().count(), 1, "{folder}");
        }
        for file in ["server.crt", "server.key", "ca.crt"] {
            assert!(peer.join("tls").join(file).is_file(), "{file}");
        }
        assert_eq!(mode(&peer.join("tls/server.key")), 0o600);
    }
    let of = |peer: &str| {
        let key = org.join(peer);
        must(&["id", "--json", "--wire", "fabric", "--key", text(&key), "--org", "Org7MSP"]).event("id")
    };
    let (one, two) = (of("peer0"), of("peer1"));
    assert_eq!(one["msp"], "Org7MSP");
    assert_eq!(one["pki_id"].as_str().unwrap().len(), 64);
    assert_ne!(one["pki_id"], two["pki_id"]);
}

#[test]
fn a_node_shows_the_identity_of_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let key = |wire: &str| dir.path().join(wire);
    for wire in ["devp2p", "comet", "fabric"] {
        must(&["keygen", "--wire", wire, "--out", text(&key(wire))]);
    }
    let files = [
        format!("devp2p={}", text(&key("devp2p"))),
        format!("comet={}", text(&key("comet"))),
        format!("fabric={}/peer0", text(&key("fabric"))),
    ];
    let mut args: Vec<_> = files.iter().flat_map(|f| ["--key-file", f]).collect();
    args.extend(["--listen", "127.0.0.1:0"]);
    let (mut node, ready) = Program::node(&args);
    assert_eq!(ready["devp2p"]["id"], id("devp2p", &key("devp2p"))["id"]);
    assert_eq!(ready["comet"]["id"], id("comet", &key("comet"))["id"]);
    assert_eq!(ready["fabric"]["pki_id"], id("fabric", &key("fabric").join("peer0"))["pki_id"]);
    let port = ready["fabric"]["endpoint"].as_str().unwrap().strip_prefix("127.0.0.1:").unwrap();
    assert!(ready["comet"]["address"].as_str().unwrap().ends_with(port), "one port for all: {ready:#}");
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_data_folder_keeps_the_keys() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let once = || {
        let (mut node, ready) = Program::node(&["--data", text(&data)]);
        assert_eq!(node.stop(), 0);
        timeless(ready)
    };
    let first = once();
    assert_eq!(first, once(), "the same identities the second time");
    let (mut node, other) = Program::node(&[]);
    assert_eq!(node.stop(), 0);
    assert_ne!(first["comet"], other["comet"], "without a folder they are thrown away");
}

#[test]
fn flags_pass_the_environment_and_that_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("node.toml");
    let content = "wire = [\"comet\"]\nlisten = [\"127.0.0.1:0\"]\nmax-peers = 3\nstdin-stop = true\n\
        protocol = [\"cast\", \"cast\"]\n";
    std::fs::write(&config, content).unwrap();
    let wires = |args: &[&str], vars: &[(&str, &str)]| {
        let all = [&["node", "--json", "--config", text(&config)], args].concat();
        let mut node = Program::start(&all, vars);
        let ready = node.wait("ready");
        assert_eq!(node.stop(), 0);
        let names = ["devp2p", "comet", "fabric"].into_iter().filter(|w| ready[*w].is_object());
        names.collect::<Vec<_>>().join(",")
    };
    assert_eq!(wires(&[], &[]), "comet");
    assert_eq!(wires(&[], &[("SWITCHBOARD_WIRE", "devp2p,fabric")]), "devp2p,fabric");
    assert_eq!(wires(&["--wire", "devp2p"], &[("SWITCHBOARD_WIRE", "fabric")]), "devp2p");

    // A flag without a value, said twice over: the end of input means what the strongest says.
    let ends = |args: &[&str], variable: &str| {
        let all = [&["node", "--json", "--config", text(&config)], args].concat();
        let mut node = Program::start(&all, &[("SWITCHBOARD_STDIN_STOP", variable)]);
        node.wait("ready");
        node.close_stdin();
        std::thread::park_timeout(std::time::Duration::from_millis(500));
        let ended = node.has_ended();
        node.signal("TERM");
        assert_eq!(node.exit(), 0);
        ended
    };
    assert!(!ends(&[], "no"), "the environment passes the file");
    assert!(!ends(&["--stdin-stop=false"], "1"), "a flag passes the environment");
}

#[test]
fn every_address_is_shown() {
    let (mut node, ready) =
        Program::node(&["--wire", "comet", "--listen", "127.0.0.1:0", "--listen", "comet=127.0.0.1:0"]);
    let listening = ready["listening"].as_array().unwrap();
    assert_eq!(listening.len(), 2, "{ready:#}");
    assert!(
        listening.iter().all(|at| at["wires"][0] == "comet" && at["address"] != "127.0.0.1:0"),
        "{ready:#}"
    );
    assert_ne!(listening[0]["address"], listening[1]["address"]);
    assert_eq!(node.stop(), 0);
}

/// What `id` prints of a devp2p key is taken by whatever takes addresses.
#[test]
fn addresses_of_a_key_can_be_started_from() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("nodekey");
    must(&["keygen", "--wire", "devp2p", "--out", text(&key)]);
    let at = "203.0.113.7:30303";
    let shown = must(&["id", "--wire", "devp2p", "--key", text(&key), "--at", at, "--json"]).event("id");
    for form in ["enode", "enr"] {
        let url = shown[form].as_str().unwrap();
        let start: Bootnode = url.parse().unwrap();
        let place = start.enode.endpoint.unwrap();
        assert_eq!((place.tcp, place.udp), (30_303, 30_303), "{url}");
        // Both get as far as asking it.
        bad(&["discv4", "ping", url], "203.0.113.7:30303 cannot be reached from 127.0.0.1");
        bad(&["discv5", "crawl", "--out", "-", "--bootnode", url], "cannot be reached from 127.0.0.1");
    }
}

/// An address or record says who it is, also where it names no address to dial.
#[test]
fn any_address_or_record_is_decoded() {
    // The example of EIP-778.
    let record = "enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkTfj499SZuOh8R33Ls8RRcy5wBgmlkgnY0gmlwhH8AAAGJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8yWM0xOIN1ZHCCdl8";
    let shown = must(&["id", "--json", record]).event("id");
    assert_eq!(shown["id"], "a448f24c6d18e575453db13171562b71999873db5b286df957af199ec94617f7");
    assert_eq!((&shown["seq"], shown["udp"].as_str()), (&1.into(), Some("127.0.0.1:30303")));
    assert_eq!(shown["entries"]["ip"], "847f000001", "as it stands in the record: RLP");
    let key = "ca634cae0d49acb401d8a4c6b6fe8c55b70d115bf400769cc1400f3258cd31387574077f301b421bc84df7266c44e9e6d569fc56be00812904767bf5ccd1fc7f";
    let shown =
        must(&["id", "--json", &format!("enode://{key}@203.0.113.7:30303?discport=30301")]).event("id");
    assert_eq!(shown["id"], "a448f24c6d18e575453db13171562b71999873db5b286df957af199ec94617f7");
    assert_eq!(
        (&shown["host"], &shown["port"], &shown["udp"]),
        (&"203.0.113.7".into(), &30303.into(), &30301.into())
    );
    let comet = "0102030405060708090a0b0c0d0e0f1011121314";
    for url in [format!("{comet}@203.0.113.7:26656"), format!("comet://{comet}@203.0.113.7:26656")] {
        let shown = must(&["id", "--json", &url]).event("id");
        assert_eq!((&shown["wire"], &shown["id"]), (&"comet".into(), &comet.into()));
    }
    let shown = must(&["id", "--json", "fabric://peer0.example.org:7051"]).event("id");
    assert_eq!(shown["endpoint"], "peer0.example.org:7051");
}
