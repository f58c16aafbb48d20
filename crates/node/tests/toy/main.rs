//! A fourth wire, added to a node through its public face alone: one crate (`switchboard-toy`) and this folder.
#![allow(clippy::unwrap_used)] // helpers of tests

mod kit;

use kit::ToyKit;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use switchboard::{
    BoxFuture, ChannelId, ChannelIo, ChannelSpec, Env, Peer, Protocol, ProtocolError, ProtocolSpec,
};
use switchboard_cast::CastEvent;
use switchboard_node::kit::KeyPlan;
use switchboard_node::settings::Values;
use switchboard_node::wires::Kits;
use switchboard_node::{Node, NodeConfig};
use tokio::sync::mpsc;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);
const HELLO: ChannelId = ChannelId(1);

/// README's protocol; what it hears goes to the test.
struct Greet(mpsc::Sender<(&'static str, String)>);

impl Protocol for Greet {
    fn spec(&self) -> ProtocolSpec {
        ProtocolSpec::new("greet", 1, vec![ChannelSpec::new(HELLO.0, 5).recv_limit(1_000)])
    }

    fn run(self: Arc<Self>, peer: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            io.send(HELLO, format!("hello over {}", peer.id().wire()).into_bytes()).await?;
            if let Some((_, message)) = io.recv().await {
                let heard = String::from_utf8_lossy(&message).into_owned();
                let _ = self.0.send((peer.id().wire(), heard)).await;
            }
            Ok(())
        })
    }
}

#[tokio::test]
async fn four_wires_on_one_port_greet() {
    let (tx, mut heard) = mpsc::channel(16);
    let [alice, bob] = Node::local().unwrap();
    let alice = alice.kit(&ToyKit).protocol(Greet(tx.clone())).start().await.unwrap();
    let bob = bob.kit(&ToyKit).protocol(Greet(tx)).start().await.unwrap();
    let urls = alice.urls();
    assert_eq!(urls.len(), 4, "{urls:?}");
    for url in &urls {
        let peer = timeout(PATIENCE, bob.connect(url)).await.unwrap().unwrap();
        timeout(PATIENCE, peer.ended()).await.unwrap();
        for _ in 0..2 {
            let (wire, said) = timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
            assert_eq!((wire, said), (peer.id().wire(), format!("hello over {wire}")));
        }
    }
    let ready = alice.ready();
    let listening = ready["listening"][0]["wires"].as_array().unwrap();
    assert!(listening.iter().any(|wire| wire == "toy"), "{ready}");
    assert_eq!(ready["toy"]["url"].as_str(), alice.url("toy").as_deref());
    assert!(alice.ready_text().lines().any(|line| line.starts_with("toy     toy://")));
    let probe = timeout(PATIENCE, bob.probe(&alice.url("toy").unwrap(), 3)).await.unwrap().unwrap();
    assert_eq!(
        (probe.id.to_string().as_str(), probe.round_trips.len()),
        (ready["toy"]["id"].as_str().unwrap(), 3)
    );
    assert!(probe.info.capabilities.contains(&"greet/1".to_owned()) && probe.cut.is_none());
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test]
async fn a_plain_protocol_of_the_node_rides_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, vec![7; 100_000]).unwrap();
    let node = |name: &str| {
        let data = dir.path().join(name);
        Node::builder().kit(&ToyKit).wires(&["toy"]).listen("127.0.0.1:0").data(data).start()
    };
    let (alice, bob) = (node("alice").await.unwrap(), node("bob").await.unwrap());
    let (cast, mut events) = (alice.cast().unwrap(), bob.cast().unwrap().events());
    cast.start_soon(&file);
    bob.connect(&alice.url("toy").unwrap()).await.unwrap();
    let done = async {
        loop {
            if let CastEvent::Done { bytes, .. } = events.recv().await.unwrap() {
                return bytes;
            }
        }
    };
    assert_eq!(timeout(PATIENCE, done).await.unwrap(), 100_000);
    assert!(dir.path().join("alice/toykey").exists(), "the key is kept in the data folder");
    alice.stop().await;
    bob.stop().await;
}

#[test]
fn its_settings_are_read_like_any() {
    let kits = Kits::builtin().with(&ToyKit);
    let known = kits.all_settings();
    assert!(known.iter().any(|s| s.section == "toy" && s.variable() == "SWITCHBOARD_TOY_PING_EVERY"));
    let file = |text: &str| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Values::from_file(file.path(), &known).map(|values| NodeConfig::decide_among(kits.clone(), values))
    };
    let config =
        file("wire = [\"toy\"]\nlisten = [\"toy=127.0.0.1:0\"]\n[toy]\ntoy-ping-every = \"5s\"").unwrap();
    let config = config.unwrap();
    assert_eq!(config.wires, ["toy"]);
    assert_eq!(config.values.duration("toy-ping-every").unwrap(), Some(Duration::from_secs(5)));
    let said = file("[toy]\ntoy-ping-evry = 5").unwrap_err().to_string();
    assert!(said.contains("did you mean `toy-ping-every`?"), "{said}");
    let said = file("wire = [\"toi\"]").unwrap().unwrap_err().to_string();
    assert!(said.contains("use devp2p or comet or fabric or toy"), "{said}");
}

#[test]
fn its_keys_and_addresses_are_made_and_decoded() {
    let (kits, env) = (Kits::builtin().with(&ToyKit), Env::system().unwrap());
    let kit = kits.get("toy").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let made = kit.keygen(&KeyPlan::new(&path, "", 1), &env).unwrap();
    assert!(kit.keygen(&KeyPlan::new(&path, "", 1), &env).is_err(), "never over anything");
    let forms = kit.public_forms(&path, "", ([203, 0, 113, 7], 30303).into()).unwrap();
    assert_eq!(forms["id"], made["id"]);
    let (found, candidate) = kits.parse(forms["url"].as_str().unwrap()).unwrap();
    assert_eq!((found.name(), candidate.port), ("toy", 30303));
    assert_eq!(found.decode(forms["url"].as_str().unwrap()).unwrap()["id"], made["id"]);
    let said = kits.parse("gopher://x").unwrap_err().to_string();
    assert!(said.contains("toy://KEY@HOST:PORT") && said.contains("enode://"), "{said}");
}

#[tokio::test]
async fn a_node_without_the_kit_does_not_know_it() {
    let said = Node::builder().wires(&["toy"]).start().await.unwrap_err().to_string();
    assert!(said.contains("there is no wire \"toy\""), "{said}");
}
