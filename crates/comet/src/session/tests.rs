use super::*;
use crate::key::NodeKey;
use crate::secret_connection::{Handshake, Secured};
use proptest::prelude::*;

/// Both ends of a finished handshake.
fn pair() -> (Secured, Secured) {
    let (a, b) = (NodeKey::from_seed(&[1; 32]).unwrap(), NodeKey::from_seed(&[2; 32]).unwrap());
    let (mut to_a, mut to_b) = (BytesMut::new(), BytesMut::new());
    let mut left = Handshake::start(&[3; 32], &mut to_b).unwrap();
    let mut right = Handshake::start(&[4; 32], &mut to_a).unwrap();
    assert!(left.advance(&a, &mut to_a, &mut to_b).unwrap().is_none());
    let right = right.advance(&b, &mut to_b, &mut to_a).unwrap().unwrap();
    (left.advance(&a, &mut to_a, &mut to_b).unwrap().unwrap(), right)
}

fn halves(era: Era, channels: &[u8]) -> (CometEncoder, CometDecoder) {
    let (left, right) = pair();
    let encoder = CometEncoder::new(left.sealer, era, channels.iter().map(|c| (*c, MAX_MESSAGE)).collect());
    let shared = channels.iter().copied().collect();
    let decoder = CometDecoder::new(right.opener, era, shared, [0x33].into_iter().collect(), &[]);
    (encoder, decoder)
}

/// Seals plain bytes of any kind, as a hostile peer would, and reads them.
fn read_plain(plain: &[u8]) -> Result<usize, Fault> {
    let (mut left, right) = pair();
    let mut wire = BytesMut::new();
    left.sealer.seal_all(plain, &mut wire).unwrap();
    let mut decoder = CometDecoder::new(
        right.opener,
        Era::Protobuf,
        [1].into_iter().collect(),
        [0x33].into_iter().collect(),
        &[],
    );
    let mut frames = 0;
    while decoder.decode(&mut wire)?.is_some() {
        frames += 1;
    }
    Ok(frames)
}

fn rule(plain: &[u8]) -> Reason {
    read_plain(plain).unwrap_err().reason
}

#[test]
fn queues_drain_into_full_frames_and_one_short_one() {
    let (mut encoder, mut decoder) = halves(Era::Protobuf, &[1]);
    let mut wire = BytesMut::new();
    encoder.encode(OutFrame::Ping, &mut wire).unwrap();
    for _ in 0..3 {
        encoder.encode(OutFrame::Data { wire_id: 1, data: &[7; 1024], last: false }, &mut wire).unwrap();
    }
    encoder.encode(OutFrame::Data { wire_id: 1, data: b"", last: true }, &mut wire).unwrap();
    encoder.encode(OutFrame::Goodbye(&Reason::Quitting), &mut wire).unwrap();
    assert!(wire.len() > 3 * FRAME && wire.len() < 4 * FRAME, "the last frame is not full");
    encoder.finish(&mut wire).unwrap();
    encoder.finish(&mut wire).unwrap();
    assert_eq!(wire.len(), 4 * FRAME);
    assert_eq!(decoder.decode(&mut wire).unwrap(), Some(InFrame::Ping));
    for _ in 0..3 {
        let part = InFrame::Part { wire_id: 1, data: &[7; 1024], last: false };
        assert_eq!(decoder.decode(&mut wire).unwrap(), Some(part));
    }
    assert_eq!(decoder.decode(&mut wire).unwrap(), Some(InFrame::Part { wire_id: 1, data: b"", last: true }));
    assert_eq!(decoder.decode(&mut wire).unwrap(), None);
    assert!(wire.is_empty());
}

#[test]
fn many_frames_are_sealed_and_opened_together_wherever_the_bytes_are_cut() {
    let message: Vec<u8> = (0..40_000).map(|n| (n % 251) as u8).collect();
    for cut in [1, 700, FRAME, 8 * FRAME - 1, 8 * FRAME, 30 * FRAME, usize::MAX] {
        let (mut encoder, mut decoder) = halves(Era::Protobuf, &[1]);
        let (mut wire, mut src, mut got) = (BytesMut::new(), BytesMut::new(), Vec::new());
        for (n, part) in message.chunks(1024).enumerate() {
            let last = (n + 1) * 1024 >= message.len();
            encoder.encode(OutFrame::Data { wire_id: 1, data: part, last }, &mut wire).unwrap();
        }
        encoder.finish(&mut wire).unwrap();
        assert!(wire.len().is_multiple_of(FRAME));
        for piece in wire.chunks(cut.min(wire.len())) {
            src.extend_from_slice(piece);
            while let Some(frame) = decoder.decode(&mut src).unwrap() {
                let InFrame::Part { wire_id: 1, data, .. } = frame else { panic!("{frame:?}") };
                got.extend_from_slice(data);
            }
        }
        assert!(src.is_empty() && got == message, "cut at {cut}");
    }
}

#[test]
fn what_stands_before_a_frame_that_is_not_authentic_is_delivered() {
    for bad in [0, 1, 7, 8, 11, 12, 19] {
        let (mut encoder, mut decoder) = halves(Era::Protobuf, &[1]);
        let mut wire = BytesMut::new();
        // A packet a frame.
        for _ in 0..20 {
            encoder.encode(OutFrame::Data { wire_id: 1, data: &[7; 100], last: true }, &mut wire).unwrap();
            encoder.finish(&mut wire).unwrap();
        }
        wire[bad * FRAME + 50] ^= 1;
        let mut delivered = 0;
        let end = loop {
            match decoder.decode(&mut wire) {
                Ok(Some(_)) => delivered += 1,
                Ok(None) => panic!("the end was not found"),
                Err(fault) => break fault.reason,
            }
        };
        assert_eq!((delivered, end), (bad, Reason::Breach("frame authentication")));
    }
}

