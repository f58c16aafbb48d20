//! fabric's rules of who may be a member and who sees whom, among our peers and peers on Hyperledger Fabric v1.4.12's own gossip
//! package. What a peer decides is read from its membership and its sessions, not from its log.
#![cfg(test)]

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use switchboard_fabric::PeerFolder;
use switchboard_fabric::keygen::{Made, Plan, Renewal, crl, renew, write_crl};
use switchboard_fabric_gossip::block::{Block, build, hash::data_hash, hash::header_bytes};
use switchboard_interop::fabric::{CHANNEL, field};
use switchboard_interop::{Program, text};

/// Two rounds of alive messages and three of membership requests: whoever is not seen by then is not told of.
const QUIET: Duration = Duration::from_secs(12);

fn failed(what: &str, error: &dyn std::fmt::Display) -> ! {
    panic!("{what}: {error}")
}

fn now() -> SystemTime {
    UNIX_EPOCH + UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// An organisation's keys.
struct Org {
    mspid: &'static str,
    dir: tempfile::TempDir,
    made: Made,
}

impl Org {
    fn new(mspid: &'static str, peers: usize) -> Self {
        let dir = tempfile::tempdir().unwrap_or_else(|e| failed("folder", &e));
        let made = Plan::new(mspid, peers).make(&dir.path().join("org"), now());
        Self { mspid, made: made.unwrap_or_else(|e| failed("keys", &e)), dir }
    }

    fn key(&self, n: usize) -> &Path {
        &self.made.peers[n]
    }

    fn authority(&self) -> PathBuf {
        self.dir.path().join("org/ca")
    }

    fn folder(&self, n: usize) -> PeerFolder {
        PeerFolder::load(self.key(n), self.mspid).unwrap_or_else(|e| failed("peer folder", &e))
    }

    /// Gives a peer a new certificate, over the same key.
    fn renew(&self, n: usize, valid_for: Duration) {
        let renewal = Renewal::default().valid_for(valid_for);
        renew(&self.authority(), self.key(n), renewal, now()).unwrap_or_else(|e| failed("renewal", &e));
    }

    /// Has peer `judge` know that the certificates of these peers are revoked.
    fn revoke(&self, judge: usize, revoked: &[usize]) {
        let certificates: Vec<_> =
            revoked.iter().map(|n| self.folder(*n).identity.identity().certificate().clone()).collect();
        let list = crl(&self.authority(), &certificates, now()).unwrap_or_else(|e| failed("list", &e));
        let msp = self.key(judge).join("msp");
        std::fs::create_dir_all(msp.join("crls")).unwrap_or_else(|e| failed("folder", &e));
        write_crl(&msp, &list).unwrap_or_else(|e| failed("list", &e));
    }

    fn ours(&self, n: usize, more: &[&str]) -> Member {
        let key = format!("fabric={}", self.key(n).display());
        let mut args = vec!["fabric", "peer", "--json", "--stdin-stop", "--org", self.mspid];
        args.extend(["--channel", CHANNEL, "--key-file", &key]);
        for (flag, value) in [("--listen", "127.0.0.1:0"), ("--verify-blocks", "hash")] {
            if !more.contains(&flag) {
                args.extend([flag, value]);
            }
        }
        args.extend(more);
        Member::of(Program::start("switchboard", &args), false)
    }

    fn go(&self, n: usize, more: &[&str]) -> Member {
        let key = self.key(n).display().to_string();
        let mut args = vec!["gossip", "--key", &key, "--org", self.mspid, "--channel", CHANNEL];
        args.extend(more);
        Member::of(Program::start("fabricpeer", &args), true)
    }

    /// A member of either kind.
    fn member(&self, go: bool, n: usize, more: &[&str]) -> Member {
        if go { self.go(n, more) } else { self.ours(n, more) }
    }
}

struct Member {
    program: Program,
    endpoint: String,
    pki_id: String,
}

impl Member {
    fn of(mut program: Program, go: bool) -> Self {
        let ready = program.wait("ready");
        let said = if go { &ready } else { &ready["fabric"] };
        let (endpoint, pki_id) = (text(said, "endpoint").to_owned(), text(said, "pki_id").to_owned());
        Self { program, endpoint, pki_id }
    }

    /// Whom it sees, with the endpoint it would use, by what it told so far.
    fn view(&self) -> BTreeMap<String, String> {
        let mut view = BTreeMap::new();
        for told in &self.program.seen {
            let id = told["pki_id"].as_str().unwrap_or_default().to_owned();
            match told["event"].as_str() {
                Some("member_alive") => {
                    view.insert(id, told["endpoint"].as_str().unwrap_or_default().to_owned());
                }
                Some("member_dead" | "member_forgotten" | "identity_purged") => {
                    view.remove(&id);
                }
                _ => {}
            }
        }
        view
    }

    /// Waits until it sees this one.
    fn sees(&mut self, pki_id: &str) {
        if !self.view().contains_key(pki_id) {
            let told = |v: &Value| v["event"] == "member_alive" && v["pki_id"] == pki_id;
            let _ = self.program.wait_where(&format!("sight of {pki_id}"), told);
        }
    }

    /// Waits until it sees this one no more.
    fn misses(&mut self, pki_id: &str) {
        if self.view().contains_key(pki_id) {
            let gone = |v: &Value| {
                v["pki_id"] == pki_id
                    && ["member_dead", "member_forgotten", "identity_purged"].iter().any(|e| v["event"] == *e)
            };
            let _ = self.program.wait_where(&format!("the end of {pki_id}"), gone);
        }
    }

    /// Hears out what it has to say for a while.
    fn listen(&mut self, time: Duration) {
        let end = std::time::Duration::from_millis(100);
        for _ in 0..time.as_millis() / end.as_millis() {
            // Takes every line that is there; the wait is the clock.
            let _ = self.program.try_wait(end, |_| false);
        }
    }

    fn has(&mut self, number: usize, block: &[u8]) {
        let told = self.program.wait_where("block", |v| v["event"] == "block" && v["number"] == number);
        assert_eq!(text(&told, "sha256"), hex(&Sha256::digest(block)), "block {number}: {told:#}");
    }

    fn stop(self) {
        assert_eq!(self.program.stop(), 0);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Waits until all see each other.
fn meet(members: &mut [&mut Member]) {
    let ids: Vec<String> = members.iter().map(|member| member.pki_id.clone()).collect();
    for member in members {
        for id in ids.iter().filter(|id| **id != member.pki_id).cloned().collect::<Vec<_>>() {
            member.sees(&id);
        }
    }
}

/// Rows 6.9 to 6.13: two organisations of both kinds of peers, some without an external endpoint. The organisations meet by an anchor.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn organisations_see_what_the_rules_allow() {
    let (one, two) = (Org::new("Org1MSP", 4), Org::new("Org2MSP", 4));
    let trust = |org: &Org| format!("{}={}", org.mspid, org.made.msp.display());
    let (of_one, of_two) = (trust(&one), trust(&two));
    let mut members = vec![one.ours(0, &["--trust", &of_two, "--external", "same"])];
    let first = members[0].endpoint.clone();
    let boot_one = ["--trust", &of_two, "--bootstrap", &first];
    let external = |args: &[&'static str]| args.to_vec();
    members.push(one.go(1, &[&boot_one[..], &external(&["--external", "same"])].concat()));
    members.push(one.ours(2, &boot_one));
    members.push(one.go(3, &boot_one));
    members.push(two.go(0, &["--trust", &of_one, "--external", "same"]));
    let second = members[4].endpoint.clone();
    let anchor = format!("Org1MSP={first}");
    let boot_two = ["--trust", &of_one, "--bootstrap", &second];
    members.push(two.ours(1, &[&boot_two[..], &["--external", "same", "--anchor", &anchor]].concat()));
    members.push(two.ours(2, &boot_two));
    members.push(two.go(3, &boot_two));
    let ids: Vec<_> = members.iter().map(|member| member.pki_id.clone()).collect();
    let sees = |a: usize, b: usize| a != b && (a / 4 == b / 4 || (a % 4 < 2 && b % 4 < 2));
    for (a, member) in members.iter_mut().enumerate() {
        for b in (0..8).filter(|b| sees(a, *b)) {
            member.sees(&ids[b]);
        }
    }
    members.iter_mut().for_each(|member| member.listen(QUIET / 8));
    let endpoints: Vec<_> = members.iter().map(|member| member.endpoint.clone()).collect();
    for (a, member) in members.iter().enumerate() {
        let expected: BTreeMap<_, _> =
            (0..8).filter(|b| sees(a, *b)).map(|b| (ids[b].clone(), endpoints[b].clone())).collect();
        assert_eq!(member.view(), expected, "what {a} sees");
        // An observer that is told nothing of the other organisation's hidden members cannot have refused them either.
        let refused = member.program.seen.iter().find(|v| v["event"] == "refused" && v["pki_id"].is_string());
        assert!(refused.is_none(), "{a}: {refused:?}");
    }
    members.into_iter().for_each(Member::stop);
}

/// A member whose certificate is revoked is refused by either kind, and taken with a renewed one.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn a_revoked_certificate_is_refused_and_its_renewed_one_accepted() {
    for (judge_is_go, revoked_is_go) in [(false, true), (false, false), (true, false)] {
        let org = Org::new("Org1MSP", 2);
        org.revoke(0, &[1]);
        let mut judge = org.member(judge_is_go, 0, &[]);
        let boot = judge.endpoint.clone();
        let revoked = org.member(revoked_is_go, 1, &["--bootstrap", &boot]);
        let id = revoked.pki_id.clone();
        if judge_is_go {
            judge.listen(QUIET);
        } else {
            let refused = judge.program.wait("handshake_failed");
            assert!(text(&refused, "detail").contains("revoked"), "{refused:#}");
            judge.listen(QUIET / 4);
        }
        assert!(!judge.view().contains_key(&id), "{:#?}", judge.program.seen);
        if !revoked_is_go {
            let told = |v: &Value| v["event"] == "connect_failed" || v["event"] == "dial_failed";
            assert!(
                revoked.view().is_empty()
                    && revoked.program.seen.iter().all(|v| v["event"] != "member_alive")
            );
            let mut revoked = revoked;
            let _ = revoked.program.wait_where("a refusal", told);
            revoked.stop();
        } else {
            revoked.stop();
        }
        org.renew(1, Duration::from_secs(86_400));
        let mut renewed = org.member(revoked_is_go, 1, &["--bootstrap", &boot]);
        assert_ne!(renewed.pki_id, id, "another certificate, another name");
        meet(&mut [&mut judge, &mut renewed]);
        renewed.stop();
        judge.stop();
    }
}

/// fabric#5111: a member whose certificate expires is a member no more, for either kind; renewed and started again at the same address it
/// is one under its new name, and nobody keeps the old one.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn an_expired_certificate_is_refused_and_its_renewed_one_accepted_at_the_same_address() {
    let org = Org::new("Org1MSP", 4);
    let mut ours = org.ours(0, &[]);
    let boot = ours.endpoint.clone();
    let mut theirs = org.go(1, &["--bootstrap", &boot]);
    meet(&mut [&mut ours, &mut theirs]);
    for (n, go) in [(2, false), (3, true)] {
        org.renew(n, Duration::from_secs(20));
        let mut ends = org.member(go, n, &["--bootstrap", &boot]);
        let (old, at) = (ends.pki_id.clone(), ends.endpoint.clone());
        meet(&mut [&mut ours, &mut theirs, &mut ends]);
        ours.misses(&old);
        theirs.misses(&old);
        ends.stop();
        org.renew(n, Duration::from_secs(86_400));
        let mut renewed = org.member(go, n, &["--bootstrap", &boot, "--listen", &at]);
        assert_ne!(renewed.pki_id, old);
        meet(&mut [&mut ours, &mut theirs, &mut renewed]);
        for judge in [&mut ours, &mut theirs] {
            judge.listen(Duration::from_secs(3));
            assert!(!judge.view().contains_key(&old), "the old name stays");
        }
        renewed.stop();
        // The next one is not to meet the one that left.
    }
    [ours, theirs].into_iter().for_each(Member::stop);
}

/// A certificate renewed before its end, at the same address: the others change the name at once, without waiting for the old one to die.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn a_renewal_before_the_end_changes_the_name() {
    for go in [false, true] {
        let org = Org::new("Org1MSP", 3);
        let mut ours = org.ours(0, &[]);
        let boot = ours.endpoint.clone();
        let mut theirs = org.go(1, &["--bootstrap", &boot]);
        let mut first = org.member(go, 2, &["--bootstrap", &boot]);
        let (old, at) = (first.pki_id.clone(), first.endpoint.clone());
        meet(&mut [&mut ours, &mut theirs, &mut first]);
        first.program.kill();
        org.renew(2, Duration::from_secs(86_400));
        let mut renewed = org.member(go, 2, &["--bootstrap", &boot, "--listen", &at]);
        meet(&mut [&mut ours, &mut theirs, &mut renewed]);
        ours.misses(&old);
        [ours, theirs, renewed].into_iter().for_each(Member::stop);
    }
}

