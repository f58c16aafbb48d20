//! Who may be a peer, and for how long: certificates that expire or are revoked while a session runs, renewed ones, other
//! organisations, and what a refused dialler is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use bytes::BytesMut;
use common::raw::*;
use common::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::Network;
use switchboard::net::memory::MemoryNetwork;
use switchboard::wire::{Established, HandshakeError, Offer, OpenGate, Upgrade, Wire};
use switchboard::{By, Candidate, Event, Reason};
use switchboard_fabric::keygen::{self, Made, Plan, Renewal};
use switchboard_fabric::msp::folder::load_organisation;
use switchboard_fabric::{Fabric, FabricConfig, PeerFolder, PeerPolicy, Security};

/// One end of a handshake that needs no Switch.
fn upgrade(net: &Arc<dyn Network>) -> Upgrade {
    Upgrade { env: env(net, 7), offer: Arc::new(Offer::default()), gate: Arc::new(OpenGate), listen: None }
}

/// Both sides of a handshake; the dialler asks for `id` if there is one.
async fn shake(
    listener: &Fabric,
    dialler: &Fabric,
    id: Option<switchboard::PeerId>,
) -> (Result<Established, HandshakeError>, Result<Established, HandshakeError>) {
    let net: Arc<dyn Network> = Arc::new(MemoryNetwork::default());
    let listening = net.listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let at = listening.local_addr();
    let mut whom: Candidate = dialler.parse(&format!("fabric://{at}")).unwrap();
    whom.id = id;
    let dialled = async { dialler.dial(net.connect(at).await.unwrap(), whom, upgrade(&net)).await };
    let accepted = async { listener.accept(listening.accept().await.unwrap(), upgrade(&net)).await };
    tokio::join!(accepted, dialled)
}

struct Org {
    dir: tempfile::TempDir,
    mspid: &'static str,
    made: Made,
}

impl Org {
    fn new(plan: Plan, mspid: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = plan.make(&dir.path().join("org"), now()).unwrap();
        Self { dir, mspid, made }
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("org")
    }

    fn peer(&self, n: usize) -> PeerFolder {
        self.load(&self.made.peers[n])
    }

    fn load(&self, folder: &Path) -> PeerFolder {
        PeerFolder::load(folder, self.mspid).unwrap()
    }
}

fn fabric(folder: PeerFolder) -> Fabric {
    Fabric::new(FabricConfig::new(folder)).unwrap()
}

/// What a refused dialler learns.
fn told(result: Result<Established, HandshakeError>) -> String {
    result.expect_err("a session").to_string()
}

#[tokio::test(start_paused = true)]
async fn organisations_that_trust_each_other_talk_and_others_are_told_the_command() {
    let (one, two) =
        (Org::new(Plan::new("Org1MSP", 1), "Org1MSP"), Org::new(Plan::new("Org2MSP", 1), "Org2MSP"));
    let trusting = |own: &Org, other: &Org| {
        let folder = own.peer(0);
        let mut trust = folder.trust();
        trust.add(load_organisation(&other.out(), other.mspid).unwrap());
        Fabric::new(FabricConfig::trusting(folder, trust)).unwrap()
    };
    let (accepted, dialled) = shake(&trusting(&one, &two), &trusting(&two, &one), None).await;
    assert_eq!(accepted.unwrap().info.name, "Org2MSP");
    assert_eq!(dialled.unwrap().info.name, "Org1MSP");

    // The listener does not know the dialler's organisation, and says so.
    let (accepted, dialled) = shake(&fabric(one.peer(0)), &trusting(&two, &one), None).await;
    let (here, there) = (told(accepted), told(dialled));
    for told in [&here, &there] {
        assert!(told.contains("--trust Org2MSP=DIR"), "{told}");
    }
    // The dialler does not know the listener's TLS CA.
    let (accepted, dialled) = shake(&trusting(&one, &two), &fabric(two.peer(0)), None).await;
    let (here, there) = (told(accepted), told(dialled));
    assert!(here.contains("--trust") && there.contains("--trust"), "{here}; {there}");
}

#[tokio::test(start_paused = true)]
async fn client_and_server_certificates_may_come_from_two_cas() {
    let (org, clients) =
        (Org::new(Plan::new("Org1MSP", 2), "Org1MSP"), Org::new(Plan::new("Org1MSP", 1), "Org1MSP"));
    let (listener, dialler) = (&org.made.peers[0], &org.made.peers[1]);
    let theirs = clients.made.peers[0].join("tls");
    for (from, to) in [("server.crt", "client.crt"), ("server.key", "client.key")] {
        std::fs::copy(theirs.join(from), dialler.join("tls").join(to)).unwrap();
    }
    let strict = |folder: PeerFolder| {
        let mut config = FabricConfig::new(folder);
        config.verify_clients = true;
        Fabric::new(config).unwrap()
    };
    let (accepted, _) = shake(&strict(org.peer(0)), &fabric(org.peer(1)), None).await;
    assert!(matches!(accepted, Err(HandshakeError::Peer { .. })), "a client CA that is not known");
    std::fs::create_dir(listener.join("tls/clientcacerts")).unwrap();
    std::fs::copy(theirs.join("ca.crt"), listener.join("tls/clientcacerts/ca.pem")).unwrap();
    let (accepted, dialled) = shake(&strict(org.peer(0)), &fabric(org.peer(1)), None).await;
    accepted.unwrap();
    dialled.unwrap();
}