#[test]
fn breaches_are_named() {
    assert_eq!(rule(&[4, 0x1a, 2, 0x08, 2]), Reason::Breach("unknown channel"));
    assert_eq!(rule(&[5, 0x1a, 3, 0x08, 0x80, 2]), Reason::Breach("channel number"));
    assert_eq!(rule(&[0]), Reason::Breach("packet kind"));
    assert_eq!(rule(&[2, 0x22, 0]), Reason::Breach("packet kind"));
    assert_eq!(rule(&[0x8c, 0x08]), Reason::Breach("packet length"));
    assert_eq!(rule(&[0xff; 10]), Reason::Breach("varint overflow"));
    assert_eq!(rule(&[1, 0x1a]), Reason::Breach("packet encoding"));
    assert_eq!(read_plain(&[4, 0x1a, 2, 0x08, 0x33]).unwrap(), 1, "ours, but not announced by them: skipped");
    let (_, mut decoder) = halves(Era::Protobuf, &[1]);
    let mut noise = BytesMut::from(&[9; FRAME][..]);
    assert_eq!(decoder.decode(&mut noise).unwrap_err().reason, Reason::Breach("frame authentication"));
}

#[test]
fn frames_without_data_are_skipped_one_by_one() {
    let (mut left, right) = pair();
    let mut wire = BytesMut::new();
    (0..1000).for_each(|_| left.sealer.seal(&[], &mut wire).unwrap());
    left.sealer.seal(&[2, 0x0a, 0], &mut wire).unwrap();
    let none = ChannelSet::default();
    let mut decoder = CometDecoder::new(right.opener, Era::Protobuf, none, none, &[]);
    for _ in 0..1000 {
        assert_eq!(decoder.decode(&mut wire).unwrap(), Some(InFrame::Skip));
    }
    assert_eq!(decoder.decode(&mut wire).unwrap(), Some(InFrame::Ping));
}

#[test]
fn plain_bytes_from_the_handshake_come_first() {
    let (mut left, right) = pair();
    let mut wire = BytesMut::new();
    left.sealer.seal(&[0, 2, 0x12, 0], &mut wire).unwrap();
    let none = ChannelSet::default();
    let mut decoder = CometDecoder::new(right.opener, Era::Protobuf, none, none, &[2, 0x0a, 0, 2, 0x0a]);
    assert_eq!(decoder.decode(&mut wire).unwrap(), Some(InFrame::Ping));
    assert_eq!(decoder.decode(&mut wire).unwrap(), Some(InFrame::Ping));
    assert_eq!(decoder.decode(&mut wire).unwrap(), Some(InFrame::Pong));
}

#[test]
fn what_a_caller_should_not_have_made() {
    let (mut encoder, _) = halves(Era::Protobuf, &[1, 0x80]);
    let mut out = BytesMut::new();
    let mut data =
        |wire_id, len, last| encoder.encode(OutFrame::Data { wire_id, data: &vec![0; len], last }, &mut out);
    assert_eq!(data(2, 1, true), Err(EncodeError::NotShared(2)));
    assert_eq!(data(0x101, 1, true), Err(EncodeError::NotShared(0x101)));
    assert_eq!(data(1, 1025, true), Err(EncodeError::TooLarge { len: 1025, limit: 1024 }));
    assert_eq!(data(0x80, 1024, true), Err(EncodeError::TooLarge { len: 1024, limit: 1023 }));
    assert_eq!(data(0x80, 1024, false), Ok(()));
    assert_eq!(encoder.max_message(1), MAX_MESSAGE);
    assert_eq!(encoder.max_message(3), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn messages_of_any_size_in_pieces_of_any_size(
        sizes in proptest::collection::vec(0_usize..5000, 1..6),
        old: bool,
        channel in prop_oneof![Just(0_u8), Just(1), Just(0x7f), Just(0x80), Just(0xff)],
        piece in 1_usize..3000,
    ) {
        let era = if old { Era::GoWire } else { Era::Protobuf };
        let (mut encoder, mut decoder) = halves(era, &[channel]);
        let wire_id = u64::from(channel);
        let mut wire = BytesMut::new();
        for (n, size) in sizes.iter().enumerate() {
            let message = vec![n as u8; *size];
            let mut rest = &message[..];
            loop {
                let (data, after) = rest.split_at(encoder.slice(wire_id, rest.len()));
                encoder.encode(OutFrame::Data { wire_id, data, last: after.is_empty() }, &mut wire).unwrap();
                rest = after;
                if rest.is_empty() { break }
            }
        }
        encoder.finish(&mut wire).unwrap();
        let (mut src, mut got, mut partial) = (BytesMut::new(), Vec::new(), 0);
        for chunk in wire.chunks(piece) {
            src.extend_from_slice(chunk);
            while let Some(frame) = decoder.decode(&mut src).unwrap() {
                let InFrame::Part { data, last, .. } = frame else { panic!("{frame:?}") };
                prop_assert!(data.iter().all(|b| usize::from(*b) == got.len()));
                partial += data.len();
                if last { got.push(std::mem::take(&mut partial)); }
            }
        }
        prop_assert_eq!(got, sizes);
    }

    #[test]
    fn arbitrary_plain_bytes_never_panic(plain in proptest::collection::vec(any::<u8>(), 0..4000)) {
        let _ = read_plain(&plain);
    }
}
