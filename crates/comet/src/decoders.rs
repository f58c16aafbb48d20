//! Every decoder of this crate as a plain function over bytes, for fuzz targets: none may panic, whatever the
//! bytes are. [`ALL`] lists them by the name a fuzz target should have.

use crate::bench::parse_report;
use crate::go_wire::{self, GoWireError, Reader, Writer};
use crate::key::NodeKey;
use crate::netaddress::{NetAddress, split_authority};
use crate::node_info::NodeInfo;
use crate::packet::{GoWire, PacketCodec, Protobuf};
use crate::pex::{Book, Message, Stamp};
use crate::proto;
use crate::secret_connection::{Auth, Handshake, Secured, decode_hello};
use crate::session::{ChannelSet, CometDecoder};
use crate::trust;
use bytes::BytesMut;
use switchboard::wire::Decoder;

/// A decoder, its result dropped.
pub type Decode = fn(&[u8]);

/// Each decoder with its name.
pub const ALL: &[(&str, Decode)] = &[
    ("comet_bytes_value", bytes_value),
    ("comet_hello", hello),
    ("comet_auth", auth),
    ("comet_handshake", handshake),
    ("comet_node_info", node_info),
    ("comet_packet", packet),
    ("comet_go_wire_packet", go_wire_packet),
    ("comet_session", session),
    ("comet_frames", frames),
    ("comet_address", address),
    ("comet_node_key", node_key),
    ("comet_bench_report", bench_report),
    ("comet_pex", pex),
    ("comet_address_book", address_book),
    ("comet_trust", trust_metrics),
    ("comet_go_wire_message", go_wire_message),
];

/// [`proto::unwrap_slice`].
pub fn bytes_value(bytes: &[u8]) {
    let _ = proto::unwrap_slice(bytes);
}

/// [`decode_hello`].
pub fn hello(bytes: &[u8]) {
    let _ = decode_hello(bytes);
}

/// [`Auth::decode`], and the check of what it finds.
pub fn auth(bytes: &[u8]) {
    if let Ok(Some((auth, _))) = Auth::decode(bytes) {
        let _ = auth.verify(&[0; 32]);
    }
}

/// [`Handshake::advance`] over everything a peer sends.
pub fn handshake(bytes: &[u8]) {
    let mut out = BytesMut::new();
    let (Ok(key), Ok(mut machine)) = (NodeKey::from_seed(&[1; 32]), Handshake::start(&[2; 32], &mut out))
    else {
        return;
    };
    let mut src = BytesMut::from(bytes);
    let _ = machine.advance(&key, &mut src, &mut out);
}

/// [`NodeInfo::decode`] and [`NodeInfo::validate`].
pub fn node_info(bytes: &[u8]) {
    if let Ok(Some((info, _))) = NodeInfo::decode(bytes) {
        let _ = info.validate();
        let _ = info.compatible(&info);
    }
}

/// [`Protobuf`] packets.
pub fn packet(bytes: &[u8]) {
    let _ = Protobuf.whole(bytes);
    let _ = Protobuf.decode(bytes);
}

/// [`GoWire`] packets.
pub fn go_wire_packet(bytes: &[u8]) {
    let _ = GoWire.decode(bytes);
}

/// A [`CometDecoder`] fed with the bytes properly sealed: what a hostile peer with a key can reach.
pub fn session(bytes: &[u8]) {
    let Some((mut left, right)) = secured() else { return };
    let mut wire = BytesMut::new();
    // The first byte chooses how the rest is cut into frames.
    let cut = usize::from(bytes.first().copied().unwrap_or_default()).max(1) * 4;
    for piece in bytes.get(1..).unwrap_or_default().chunks(cut) {
        let _ = left.sealer.seal(piece, &mut wire);
    }
    decode_all(right, wire);
}

/// A [`CometDecoder`] fed with the bytes as they stand: what anybody on the way can reach.
pub fn frames(bytes: &[u8]) {
    if let Some((_, right)) = secured() {
        decode_all(right, BytesMut::from(bytes));
    }
}

/// [`NetAddress::parse`] and [`crate::wire::parse`].
pub fn address(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = split_authority(text);
        let _ = crate::wire::parse(text);
        if let Ok(address) = NetAddress::parse(text) {
            let _ = (address.routable(), address.local(), address.valid(), address.to_string());
        }
    }
}

