//! STUN binding requests and responses (RFC 5389): "from which address do you see me?"
//!
//! ```text
//!   type 2 ‖ length 2 ‖ 21 12 a4 42 ‖ transaction 12 ‖ attributes: type 2 ‖ length 2 ‖ value, padded to 4
//!   request 0001, no attributes     response 0101     XOR-MAPPED-ADDRESS 0020     MAPPED-ADDRESS 0001
//!   address  0 ‖ 1 IPv4, 2 IPv6 ‖ port 2 ‖ IP; in the XOR form masked with cookie ‖ transaction
//! ```
//! The masked form is preferred: some routers rewrite addresses they recognise in packets.
//!
//! Limits: an answer is a datagram of at most [`MAX_ANSWER`] bytes. It is bound to the question by 12 random bytes;
//! a server may still tell any address it likes.

use crate::NatError;
use std::net::{IpAddr, SocketAddr};

/// Largest answer read.
pub const MAX_ANSWER: usize = 1280;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const REQUEST: u16 = 0x0001;
const RESPONSE: u16 = 0x0101;
const MAPPED: u16 = 0x0001;
const XOR_MAPPED: u16 = 0x0020;

/// Servers asked when none is named; three of them, picked at random.
pub const SERVERS: [&str; 6] = [
    "stun.cloudflare.com:3478",
    "stun.l.google.com:19302",
    "stun1.l.google.com:19302",
    "stun2.l.google.com:19302",
    "stun.nextcloud.com:3478",
    "stun.sipgate.net:3478",
];

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// Chosen at random.
    pub transaction: [u8; 12],
}

fn message(kind: u16, transaction: &[u8; 12], attributes: &[u8]) -> Vec<u8> {
    let mut out = kind.to_be_bytes().to_vec();
    out.extend_from_slice(&u16::try_from(attributes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(&COOKIE);
    out.extend_from_slice(transaction);
    out.extend_from_slice(attributes);
    out
}

/// Masks an address, or takes the mask off: port with the cookie's start, IP with cookie ‖ transaction.
fn masked(addr: SocketAddr, transaction: &[u8; 12]) -> SocketAddr {
    let port = addr.port() ^ 0x2112;
    let mask = COOKIE.iter().chain(transaction);
    let ip = match addr.ip() {
        IpAddr::V4(ip) => {
            let mut octets = ip.octets();
            octets.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
            IpAddr::from(octets)
        }
        IpAddr::V6(ip) => {
            let mut octets = ip.octets();
            octets.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
            IpAddr::from(octets)
        }
    };
    SocketAddr::new(ip, port)
}

fn address(value: &[u8]) -> Option<SocketAddr> {
    let ([_, family, p0, p1], ip) = value.split_first_chunk::<4>()?;
    let ip = match family {
        1 => IpAddr::from(<[u8; 4]>::try_from(ip).ok()?),
        2 => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([*p0, *p1])))
}

impl Binding {
    /// The question's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        message(REQUEST, &self.transaction, &[])
    }

    /// The answer a server gives that sees us at `seen`.
    #[must_use]
    pub fn answer(&self, seen: SocketAddr) -> Vec<u8> {
        let seen = SocketAddr::new(seen.ip().to_canonical(), seen.port());
        let masked = masked(seen, &self.transaction);
        let (family, ip) = match masked.ip() {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (2, ip.octets().to_vec()),
        };
        let mut attribute = XOR_MAPPED.to_be_bytes().to_vec();
        attribute.extend_from_slice(&[0, 4 + u8::try_from(ip.len()).unwrap_or_default(), 0, family]);
        attribute.extend_from_slice(&masked.port().to_be_bytes());
        attribute.extend_from_slice(&ip);
        message(RESPONSE, &self.transaction, &attribute)
    }

    /// Reads a question, for servers.
    ///
    /// # Errors
    /// [`NatError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, NatError> {
        let (kind, transaction, _) = split(bytes)?;
        if kind == REQUEST {
            Ok(Self { transaction })
        } else {
            Err(NatError::Malformed("not a STUN question"))
        }
    }

    /// Reads the answer to this question.
    ///
    /// # Errors
    /// [`NatError::Malformed`], also for the answer to another question.
    pub fn decode_answer(&self, bytes: &[u8]) -> Result<SocketAddr, NatError> {
        let (kind, transaction, mut attributes) = split(bytes)?;
        if kind != RESPONSE || transaction != self.transaction {
            return Err(NatError::Malformed("not the answer to this STUN question"));
        }
        let mut plain = None;
        while let Some(([t0, t1, l0, l1], rest)) = attributes.split_first_chunk::<4>() {
            let length = usize::from(u16::from_be_bytes([*l0, *l1]));
            let value = rest.get(..length).ok_or(NatError::Malformed("STUN attribute too short"))?;
            match u16::from_be_bytes([*t0, *t1]) {
                XOR_MAPPED => {
                    let addr = address(value).ok_or(NatError::Malformed("malformed STUN address"))?;
                    return Ok(masked(addr, &self.transaction));
                }
                MAPPED => plain = address(value),
                _ => {}
            }
            attributes = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        plain.ok_or(NatError::Malformed("STUN answer without an address"))
    }
}