/// A member that vanished without a word (it is held, its sockets stay open) comes back at once from another process.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn a_member_that_vanished_without_a_word_comes_back_at_once() {
    for (judge_is_go, go) in [(false, false), (false, true), (true, false)] {
        let org = Org::new("Org1MSP", 2);
        let mut judge = org.member(judge_is_go, 0, &[]);
        let boot = judge.endpoint.clone();
        let mut held = org.member(go, 1, &["--bootstrap", &boot]);
        meet(&mut [&mut judge, &mut held]);
        held.program.hold();
        let began = now();
        let mut back = org.member(go, 1, &["--bootstrap", &boot]);
        assert_eq!(back.pki_id, held.pki_id);
        back.sees(&judge.pki_id);
        let took = now().duration_since(began).unwrap_or_default();
        assert!(took < Duration::from_secs(20), "after {took:?}, judge go={judge_is_go}, member go={go}");
        eprintln!("judge go={judge_is_go}, member go={go}: back after {took:?}");
        held.program.kill();
        back.stop();
        judge.stop();
    }
}

/// Block `number` with one transaction, signed by an orderer unless there is none.
fn block(number: u64, previous: &[u8], orderer: Option<&PeerFolder>) -> Bytes {
    let header = [vec![8, 3], field(4, CHANNEL.as_bytes())].concat();
    let header = [field(1, &header), field(2, &field(1, b"creator"))].concat();
    let payload = [field(1, &header), field(2, &number.to_be_bytes())].concat();
    let transaction: Bytes = [field(1, &payload), field(2, b"signature")].concat().into();
    let mut metadata = Vec::new();
    if let Some(orderer) = orderer {
        let header = header_bytes(number, previous, &data_hash(std::slice::from_ref(&transaction)));
        let value = field(1, &[8, 1]);
        let signature_header =
            [field(1, orderer.identity.identity().serialized()), field(2, b"nonce")].concat();
        let signed = [&value[..], &signature_header, &header].concat();
        let signature = orderer.identity.sign(&signed).unwrap_or_else(|e| failed("signature", &e));
        let one = [field(1, &signature_header), field(2, &signature)].concat();
        metadata.push(Bytes::from([field(1, &value), field(2, &one)].concat()));
    }
    build(number, previous, &[transaction], &metadata)
}

