//! PCP packets (RFC 6887), as far as mapping a port needs them.
//!
//! ```text
//!   request    2 ‖ 1 ‖ 0 0 ‖ life 4 ‖ our IP 16                          then MAP
//!   response   2 ‖ 129 ‖ 0 ‖ result 1 ‖ life 4 ‖ epoch 4 ‖ 0 × 12        then MAP
//!   MAP        nonce 12 ‖ 17 UDP, 6 TCP ‖ 0 0 0 ‖ port 2 ‖ external port 2 ‖ external IP 16
//! ```
//! A life of 0 seconds deletes a mapping. The nonce binds an answer to its request, and a refresh to its mapping.

use crate::{NatError, Protocol};
use std::net::{IpAddr, Ipv6Addr};

/// Bytes of request and response.
pub const SIZE: usize = 60;

/// What is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Map {
    /// Chosen at random for a mapping; the same when it is refreshed or deleted.
    pub nonce: [u8; 12],
    /// Which transport.
    pub protocol: Protocol,
    /// Our port.
    pub internal: u16,
    /// The port outside: wanted, or given.
    pub external: u16,
    /// The address outside: wanted, or given.
    pub ip: IpAddr,
    /// For so many seconds; 0 deletes.
    pub life: u32,
}

fn mapped(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

impl Map {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&[if self.protocol == Protocol::Udp { 17 } else { 6 }, 0, 0, 0]);
        out.extend_from_slice(&self.internal.to_be_bytes());
        out.extend_from_slice(&self.external.to_be_bytes());
        out.extend_from_slice(&mapped(self.ip));
    }

    /// The request's bytes; `client` is our address as the router sees it.
    #[must_use]
    pub fn encode(&self, client: IpAddr) -> Vec<u8> {
        let mut out = vec![2, 1, 0, 0];
        out.extend_from_slice(&self.life.to_be_bytes());
        out.extend_from_slice(&mapped(client));
        self.put(&mut out);
        out
    }

    /// Whether a response is about the same mapping.
    #[must_use]
    pub fn is_answered_by(&self, response: &Self) -> bool {
        (self.nonce, self.protocol, self.internal) == (response.nonce, response.protocol, response.internal)
    }

    /// Reads a response.
    ///
    /// # Errors
    /// [`NatError::Malformed`], or [`NatError::Refused`] with the router's reason.
    pub fn decode(bytes: &[u8]) -> Result<Self, NatError> {
        const SHORT: NatError = NatError::Malformed("PCP answer too short");
        // A router that only knows NAT-PMP answers with its own version and "unsupported".
        match bytes {
            [0, ..] => return Err(NatError::Unsupported("the router speaks NAT-PMP, not PCP")),
            [2, 129, _, 0, ..] => {}
            [2, 129, _, code, ..] => return Err(NatError::Refused(refusal(*code))),
            _ => return Err(NatError::Malformed("not a PCP answer")),
        }
        let bytes = bytes.first_chunk::<SIZE>().ok_or(SHORT)?;
        let [_, _, _, _, l0, l1, l2, l3, ..] = *bytes;
        let (_, map) = bytes.split_last_chunk::<36>().ok_or(SHORT)?;
        let (nonce, rest) = map.split_first_chunk::<12>().ok_or(SHORT)?;
        let (fields, ip) = rest.split_first_chunk::<8>().ok_or(SHORT)?;
        let [protocol, _, _, _, i0, i1, e0, e1] = *fields;
        let protocol = match protocol {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => return Err(NatError::Malformed("PCP answer for another transport")),
        };
        let ip: [u8; 16] = ip.try_into().map_err(|_| SHORT)?;
        Ok(Self {
            nonce: *nonce,
            protocol,
            internal: u16::from_be_bytes([i0, i1]),
            external: u16::from_be_bytes([e0, e1]),
            ip: IpAddr::V6(Ipv6Addr::from(ip)).to_canonical(),
            life: u32::from_be_bytes([l0, l1, l2, l3]),
        })
    }
}

fn refusal(code: u8) -> String {
    match code {
        1 => "PCP version not supported".to_owned(),
        2 => "not authorised; port mapping is switched off in the router".to_owned(),
        3 => "malformed request".to_owned(),
        4 => "operation not supported".to_owned(),
        7 => "the router's own network failed".to_owned(),
        8 => "out of resources".to_owned(),
        9 => "transport not supported".to_owned(),
        10 => "quota used up".to_owned(),
        11 => "the external port cannot be provided".to_owned(),
        12 => "our address is another than the router sees: another router stands between".to_owned(),
        13 => "too many remote peers".to_owned(),
        code => format!("result code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_responses_have_the_rfcs_layout() {
        let map = Map {
            nonce: *b"twelve bytes",
            protocol: Protocol::Udp,
            internal: 30303,
            external: 30303,
            ip: [0, 0, 0, 0].into(),
            life: 600,
        };
        let request = map.encode([192, 168, 1, 5].into());
        assert_eq!(request.len(), SIZE);
        assert_eq!(request[..8], [2, 1, 0, 0, 0, 0, 2, 88]);
        assert_eq!(request[8..24], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 1, 5]);
        assert_eq!(request[36], 17);
        let mut response = request.clone();
        response[1] = 129;
        response[8..24].fill(0);
        response[42..44].copy_from_slice(&[0x12, 0x34]);
        response[44..].copy_from_slice(&mapped([203, 0, 113, 7].into()));
        let got = Map::decode(&response).unwrap();
        assert_eq!(got, Map { external: 0x1234, ip: [203, 0, 113, 7].into(), ..map });
        assert!(map.is_answered_by(&got));
        assert!(!map.is_answered_by(&Map { nonce: [0; 12], ..got }));
        for cut in 0..SIZE {
            assert!(Map::decode(&response[..cut]).is_err(), "{cut}");
        }
        response[3] = 12;
        assert!(
            matches!(Map::decode(&response), Err(NatError::Refused(why)) if why.contains("another router"))
        );
        assert!(matches!(Map::decode(&[0, 128, 0, 1]), Err(NatError::Unsupported(_))));
    }
}