/// fabric issue 5111: after a renewal a peer is dialled by the PKI-ID it had before.
#[tokio::test(start_paused = true)]
async fn a_renewed_certificate_is_told_as_a_switch_of_identity() {
    let org = Org::new(Plan::new("Org1MSP", 2), "Org1MSP");
    let old = fabric(org.peer(0));
    let old_identity = old.config().folder.identity.identity().clone();
    keygen::renew(&org.out().join("ca"), &org.made.peers[0], Renewal::default(), now()).unwrap();
    let renewed = fabric(org.peer(0));
    assert_ne!(old.local_id(), renewed.local_id());
    let mut config = FabricConfig::new(org.peer(1));
    config.identity_switch = true;
    let dialler = Fabric::new(config).unwrap();
    // Unknown yet: it could be anybody's.
    let (_, dialled) = shake(&renewed, &dialler, Some(old.local_id())).await;
    assert_eq!(dialled.err().unwrap().reason(), Reason::WrongIdentity);
    let policy = &dialler.config().policy;
    policy.validate(&old_identity, now()).unwrap();
    let switches = policy.switches();
    let (accepted, dialled) = shake(&renewed, &dialler, Some(old.local_id())).await;
    accepted.unwrap();
    assert_eq!(dialled.unwrap().peer, renewed.local_id());
    let new = renewed.config().folder.identity.identity().pki_id();
    assert_eq!(*switches.borrow(), Some((old_identity.pki_id(), new)));
    // Who does not want that is still asked for that very peer.
    let (_, dialled) = shake(&renewed, &fabric(org.peer(1)), Some(old.local_id())).await;
    assert_eq!(dialled.err().unwrap().reason(), Reason::WrongIdentity);
}

