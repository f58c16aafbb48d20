//! `switchboard fabric peer` with the folders that Fabric's own tools make, with names of one's own in certificates, with
//! certificates that end soon, and without TLS.
#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic)] // tests

mod common;

use common::{Program, bad, must};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Keys of one peer of an organisation, with these further arguments of `keygen`.
fn keygen(dir: &Path, org: &str, more: &[&str]) -> PathBuf {
    let out = dir.join(org);
    let args = ["keygen", "--wire", "fabric", "--out", text(&out), "--org", org];
    must(&[&args[..], more].concat());
    out
}

/// The only file of a folder.
fn only(folder: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{}", folder.display());
    files.into_iter().next().unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap();
}

/// An MSP folder with the names that a tool gives its files.
fn msp(from: &Path, to: &Path, [certificate, key, ca, tls_ca]: [&str; 4]) {
    copy(&only(&from.join("cacerts")), &to.join("cacerts").join(ca));
    copy(&only(&from.join("tlscacerts")), &to.join("tlscacerts").join(tls_ca));
    // It names the CA's file.
    let config = fs::read_to_string(from.join("config.yaml")).unwrap();
    let named = only(&from.join("cacerts"));
    let named = named.file_name().unwrap().to_str().unwrap();
    fs::write(to.join("config.yaml"), config.replace(named, ca)).unwrap();
    if from.join("signcerts").is_dir() {
        copy(&only(&from.join("signcerts")), &to.join("signcerts").join(certificate));
        copy(&only(&from.join("keystore")), &to.join("keystore").join(key));
    }
}

/// As cryptogen lays an organisation out, and the test network with it: the peer's folder and the organisation's.
fn cryptogen(made: &Path, dir: &Path) -> (PathBuf, PathBuf) {
    let org = dir.join("organizations/peerOrganizations/org1.example.com");
    let peer = org.join("peers/peer0.org1.example.com");
    let names = [
        "peer0.org1.example.com-cert.pem",
        "priv_sk",
        "ca.org1.example.com-cert.pem",
        "tlsca.org1.example.com-cert.pem",
    ];
    msp(&made.join("peer0/msp"), &peer.join("msp"), names);
    msp(&made.join("msp"), &org.join("msp"), names);
    for name in ["server.crt", "server.key", "ca.crt"] {
        copy(&made.join("peer0/tls").join(name), &peer.join("tls").join(name));
    }
    // Empty, as cryptogen leaves it where roles tell administrators.
    fs::create_dir_all(peer.join("msp/admincerts")).unwrap();
    (peer, org)
}

/// As `fabric-ca-client enroll` lays a peer out, its TLS enrolment beside it.
fn ca_client(made: &Path, dir: &Path) -> (PathBuf, PathBuf) {
    let peer = dir.join("fabric-ca/peer0");
    let names = ["cert.pem", "5f0c_sk", "localhost-7054-ca-org2.pem", "tls-localhost-7054-ca-org2.pem"];
    msp(&made.join("peer0/msp"), &peer.join("msp"), names);
    let tls = made.join("peer0/tls");
    copy(&tls.join("server.crt"), &peer.join("tls/signcerts/cert.pem"));
    copy(&tls.join("server.key"), &peer.join("tls/keystore/9a1b_sk"));
    copy(&tls.join("ca.crt"), &peer.join("tls/tlscacerts/tls-localhost-7054-ca-org2.pem"));
    // What else the client leaves there.
    for empty in ["tls/cacerts", "tls/user", "msp/user"] {
        fs::create_dir_all(peer.join(empty)).unwrap();
    }
    fs::write(peer.join("msp/IssuerPublicKey"), b"not ours").unwrap();
    fs::write(peer.join("msp/IssuerRevocationPublicKey"), b"not ours").unwrap();
    (peer.clone(), peer.join("msp"))
}

struct Member {
    program: Program,
    ready: Value,
}

impl Member {
    fn start(org: &str, folder: &Path, more: &[&str]) -> Self {
        let key = format!("fabric={}", text(folder));
        let mut args = vec!["fabric", "peer", "--json", "--stdin-stop", "--channel", "mychannel"];
        args.extend(["--verify-blocks", "hash", "--org", org, "--key-file", &key]);
        args.extend(more);
        let mut program = Program::start(&args, &[]);
        let ready = program.wait("ready");
        Self { program, ready }
    }

    fn endpoint(&self) -> String {
        self.ready["fabric"]["endpoint"].as_str().unwrap().to_owned()
    }

    fn sees(&mut self, other: &Self) {
        loop {
            let alive = self.program.wait("member_alive");
            if alive["pki_id"] == other.ready["fabric"]["pki_id"] {
                assert_eq!(alive["org"], other.ready["fabric"]["msp"]);
                return;
            }
        }
    }

    fn stop(mut self) {
        assert_eq!(self.program.stop(), 0);
    }
}

