use super::*;
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::Network;
use switchboard::net::memory::MemoryNetwork;
use switchboard::{Env, Reason, Switch, SwitchBuilder};
use switchboard_enr::NodeKey;

use crate::{Devp2p, Devp2pConfig, probe, wire};

fn fork() -> ForkId {
    ForkId { hash: [0xfc, 0x64, 0xec, 0x04], next: 1_150_000 }
}

fn ranged(version: u32) -> Status {
    let extent = Extent::Range { earliest: 5, latest: 20_000_000, hash: [7; 32] };
    Status { version, network: 1, genesis: [3; 32], fork: fork(), extent }
}

fn headed() -> Status {
    let extent = Extent::Head { difficulty: vec![1, 0, 0], hash: [7; 32] };
    Status { version: 68, network: 1, genesis: [3; 32], fork: fork(), extent }
}

/// Written by hand from the specification; go-ethereum's own are met in the interop suite.
#[test]
fn the_forms_are_the_networks() {
    let [three, seven] = ["03".repeat(32), "07".repeat(32)];
    let fork = "c984fc64ec0483118c30";
    let range = format!("f8544501a0{three}{fork}058401312d00a0{seven}");
    assert_eq!(hex::encode(ranged(69).encode()), range);
    let head = format!("f852440183010000a0{seven}a0{three}{fork}");
    assert_eq!(hex::encode(headed().encode()), head);
}