fn split(bytes: &[u8]) -> Result<(u16, [u8; 12], &[u8]), NatError> {
    const SHORT: NatError = NatError::Malformed("STUN message too short");
    let (head, rest) = bytes.split_first_chunk::<20>().ok_or(SHORT)?;
    let [k0, k1, l0, l1, c0, c1, c2, c3, transaction @ ..] = *head;
    if [c0, c1, c2, c3] != COOKIE {
        return Err(NatError::Malformed("not a STUN message"));
    }
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    Ok((u16::from_be_bytes([k0, k1]), transaction, rest.get(..length).ok_or(SHORT)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769, sections 2.2 and 2.3, without the attributes that follow the address.
    const TRANSACTION: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
    const V4: [u8; 12] = [0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
    const V6: [u8; 24] = [
        0x00, 0x20, 0x00, 0x14, 0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc,
        0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
    ];

    #[test]
    fn the_rfcs_examples_are_read_and_written() {
        let binding = Binding { transaction: TRANSACTION };
        let seen: [SocketAddr; 2] =
            ["192.0.2.1:32853", "[2001:db8:1234:5678:11:2233:4455:6677]:32853"].map(|a| a.parse().unwrap());
        for (attribute, seen) in [&V4[..], &V6].into_iter().zip(seen) {
            let answer = message(RESPONSE, &TRANSACTION, attribute);
            assert_eq!(binding.decode_answer(&answer).unwrap(), seen);
            assert_eq!(binding.answer(seen), answer);
            (0..answer.len()).for_each(|cut| assert!(binding.decode_answer(&answer[..cut]).is_err()));
            assert!(Binding { transaction: [0; 12] }.decode_answer(&answer).is_err());
        }
        assert_eq!(Binding::decode(&binding.encode()).unwrap(), binding);
        assert!(Binding::decode(&binding.answer(seen[0])).is_err());
    }

    #[test]
    fn other_attributes_are_passed_over_and_the_plain_address_is_a_fallback() {
        let binding = Binding { transaction: TRANSACTION };
        // SOFTWARE of 3 bytes and 1 of padding, then MAPPED-ADDRESS.
        let mut attributes = vec![0x80, 0x22, 0, 3, b'a', b'b', b'c', 0];
        attributes.extend_from_slice(&[0, 1, 0, 8, 0, 1, 0, 80, 203, 0, 113, 7]);
        let answer = message(RESPONSE, &TRANSACTION, &attributes);
        assert_eq!(binding.decode_answer(&answer).unwrap(), "203.0.113.7:80".parse().unwrap());
        attributes.extend_from_slice(&V4);
        let answer = message(RESPONSE, &TRANSACTION, &attributes);
        assert_eq!(binding.decode_answer(&answer).unwrap().port(), 32853);
        for length in [0u16, 1, 7, u16::MAX] {
            let mut bad = V4.to_vec();
            bad[2..4].copy_from_slice(&length.to_be_bytes());
            assert!(binding.decode_answer(&message(RESPONSE, &TRANSACTION, &bad)).is_err());
        }
    }
}