/// Two organisations, one made by cryptogen and one by fabric-ca-client, that ask each other for client certificates. The
/// addresses stand in the certificates because `keygen --host` put them there.
#[test]
fn folders_of_cryptogen_and_of_fabric_ca_client_meet() {
    let dir = tempfile::tempdir().unwrap();
    let more = ["--node-ous", "--host", "peer.example.org,127.0.0.2"];
    let first = keygen(dir.path(), "Org1MSP", &more);
    let second = keygen(dir.path(), "Org2MSP", &["--node-ous", "--host", "127.0.0.3", "--host", "192.0.2.7"]);
    let (first, first_org) = cryptogen(&first, dir.path());
    let (second, second_org) = ca_client(&second, dir.path());
    let (trust_first, trust_second) =
        (format!("Org1MSP={}", text(&first_org)), format!("Org2MSP={}", text(&second_org)));
    let common = ["--external", "same", "--verify-clients"];
    let first_args = ["--listen", "127.0.0.2:0", "--trust", &trust_second];
    let mut a = Member::start("Org1MSP", &first, &[&common[..], &first_args].concat());
    let anchor = format!("Org1MSP={}", a.endpoint());
    let second_args = ["--listen", "127.0.0.3:0", "--trust", &trust_first, "--anchor", &anchor];
    let mut b = Member::start("Org2MSP", &second, &[&common[..], &second_args].concat());
    a.sees(&b);
    b.sees(&a);
    b.stop();
    a.stop();
}

/// An address that stands in no certificate is told as what it is, with what to do.
#[test]
fn an_address_that_the_certificate_does_not_name_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let made = keygen(dir.path(), "Org1MSP", &["--peers", "2"]);
    let a = Member::start("Org1MSP", &made.join("peer0"), &["--listen", "127.0.0.2:0"]);
    let at = a.endpoint();
    let mut b =
        Member::start("Org1MSP", &made.join("peer1"), &["--listen", "127.0.0.1:0", "--bootstrap", &at]);
    let failed = b.program.wait("connect_failed");
    let reason = failed["reason"].as_str().unwrap();
    assert_eq!(failed["endpoint"], at.as_str());
    assert!(reason.contains("127.0.0.2") || reason.contains("name"), "{reason}");
    b.stop();
    a.stop();
}

/// Row 5.4 of Fabric's facts: a member's log warns, here from 30 days on.
#[test]
fn a_certificate_that_ends_soon_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    for (days, warned) in [("3", 2), ("40", 0)] {
        let made = keygen(dir.path(), &format!("Org{days}"), &["--days", days]);
        let folder = made.join("peer0");
        let mut member = Member::start(&format!("Org{days}"), &folder, &["--listen", "127.0.0.1:0"]);
        assert_eq!(member.program.stop(), 0);
        let log = member.program.log();
        assert_eq!(log.matches("a certificate expires soon").count(), warned, "{days} days: {log}");
    }
}

/// Plain text between loopback addresses, and nowhere else.
#[test]
fn members_without_tls_meet_on_loopback_only() {
    let dir = tempfile::tempdir().unwrap();
    let made = keygen(dir.path(), "Org1MSP", &["--peers", "2"]);
    let plain = ["--no-tls", "--listen", "127.0.0.1:0"];
    let mut a = Member::start("Org1MSP", &made.join("peer0"), &plain);
    let at = a.endpoint();
    let mut b = Member::start("Org1MSP", &made.join("peer1"), &[&plain[..], &["--bootstrap", &at]].concat());
    a.sees(&b);
    b.sees(&a);
    b.stop();
    a.stop();
    let key = format!("fabric={}", text(&made.join("peer0")));
    let args = ["fabric", "peer", "--channel", "mychannel", "--verify-blocks", "hash", "--key-file", &key];
    let wide = ["--no-tls", "--listen", "0.0.0.0:0", "--endpoint", "127.0.0.1:7051"];
    bad(&[&args[..], &wide].concat(), "--no-tls");
    let short = ["--listen", "127.0.0.1:0", "--keepalive.interval", "10s"];
    bad(&[&args[..], &short].concat(), "--keepalive.interval");
    let small = ["--listen", "127.0.0.1:0", "--maxRecvMsgSize", "10"];
    bad(&[&args[..], &small].concat(), "--maxRecvMsgSize");
}

/// Section 14 of Fabric's facts: what is counted and timed of a channel, under our names and Fabric's.
#[test]
fn a_members_metrics_have_fabrics_names_too() {
    let dir = tempfile::tempdir().unwrap();
    let made = keygen(dir.path(), "Org1MSP", &[]);
    let args = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--metric-names", "native"];
    let mut member = Member::start("Org1MSP", &made.join("peer0"), &args);
    let http = member.program.wait("admin")["http"].as_str().unwrap().to_owned();
    let mut stream = TcpStream::connect(&http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {http}\r\n\r\n").unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    let of_channel = "{channel=\"mychannel\"}";
    for line in [
        &format!("switchboard_gossip_height{of_channel} 1.0"),
        &format!("switchboard_gossip_buffered_blocks{of_channel} 0.0"),
        &format!("switchboard_gossip_state_commit_seconds_count{of_channel} 0"),
        &format!("gossip_state_commit_duration_count{of_channel} 0"),
        &format!("gossip_privdata_reconciliation_duration_count{of_channel} 0"),
        &format!("gossip_payload_buffer_size{of_channel} 0.0"),
        "switchboard_gossip_free_turns{kind=\"own\"} 4.0",
        "switchboard_gossip_deaths_total{reason=\"unreachable\"} 0.0",
        "switchboard_gossip_unsent_total{reason=\"absent\"} 0.0",
        "switchboard_gossip_pulls_total{kind=\"blocks\",what=\"begun\"} 0.0",
    ] {
        assert!(told.lines().any(|found| found == line), "no {line} in {told}");
    }
    member.stop();
}
