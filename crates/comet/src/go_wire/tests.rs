use super::*;
use proptest::prelude::*;

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::default();
    write(&mut out);
    out.into_bytes()
}

#[test]
fn varints_as_go_wire_wrote_them() {
    for (value, bytes) in [
        (0_i64, "00"),
        (1, "0101"),
        (-1, "f101"),
        (127, "017f"),
        (255, "01ff"),
        (256, "020100"),
        (-256, "f20100"),
        (1 << 32, "050100000000"),
        (i64::MAX, "087fffffffffffffff"),
        (i64::MIN, "f88000000000000000"),
    ] {
        let bytes = hex::decode(bytes).unwrap();
        assert_eq!(written(|out| out.varint(value)), bytes, "{value}");
        let mut src = Reader::new(&bytes);
        assert_eq!(src.varint(), Ok(value));
        assert_eq!(src.finish(), Ok(()));
    }
    assert_eq!(written(|out| out.uvarint(u64::MAX)), [8, 255, 255, 255, 255, 255, 255, 255, 255]);
}

#[test]
fn varints_nobody_writes() {
    for bytes in [&[9][..], &[0xf0], &[0xf9, 1], &[0x10], &[1, 0], &[2, 0, 1], &[0xf1, 0]] {
        assert_eq!(Reader::new(bytes).varint(), Err(GoWireError::Varint), "{bytes:?}");
    }
    assert_eq!(Reader::new(&[0xf1, 1]).uvarint(), Err(GoWireError::Varint));
    assert_eq!(Reader::new(&[0xf1, 1]).count(9), Err(GoWireError::Negative));
    // Beyond 63 bits: a uint has room, an int has not.
    let most = [8, 255, 255, 255, 255, 255, 255, 255, 255];
    assert_eq!(Reader::new(&most).varint(), Err(GoWireError::Varint));
    assert_eq!(Reader::new(&most).bytes(100), Err(GoWireError::TooLong { len: u64::MAX, limit: 100 }));
}

#[derive(Debug, Clone, PartialEq)]
enum Vote {
    Cast { height: i64, round: u64, key: Vec<u8>, names: Vec<String>, proof: Option<u32>, last: bool },
    Ask(u16),
}

impl Message for Vote {
    fn type_byte(&self) -> u8 {
        match self {
            Self::Cast { .. } => 0x10,
            Self::Ask(_) => 0x11,
        }
    }

    fn write(&self, out: &mut Writer) {
        match self {
            Self::Cast { height, round, key, names, proof, last } => {
                out.varint(*height);
                out.u64(*round);
                out.bytes(key);
                out.count(names.len());
                names.iter().for_each(|name| out.string(name));
                out.present(proof.is_some());
                proof.iter().for_each(|proof| out.u32(*proof));
                out.bool(*last);
            }
            Self::Ask(n) => out.u16(*n),
        }
    }

    fn read(type_byte: u8, src: &mut Reader<'_>) -> Result<Self, GoWireError> {
        match type_byte {
            0x10 => Ok(Self::Cast {
                height: src.varint()?,
                round: src.u64()?,
                key: src.bytes(32)?.to_vec(),
                names: {
                    let count = src.count(8)?;
                    (0..count).map(|_| src.string(16).map(str::to_owned)).collect::<Result<_, _>>()?
                },
                proof: if src.present()? { Some(src.u32()?) } else { None },
                last: src.bool()?,
            }),
            0x11 => Ok(Self::Ask(src.u16()?)),
            other => Err(GoWireError::Type(other)),
        }
    }
}

fn vote() -> Vote {
    Vote::Cast {
        height: -300,
        round: 7,
        key: vec![9; 20],
        names: vec!["a".to_owned(), String::new(), "söder".to_owned()],
        proof: Some(5),
        last: true,
    }
}

#[test]
fn a_message_as_it_stood_on_the_wire() {
    let bytes = encode(&vote());
    let expected = "10f2012c0000000000000007011409090909090909090909090909090909090909090103010161000106\
        73c3b6646572010000000501";
    assert_eq!(hex::encode(&bytes), expected);
    assert_eq!(decode(&bytes, 100), Ok(vote()));
    assert_eq!(encode(&Vote::Ask(258)), [0x11, 1, 2]);
}

#[test]
fn cut_anywhere_it_is_an_error() {
    let bytes = encode(&vote());
    for end in 0..bytes.len() {
        assert_eq!(decode::<Vote>(&bytes[..end], 100), Err(GoWireError::Truncated), "cut at {end}");
    }
    let more = [&bytes[..], &[0]].concat();
    assert_eq!(decode::<Vote>(&more, 100), Err(GoWireError::Trailing(1)));
}

#[test]
fn what_is_refused() {
    assert_eq!(decode::<Vote>(&[0], 9), Err(GoWireError::Type(0)));
    assert_eq!(decode::<Vote>(&[0x12], 9), Err(GoWireError::Type(0x12)));
    assert_eq!(decode::<Vote>(&[0x11; 10], 9), Err(GoWireError::TooLong { len: 10, limit: 9 }));
    assert_eq!(Reader::new(&[2]).bool(), Err(GoWireError::Flag(2)));
    assert_eq!(Reader::new(&[1, 1, 0xff]).string(9), Err(GoWireError::NotText));
    assert_eq!(Reader::new(&[1, 33]).bytes(32), Err(GoWireError::TooLong { len: 33, limit: 32 }));
    assert_eq!(Reader::new(&[1, 9]).count(8), Err(GoWireError::TooLong { len: 9, limit: 8 }));
    assert_eq!(Reader::new(&[1, 3, 0]).bytes(9), Err(GoWireError::Truncated));
}

proptest! {
    #[test]
    fn numbers_come_back(a: i64, b: u64, c: i16, d: i32, e: u32, f: u8) {
        let bytes = written(|out| {
            out.varint(a);
            out.uvarint(b);
            out.i16(c);
            out.i32(d);
            out.u32(e);
            out.u8(f);
            out.i64(a);
        });
        let mut src = Reader::new(&bytes);
        prop_assert_eq!((src.varint(), src.uvarint(), src.i16()), (Ok(a), Ok(b), Ok(c)));
        prop_assert_eq!((src.i32(), src.u32(), src.u8(), src.i64()), (Ok(d), Ok(e), Ok(f), Ok(a)));
        prop_assert_eq!(src.finish(), Ok(()));
    }

    #[test]
    fn what_is_read_is_written_alike(bytes in prop::collection::vec(any::<u8>(), 0..60), kind in 0x10_u8..0x12) {
        let bytes = [&[kind][..], &bytes].concat();
        if let Ok(vote) = decode::<Vote>(&bytes, 100) {
            prop_assert_eq!(encode(&vote), bytes);
        }
    }
}