#[tokio::test(start_paused = true)]
async fn what_is_renewed_counts_all_at_once_when_it_is_taken_over() {
    let (org, other) =
        (Org::new(Plan::new("Org1MSP", 2), "Org1MSP"), Org::new(Plan::new("Org2MSP", 1), "Org2MSP"));
    let (wire, new) = (fabric(org.peer(0)), fabric(org.peer(1)).local_id());
    let own = wire.local_id();
    let shown = || {
        let trust = wire.config().policy.trust();
        (wire.local_id(), trust.organisations().map(|msp| msp.id().to_owned()).collect::<Vec<_>>())
    };
    let renewal = wire.renewal(Some(org.peer(1)), Some(other.peer(0).trust())).unwrap();
    assert_eq!(shown(), (own, vec!["Org1MSP".to_owned()]), "checked, and nothing has changed");
    renewal.take_over();
    assert_eq!(shown(), (new, vec!["Org2MSP".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn without_tls_only_loopback_is_served() {
    let org = Org::new(Plan::new("Org1MSP", 2), "Org1MSP");
    let plain = |n| {
        let mut config = FabricConfig::new(org.peer(n));
        config.security = Security::Plain;
        Fabric::new(config).unwrap()
    };
    let (accepted, dialled) = shake(&plain(0), &plain(1), None).await;
    assert_eq!(accepted.unwrap().peer, plain(1).local_id());
    assert_eq!(dialled.unwrap().peer, plain(0).local_id());
    // Neither kind takes the other.
    let (accepted, dialled) = shake(&plain(0), &fabric(org.peer(1)), None).await;
    assert!(accepted.is_err() && dialled.is_err());
    let (accepted, dialled) = shake(&fabric(org.peer(0)), &plain(1), None).await;
    assert!(accepted.is_err() && dialled.is_err());

    let net: Arc<dyn Network> = Arc::new(MemoryNetwork::default());
    let listening = net.listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let _dialled = net.connect(listening.local_addr()).await.unwrap();
    let mut connection = listening.accept().await.unwrap();
    connection.remote = ([192, 0, 2, 1], 7051).into();
    let refused = plain(0).accept(connection, upgrade(&net)).await.err().unwrap();
    assert_eq!(refused.reason(), Reason::AccessDenied);
    assert!(refused.to_string().contains("loopback"), "{refused}");
}

/// The victim's own organisation learns that the hostile member is none any more.
#[tokio::test(start_paused = true)]
async fn a_revoked_peer_is_shown_out_and_does_not_come_back() {
    let mut victim = Victim::new().await;
    let mut call = victim.session().await;
    let mut trust = (*victim.wire.config().policy.trust()).clone();
    let revoked = victim.folder.identity.identity().certificate().clone();
    let org = victim.dir.path().join("org");
    let list = keygen::crl(&org.join("ca"), &[revoked], now()).unwrap();
    keygen::write_crl(&org.join("msp"), &list).unwrap();
    trust.add(load_organisation(&org, ORG).unwrap());
    victim.wire.set_trust(trust).unwrap();
    victim.ends(Reason::InvalidIdentity, By::Us, "revoked").await;
    assert_eq!(call.status().await, Some(16));
    let mut again = victim.grpc().await.stream().await;
    again.say(&establish(&victim.folder));
    assert_eq!(again.status().await, Some(16));
    victim.fails(Reason::InvalidIdentity, "revoked").await;
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_with_its_peers_certificate() {
    let mut victim = Victim::new().await;
    let org = victim.dir.path().join("org");
    let hour = Duration::from_secs(3600);
    let member = org.join("peer0");
    keygen::renew(&org.join("ca"), &member, Renewal::default().valid_for(hour), now()).unwrap();
    victim.folder = PeerFolder::load(&member, ORG).unwrap();
    let mut call = victim.session().await;
    call.lives().await;
    tokio::time::sleep(hour - Duration::from_secs(60)).await;
    call.lives().await;
    let ended = tokio::time::timeout(
        Duration::from_secs(120),
        victim.ends(Reason::InvalidIdentity, By::Us, "expired"),
    );
    ended.await.expect("still there");
    assert_eq!(call.status().await, Some(16));
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn control_frames_without_end_are_cut_off() {
    let mut victim = Victim::new().await;
    let unknown = frame(0x42, 0, 0, b"what?");
    for flood in [frame(PING, 0, 0, b"12345678"), frame(SETTINGS, 0, 0, &[]), unknown] {
        let mut raw = Raw::session(&mut victim).await;
        let (mut reader, mut writer) = tokio::io::split(raw.tls);
        let flooding = async {
            use tokio::io::AsyncWriteExt;
            for _ in 0..200 {
                if writer.write_all(&flood.repeat(100)).await.is_err() || writer.flush().await.is_err() {
                    break;
                }
            }
        };
        let mut sink = tokio::io::sink();
        let reading = tokio::io::copy(&mut reader, &mut sink);
        let (_, _, ()) = tokio::join!(
            flooding,
            reading,
            victim.ends(Reason::Breach("HTTP/2 flood"), By::Us, "without data")
        );
        raw = Raw::session(&mut victim).await;
        raw.lives().await;
        drop(raw);
        victim.ends(Reason::RemoteClosed, By::Peer, "").await;
    }
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_there_when_we_stop_is_told_so() {
    let mut victim = Victim::new().await;
    let mut call = victim.session().await;
    victim.switch.stop().await;
    assert_eq!(call.ending().await, (Some(14), "shutting down".to_owned()));
    loop {
        if let Event::PeerDropped { .. } = victim.event().await {
            break;
        }
    }
}

/// One certificate under two organisations is two identities and one peer where slots, scores and bans are counted.
#[tokio::test(start_paused = true)]
async fn one_certificate_is_one_holder_whatever_organisation_it_names() {
    let org = Org::new(Plan::new("Org1MSP", 2), "Org1MSP");
    let folder = org.peer(0);
    let mut trust = folder.trust();
    trust.add(load_organisation(&org.out(), "Org2MSP").unwrap());
    let listener = Fabric::new(FabricConfig::trusting(folder, trust)).unwrap();
    let mut seen = Vec::new();
    for (peer, mspid) in [(1, "Org1MSP"), (1, "Org2MSP"), (0, "Org1MSP")] {
        let folder = PeerFolder::load(&org.made.peers[peer], mspid).unwrap();
        let mut trust = folder.trust();
        trust.add(load_organisation(&org.out(), "Org1MSP").unwrap());
        let dialler = Fabric::new(FabricConfig::trusting(folder, trust)).unwrap();
        let (accepted, dialled) = shake(&listener, &dialler, None).await;
        dialled.unwrap();
        seen.push(accepted.unwrap());
    }
    let [first, again, other] = &seen[..] else { panic!() };
    assert_ne!(first.peer, again.peer);
    assert_eq!(first.holder, again.holder);
    assert_ne!(first.holder, other.holder);
}

/// A small message is copied, and up to 64 KiB are written at once: both leave the buffer free. A larger one is handed to HTTP/2 as it is,
/// to be written beside the next.
#[tokio::test(start_paused = true)]
async fn what_is_written_is_not_copied_again() {
    let org = Org::new(Plan::new("Org1MSP", 2), "Org1MSP");
    let (accepted, dialled) = shake(&fabric(org.peer(0)), &fabric(org.peer(1)), None).await;
    let (mut accepted, dialled) = (accepted.unwrap(), dialled.unwrap());
    for (len, free) in [(100, true), (64 * 1024, true), (128 * 1024, false)] {
        let mut buffer = BytesMut::with_capacity(len);
        buffer.resize(len, 7);
        let taken = std::future::poll_fn(|cx| accepted.writer.poll_take(cx, &mut buffer)).await.unwrap();
        assert_eq!((taken, buffer.len()), (len, 0));
        assert_eq!(buffer.try_reclaim(len), free, "{len} bytes");
    }
    drop(dialled);
}