/// [`NodeKey::from_json`].
pub fn node_key(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = NodeKey::from_json(text);
    }
}

/// [`parse_report`].
pub fn bench_report(bytes: &[u8]) {
    let _ = parse_report(bytes);
}

/// [`Message::decode`] of peer exchange: what is read is written and read again.
pub fn pex(bytes: &[u8]) {
    if let Ok(message) = Message::decode(bytes) {
        let again = Message::decode(&message.encode()).map(|again| again.encode());
        assert_eq!(again, Ok(message.encode()));
    }
}

/// [`Book::from_json`] and [`Stamp::parse`]: what is read is written and read again.
pub fn address_book(bytes: &[u8]) {
    let now = Stamp::from_secs(1_800_000_000);
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(stamp) = Stamp::parse(text)
    {
        assert_eq!(Stamp::parse(&stamp.to_rfc3339()), Some(stamp));
    }
    for strict in [true, false] {
        if let Ok((book, report)) = Book::from_json(bytes, strict, now) {
            let again = Book::from_json(&book.to_json(), strict, now);
            assert_eq!(again.map(|(_, again)| again.kept), Ok(report.kept));
        }
    }
}

/// [`trust::Store::from_json`], and an hour with what it finds.
pub fn trust_metrics(bytes: &[u8]) {
    let now = tokio::time::Instant::now();
    if let Ok(mut store) = trust::Store::from_json(trust::Config::default(), bytes, now) {
        store.tick(now + std::time::Duration::from_secs(3_600));
        let _ = store.to_json();
    }
}

/// [`go_wire::decode`] of a message that has every kind of value: what is read is written alike.
pub fn go_wire_message(bytes: &[u8]) {
    if let Ok(message) = go_wire::decode::<EveryKind>(bytes, 4_096) {
        assert_eq!(go_wire::encode(&message), bytes);
    }
}

/// A message with a value of each kind.
struct EveryKind {
    varint: i64,
    uvarint: u64,
    fixed: (u8, i16, u32, i64),
    texts: Vec<String>,
    bytes: Option<Vec<u8>>,
}

impl go_wire::Message for EveryKind {
    fn type_byte(&self) -> u8 {
        1
    }

    fn write(&self, out: &mut Writer) {
        let (a, b, c, d) = self.fixed;
        out.varint(self.varint);
        out.uvarint(self.uvarint);
        out.u8(a);
        out.i16(b);
        out.u32(c);
        out.i64(d);
        out.count(self.texts.len());
        self.texts.iter().for_each(|text| out.string(text));
        out.present(self.bytes.is_some());
        self.bytes.iter().for_each(|bytes| out.bytes(bytes));
    }

    fn read(type_byte: u8, src: &mut Reader<'_>) -> Result<Self, GoWireError> {
        if type_byte != 1 {
            return Err(GoWireError::Type(type_byte));
        }
        Ok(Self {
            varint: src.varint()?,
            uvarint: src.uvarint()?,
            fixed: (src.u8()?, src.i16()?, src.u32()?, src.i64()?),
            texts: {
                let count = src.count(16)?;
                (0..count).map(|_| src.string(64).map(str::to_owned)).collect::<Result<_, _>>()?
            },
            bytes: if src.present()? { Some(src.bytes(64)?.to_vec()) } else { None },
        })
    }
}

fn decode_all(right: Secured, mut wire: BytesMut) {
    let some = [0, 1, 0x70, 0xff].into_iter().collect();
    let era = crate::packet::Era::Protobuf;
    let mut decoder = CometDecoder::new(right.opener, era, some, ChannelSet::default(), &right.plain);
    while let Ok(Some(_)) = decoder.decode(&mut wire) {}
}

/// Both ends of a handshake between fixed keys.
fn secured() -> Option<(Secured, Secured)> {
    let key = NodeKey::from_seed(&[1; 32]).ok()?;
    let (mut to_left, mut to_right) = (BytesMut::new(), BytesMut::new());
    let mut left = Handshake::start(&[3; 32], &mut to_right).ok()?;
    let mut right = Handshake::start(&[4; 32], &mut to_left).ok()?;
    left.advance(&key, &mut to_left, &mut to_right).ok()?;
    let right = right.advance(&key, &mut to_right, &mut to_left).ok()??;
    Some((left.advance(&key, &mut to_left, &mut to_right).ok()??, right))
}
