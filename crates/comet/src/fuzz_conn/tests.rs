use super::*;
use crate::pex::below;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

type Fuzzed = FuzzedConnection<DuplexStream, ChaCha20Rng>;

fn pair(config: FuzzConfig, seed: u64) -> (Fuzzed, DuplexStream) {
    let (left, right) = duplex(1 << 16);
    (FuzzedConnection::new(left, config, ChaCha20Rng::seed_from_u64(seed)), right)
}

fn now_on(config: FuzzConfig) -> FuzzConfig {
    FuzzConfig { start_after: Duration::ZERO, ..config }
}

/// Bytes that arrive of 1,000 writes of one byte each.
async fn arrived(config: FuzzConfig, seed: u64) -> Vec<u8> {
    let (mut fuzzed, mut plain) = pair(config, seed);
    for n in 0..1_000_u32 {
        fuzzed.write_all(&[n as u8]).await.unwrap();
    }
    drop(fuzzed);
    let mut all = Vec::new();
    plain.read_to_end(&mut all).await.unwrap();
    all
}

#[tokio::test(start_paused = true)]
async fn writes_vanish_as_often_as_said_and_a_seed_repeats() {
    let config = now_on(FuzzConfig::default());
    let some = arrived(config, 1).await;
    assert!((760..840).contains(&some.len()), "{}", some.len());
    assert_eq!(some, arrived(config, 1).await);
    assert_ne!(some, arrived(config, 2).await);
    assert_eq!(arrived(FuzzConfig { drop_rw: 0.0, ..config }, 1).await.len(), 1_000);
    assert_eq!(arrived(FuzzConfig { drop_rw: 1.0, ..config }, 1).await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn reads_vanish_too_and_the_end_does_not() {
    let (mut fuzzed, mut plain) = pair(now_on(FuzzConfig { drop_rw: 0.5, ..FuzzConfig::default() }), 3);
    let mut all = Vec::new();
    for n in 0..100_u8 {
        plain.write_all(&[n]).await.unwrap();
        let mut one = [0];
        if let Ok(read) = tokio::time::timeout(Duration::from_millis(1), fuzzed.read(&mut one)).await {
            assert_eq!(read.unwrap(), 1);
            all.push(one[0]);
        }
    }
    assert!((30..70).contains(&all.len()), "{}", all.len());
    assert!(all.is_sorted(), "what arrives is in order");
    drop(plain);
    assert_eq!(fuzzed.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn delays_are_what_the_configuration_says() {
    let config = now_on(FuzzConfig { mode: Mode::Delay, ..FuzzConfig::default() });
    let (mut fuzzed, mut plain) = pair(config, 4);
    let (mut sum, mut longest) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..200 {
        let start = Instant::now();
        fuzzed.write_all(b"x").await.unwrap();
        let took = start.elapsed();
        sum += took;
        longest = longest.max(took);
        plain.read_exact(&mut [0]).await.unwrap();
    }
    let mean = sum / 200;
    assert!(longest <= Duration::from_millis(3_001) && longest > Duration::from_millis(2_500), "{longest:?}");
    assert!(mean > Duration::from_millis(1_300) && mean < Duration::from_millis(1_700), "{mean:?}");
    plain.write_all(b"y").await.unwrap();
    let start = Instant::now();
    fuzzed.read_exact(&mut [0]).await.unwrap();
    assert!(start.elapsed() > Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_connection_is_gone_for_both_ends() {
    let config = FuzzConfig { drop_rw: 0.0, drop_conn: 1.0, ..FuzzConfig::default() };
    let (mut fuzzed, mut plain) = pair(now_on(config), 5);
    let error = fuzzed.write_all(b"x").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(plain.read(&mut [0]).await.unwrap(), 0);
    assert!(fuzzed.read(&mut [0]).await.is_err() && fuzzed.flush().await.is_err());
    fuzzed.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn all_is_well_until_it_starts() {
    let config = FuzzConfig { drop_rw: 1.0, ..FuzzConfig::default() };
    let (mut fuzzed, mut plain) = pair(config, 6);
    fuzzed.write_all(b"before").await.unwrap();
    tokio::time::advance(Duration::from_secs(10)).await;
    fuzzed.write_all(b"after").await.unwrap();
    drop(fuzzed);
    let mut all = String::new();
    plain.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "before");
}

/// A hole, wherever it is, never makes the secure channel deliver something wrong.
#[tokio::test(start_paused = true)]
async fn the_secure_channel_notices_every_hole() {
    use crate::key::NodeKey;
    use crate::secret_connection::Handshake;
    use bytes::BytesMut;
    let key = NodeKey::from_seed(&[1; 32]).unwrap();
    let mut choose = ChaCha20Rng::seed_from_u64(9);
    for seed in 0..30 {
        let (mut to_left, mut to_right) = (BytesMut::new(), BytesMut::new());
        let mut left = Handshake::start(&[3; 32], &mut to_right).unwrap();
        let mut right = Handshake::start(&[4; 32], &mut to_left).unwrap();
        assert!(left.advance(&key, &mut to_left, &mut to_right).unwrap().is_none());
        let mut right = right.advance(&key, &mut to_right, &mut to_left).unwrap().unwrap();
        let mut left = left.advance(&key, &mut to_left, &mut to_right).unwrap().unwrap();
        to_right.clear();
        let (mut fuzzed, mut plain) =
            pair(now_on(FuzzConfig { drop_rw: 0.1, ..FuzzConfig::default() }), seed);
        let mut sent = Vec::new();
        for n in 0..20_u8 {
            let message = vec![n; 1 + below(&mut choose, 1_000)];
            let mut frame = BytesMut::new();
            left.sealer.seal(&message, &mut frame).unwrap();
            fuzzed.write_all(&frame).await.unwrap();
            sent.extend(message);
        }
        drop(fuzzed);
        let mut wire = Vec::new();
        plain.read_to_end(&mut wire).await.unwrap();
        let (mut src, mut out) = (BytesMut::from(&wire[..]), BytesMut::new());
        while let Ok(true) = right.opener.open_next(&mut src, &mut out) {}
        assert!(sent.starts_with(&out), "seed {seed}");
        assert!(out.len() == sent.len() || wire.len() < 20 * 1_044, "seed {seed}");
    }
}