/// `--verify-blocks signed`: a block that no orderer signed, gossiped by a Go peer, is refused; the signed one in its place is taken and
/// passed on.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn only_blocks_that_orderers_signed_are_taken() {
    let (org, orderers) = (Org::new("Org1MSP", 4), Org::new("OrdererMSP", 1));
    let orderer = orderers.folder(0);
    let policy = format!("OrdererMSP={}", orderers.made.msp.display());
    let signed = ["--verify-blocks", "signed", "--orderer", &policy];
    let place = |folder: &Path, number: usize, bytes: &[u8]| {
        let part = folder.join("part");
        let placed = std::fs::write(&part, bytes)
            .and_then(|()| std::fs::rename(&part, folder.join(format!("{number}.block"))));
        placed.unwrap_or_else(|e| failed("block", &e));
    };
    let folders: Vec<_> = ["liar", "honest"].iter().map(|name| org.dir.path().join(name)).collect();
    folders.iter().for_each(|f| std::fs::create_dir(f).unwrap_or_else(|e| failed("folder", &e)));
    let sources: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let mut first = org.ours(0, &signed);
    let boot = first.endpoint.clone();
    let mut second = org.ours(1, &[&signed[..], &["--bootstrap", &boot]].concat());
    let mut liar = org.go(2, &["--bootstrap", &boot, "--blocks-from", &sources[0]]);
    meet(&mut [&mut first, &mut second, &mut liar]);
    // Until the liar's StateInfo is known its blocks have no one to go to.
    for member in [&mut first, &mut second] {
        let id = liar.pki_id.clone();
        let known = |v: &Value| v["event"] == "state_info" && v["pki_id"] == id;
        let seen = member.program.seen.iter().any(known);
        let _ = (!seen).then(|| member.program.wait_where("the liar's StateInfo", known));
    }
    place(&folders[0], 1, &block(1, &[7; 32], None));
    let refused = first.program.wait_where("a refusal", |v| v["event"] == "refused");
    assert!(text(&refused, "reason").contains("policy"), "{refused:#}");
    let good = block(1, &[7; 32], Some(&orderer));
    place(&folders[1], 1, &good);
    let mut honest = org.go(3, &["--bootstrap", &boot, "--blocks-from", &sources[1]]);
    for member in [&mut first, &mut second, &mut honest] {
        member.has(1, &good);
    }
    let next = Block::decode(good).unwrap_or_else(|e| failed("block", &e)).header_hash();
    let good = block(2, &next, Some(&orderer));
    place(&folders[1], 2, &good);
    for member in [&mut first, &mut second, &mut honest] {
        member.has(2, &good);
    }
    let took: BTreeSet<_> =
        first.program.seen.iter().filter(|v| v["event"] == "block").map(|v| v["number"].as_u64()).collect();
    assert_eq!(took, [Some(1), Some(2)].into());
    [first, second, liar, honest].into_iter().for_each(Member::stop);
}