#[test]
fn every_form_is_read_again_cut_nowhere_and_nothing_else_is_taken() {
    for status in [headed(), ranged(69), ranged(70), ranged(72), headed().echo(), ranged(69).echo()] {
        let bytes = status.encode();
        assert_eq!(Status::decode(status.version, &bytes).as_ref(), Ok(&status));
        assert!(bytes.len() <= MAX_STATUS);
        for end in 0..bytes.len() {
            assert!(Status::decode(status.version, &bytes[..end]).is_err(), "{status:?} cut at {end}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(Status::decode(status.version, &longer).is_err());
        assert!(Status::decode(status.version ^ 1, &bytes).is_err(), "another version");
        assert_eq!(status.echo().network, 1);
    }
    let refuse = |status: Status| assert!(Status::decode(status.version, &status.encode()).is_err());
    let range = |earliest, latest, hash| Extent::Range { earliest, latest, hash };
    refuse(Status { extent: range(6, 5, [1; 32]), ..ranged(69) });
    refuse(Status { extent: range(0, 5, [0; 32]), ..ranged(69) });
    for difficulty in [vec![0, 1], vec![1; 33], vec![1; 600]] {
        refuse(Status { extent: Extent::Head { difficulty, hash: [1; 32] }, ..headed() });
    }
}

fn key(seed: u8) -> Arc<NodeKey> {
    Arc::new(NodeKey::from_bytes(&[seed; 32]).unwrap())
}

async fn node(net: &MemoryNetwork, seed: u8, ours: &[(u32, Ours)]) -> (Switch, Vec<Statuses>, String) {
    let env = Env::seeded(Arc::new(net.clone()), 1_800_000_000, u64::from(seed));
    let wire = Devp2p::new(Devp2pConfig::new(key(seed)));
    let at = "127.0.0.1:0".parse().unwrap();
    let mut builder = SwitchBuilder::new(env).wire(Arc::new(wire.clone())).listen(at, &[]);
    let mut told = Vec::new();
    for (version, ours) in ours {
        let (exchange, statuses) = Exchange::new(*version, ours.clone()).unwrap();
        builder = builder.protocol(exchange);
        told.push(statuses);
    }
    let switch = builder.start().await.unwrap();
    let url = wire.enode(switch.listening()[0].0).to_string();
    (switch, told, url)
}

#[tokio::test(start_paused = true)]
async fn peers_of_one_network_tell_each_other_and_others_part() {
    let net = MemoryNetwork::default();
    let fixed = |status: Status| Ours::Fixed(Box::new(status));
    let both = [(68, fixed(headed())), (69, fixed(ranged(69)))];
    let (one, mut told, url) = node(&net, 1, &both).await;
    // The highest shared version is used, and who follows no chain says so.
    let (two, mut told2, _) = node(&net, 2, &[(68, Ours::Echo), (69, Ours::Echo)]).await;
    let peer = two.connect(&url).await.unwrap();
    assert_eq!(told2[1].recv().await.unwrap(), (peer.id(), ranged(69)));
    assert_eq!(told[1].recv().await.unwrap().1, ranged(69).echo());
    assert_eq!(*peer.get::<Status>().unwrap(), ranged(69));
    let infos = peer.protocol_infos();
    let (_, info) = infos.iter().find(|(name, _)| *name == "eth").unwrap();
    assert!(info.as_ref().unwrap().contains(&("eth_network", "1".into())), "{info:?}");
    // An older node.
    let (three, mut told3, _) = node(&net, 3, &[(68, Ours::Echo)]).await;
    three.connect(&url).await.unwrap();
    assert_eq!(told3[0].recv().await.unwrap().1, headed());
    // One of another network.
    let other = Status { network: 5, ..ranged(69) };
    let (four, mut told4, _) = node(&net, 4, &[(69, fixed(other))]).await;
    let peer = four.connect(&url).await.unwrap();
    let end = peer.ended().await;
    assert!(matches!(end.reason, Reason::Useless), "{end:?}");
    assert!(told4[0].try_recv().is_err());
    for switch in [one, two, three, four] {
        switch.stop().await;
    }
}

/// A tool that only asks who is there learns the chain, and the session goes on.
#[tokio::test(start_paused = true)]
async fn a_probe_learns_the_status() {
    let net = MemoryNetwork::default();
    let fixed = |status: Status| Ours::Fixed(Box::new(status));
    let (one, mut told, url) = node(&net, 1, &[(68, fixed(headed())), (69, fixed(ranged(69)))]).await;
    let env = Env::seeded(Arc::new(net.clone()), 1_800_000_000, 9);
    let whom = wire::parse(&url).unwrap();
    let at = one.listening()[0].0;
    let connection = net.connect(at).await.unwrap();
    let mut session = probe(connection, &whom, &Devp2pConfig::new(key(9)), &env).await.unwrap();
    let field = |name: &str| {
        let found = session.info.fields.iter().find(|(field, _)| *field == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    assert_eq!((field("eth_network"), field("eth_latest")), ("1".to_owned(), "20000000".to_owned()));
    assert_eq!(told[1].recv().await.unwrap().1, ranged(69).echo());
    for _ in 0..2 {
        session.round_trip().await.unwrap();
    }
    // One that says it speaks eth and then says nothing: the probe is told so, in time.
    let (mute, _told, url) = node(&net, 2, &[(68, Ours::Echo)]).await;
    let whom = wire::parse(&url).unwrap();
    let connection = net.connect(mute.listening()[0].0).await.unwrap();
    let start = tokio::time::Instant::now();
    let session = probe(connection, &whom, &Devp2pConfig::new(key(9)), &env).await.unwrap();
    let none = session.info.fields.iter().find(|(field, _)| *field == "eth_status").unwrap();
    assert!(none.1.starts_with("none"), "{none:?}");
    assert!(start.elapsed() <= WITHIN + Duration::from_secs(1));
}

/// A peer's side of the exchange, played by the test.
async fn required(answer: impl Fn(u64) -> Option<Vec<u8>>) -> Result<(), switchboard::ProtocolError> {
    use switchboard::{ChannelId, ChannelIo, Peer, Protocol};
    let header = [0xc2, 1, 2];
    let (exchange, _told) = Exchange::new(69, Ours::Fixed(Box::new(ranged(69)))).unwrap();
    let exchange = exchange.requiring(&[(7, switchboard_enr::keccak::keccak256(&header))]);
    let (ours, mut theirs) = ChannelIo::pair(&exchange.spec().channels);
    let run = tokio::spawn(exchange.run(Peer::made_up(), ours));
    assert_eq!(theirs.recv().await.unwrap().0, ChannelId(0));
    theirs.send(ChannelId(0), ranged(69).encode()).await.unwrap();
    let (code, asked) = theirs.recv().await.unwrap();
    assert_eq!(code, ChannelId(3));
    let mut message = &asked[..];
    let mut items = rlp::list(&mut message).unwrap();
    let number = rlp::number(&mut items).unwrap();
    assert_eq!(items, [0xc4, 7, 1, 0x80, 0x80]);
    if let Some(answer) = answer(number) {
        theirs.send(ChannelId(4), answer).await.unwrap();
        // What comes afterwards is answered: the peer stays.
        let _ = theirs.send(ChannelId(3), asked.clone()).await;
        if theirs.recv().await.is_some() {
            return Ok(());
        }
    }
    run.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_does_not_have_a_required_block_is_of_no_use() {
    use switchboard::ProtocolError;
    let answer = |number: u64, headers: &[u8]| {
        let (mut items, mut out) = (Vec::new(), Vec::new());
        rlp::put_number(number, &mut items);
        rlp::put_list(headers, &mut items);
        rlp::put_list(&items, &mut out);
        Some(out)
    };
    assert!(required(|number| answer(number, &[0xc2, 1, 2])).await.is_ok());
    assert!(required(|number| answer(number, &[])).await.is_ok(), "it is still catching up");
    let other = required(|number| answer(number, &[0xc2, 1, 3])).await;
    assert!(matches!(other, Err(ProtocolError::Useless)), "{other:?}");
    let two = required(|number| answer(number, &[0xc2, 1, 2, 0xc2, 1, 2])).await;
    assert!(matches!(two, Err(ProtocolError::Breach(_))), "{two:?}");
    let unasked = required(|number| answer(number + 1, &[0xc2, 1, 2])).await;
    assert!(matches!(unasked, Err(ProtocolError::Breach(_))), "{unasked:?}");
    let start = tokio::time::Instant::now();
    let silent = required(|_| None).await;
    assert!(matches!(silent, Err(ProtocolError::Useless)), "{silent:?}");
    assert!(start.elapsed() >= Duration::from_secs(15));
}

#[test]
fn the_fork_stands_in_the_record() {
    // EIP-2124, as go-ethereum writes the entry of mainnet before its first fork.
    assert_eq!(hex::encode(record_entry(fork())), "cac984fc64ec0483118c30");
}
