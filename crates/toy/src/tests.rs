//! Handshakes over a pipe, hostile lines, hostile frames.

use super::*;
use bytes::BytesMut;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use switchboard::net::memory::MemoryNetwork;
use switchboard::net::{Connection, Network};
use switchboard::wire::{
    Decoder, Encoder, Established, HandshakeError, InFrame, OpenGate, OutFrame, Upgrade, Wire,
};
use switchboard::{Env, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn toy(seed: u8) -> Toy {
    Toy::new(Arc::new(ToyKey::from_seed(&[seed; 32]).unwrap())).unwrap()
}

fn world() -> Env {
    let net: Arc<dyn Network> = Arc::new(MemoryNetwork::default());
    Env::seeded(net, 1_800_000_000, 1)
}

async fn pipe(env: &Env) -> (Connection, Connection) {
    let at: SocketAddr = ([127, 0, 0, 1], 0).into();
    let listener = env.net().listen(at).await.unwrap();
    let (dialled, accepted) = tokio::join!(env.net().connect(listener.local_addr()), listener.accept());
    (dialled.unwrap(), accepted.unwrap())
}

fn upgrade(env: &Env) -> Upgrade {
    Upgrade { env: env.clone(), offer: Arc::default(), gate: Arc::new(OpenGate), listen: None }
}

type Shaken = Result<Established, HandshakeError>;

async fn shake(whom: Toy, dialled: &Toy) -> (Shaken, Shaken) {
    let env = world();
    let (a, b) = pipe(&env).await;
    let dialler = toy(1);
    let candidate = parse(&format!("toy://{}@127.0.0.1:1", dialled.local_id())).unwrap();
    tokio::join!(dialler.dial(a, candidate, upgrade(&env)), whom.accept(b, upgrade(&env)))
}

#[tokio::test]
async fn both_prove_their_keys() {
    let (ours, theirs) = shake(toy(2), &toy(2)).await;
    assert_eq!(ours.unwrap().peer, toy(2).local_id());
    assert_eq!(theirs.unwrap().peer, toy(1).local_id());
}

#[tokio::test]
async fn another_identity_and_ourselves_are_refused() {
    let (ours, _) = shake(toy(3), &toy(2)).await;
    assert_eq!(ours.unwrap_err().reason(), Reason::WrongIdentity);
    let (ours, _) = shake(toy(1), &toy(1)).await;
    assert_eq!(ours.unwrap_err().reason(), Reason::SelfConnection);
}

/// What a listener makes of a dialler that sends these bytes and is gone.
async fn heard(bytes: &[u8]) -> HandshakeError {
    let env = world();
    let (mut a, b) = pipe(&env).await;
    let ours = toy(2);
    let send = async {
        a.writer.write_all(bytes).await.unwrap();
        a.writer.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = a.reader.read_to_end(&mut rest).await;
    };
    let (result, ()) = tokio::join!(ours.accept(b, upgrade(&env)), send);
    result.unwrap_err()
}

#[tokio::test]
async fn strangers_get_no_session() {
    let key = hex::encode(toy(7).local_id().as_bytes());
    let first = format!("TOY/1 {key} {}\n", "00".repeat(32));
    let forged = format!("{first}PROOF {}\n", "11".repeat(64));
    for cut in 0..forged.len() {
        let error = heard(&forged.as_bytes()[..cut]).await;
        assert!(matches!(error, HandshakeError::Closed(_)), "{cut}: {error}");
    }
    assert_eq!(heard(forged.as_bytes()).await.reason(), Reason::InvalidIdentity);
    assert_eq!(heard(b"BYE quitting\n").await.reason(), Reason::Quitting);
    for nonsense in [&b"\n"[..], b"TOY/1 00 00\n", b"\xff\xfe\n", &[b'x'; 2 * MAX_LINE]] {
        assert!(matches!(heard(nonsense).await.reason(), Reason::Breach(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn silence_is_bounded() {
    let env = world();
    let (_a, b) = pipe(&env).await;
    let error = toy(2).accept(b, upgrade(&env)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::HandshakeTimeout);
}

#[test]
fn frames_come_back_at_every_cut() {
    let mut bytes = BytesMut::new();
    let data = OutFrame::Data { wire_id: 3, data: b"hello\n", last: true };
    let goodbye = OutFrame::Goodbye(&Reason::TooManyPeers);
    for frame in [OutFrame::Ping, data, OutFrame::Pong, goodbye] {
        ToyEncoder.encode(frame, &mut bytes).unwrap();
    }
    for cut in 0..=bytes.len() {
        let mut decoder = ToyDecoder::new(BTreeMap::from([(3, 10)]));
        let (mut src, mut seen) = (BytesMut::from(&bytes[..cut]), Vec::new());
        for more in [&[][..], &bytes[cut..]] {
            src.extend_from_slice(more);
            while let Some(frame) = decoder.decode(&mut src).unwrap() {
                seen.push(format!("{frame:?}"));
            }
        }
        assert_eq!(seen.len(), 4, "{cut}: {seen:?}");
        assert!(seen[1].contains("hello") && seen[3].contains("TooManyPeers"));
    }
}

#[test]
fn a_declared_length_costs_nothing() {
    let limits = || BTreeMap::from([(3, 100), (4, usize::MAX)]);
    for wrong in [
        "M 3 101\n",
        "M 4 4194305\n",
        "M 5 0\n",
        "M 3 -1\n",
        "M 3 +1\n",
        "M 3\n",
        "M 3 1 1\n",
        "\n",
        "PING now\n",
        "M 18446744073709551616 0\n",
    ] {
        let mut src = BytesMut::from(wrong);
        let fault = ToyDecoder::new(limits()).decode(&mut src).map(|frame| format!("{frame:?}"));
        assert!(matches!(fault.unwrap_err().reason, Reason::Breach(_)), "{wrong}");
    }
    let mut src = BytesMut::from(&[b'M'; 64][..]);
    assert!(ToyDecoder::new(limits()).decode(&mut src).is_err(), "a line that does not end");
    let mut src = BytesMut::from("M 4 4194304\n");
    assert!(ToyDecoder::new(limits()).decode(&mut src).unwrap().is_none() && src.capacity() < 1_024);
    let mut src = BytesMut::from("M 3 0\n");
    let mut decoder = ToyDecoder::new(limits());
    assert!(matches!(decoder.decode(&mut src), Ok(Some(InFrame::Message { data, .. })) if data.is_empty()));
}

#[test]
fn addresses_are_read() {
    let id = toy(1).local_id();
    let candidate = parse(&format!("toy://{id}@[::1]:7")).unwrap();
    assert_eq!((candidate.id, &*candidate.host, candidate.port), (Some(id), "::1", 7));
    for wrong in ["", "toy://", "toy://aa@h:1", &format!("toy://{id}@h:0"), &format!("toy://{id}@:1")] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}
