//! NAT-PMP packets (RFC 6886).
//!
//! ```text
//!   address  0 ‖ 0                                              ─▶ 0 ‖ 128 ‖ result 2 ‖ epoch 4 ‖ IPv4 4
//!   map      0 ‖ 1 UDP, 2 TCP ‖ 0 0 ‖ port 2 ‖ wanted 2 ‖ life 4 ─▶ 0 ‖ 129, 130 ‖ result 2 ‖ epoch 4
//!                                                                  ‖ port 2 ‖ external 2 ‖ life 4
//! ```
//! A life of 0 seconds deletes a mapping. Answers are read to their fixed length; more bytes are passed over.

use crate::{NatError, Protocol};
use std::net::Ipv4Addr;

/// Where routers listen, NAT-PMP and PCP alike.
pub const PORT: u16 = 5351;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// The router's external address.
    Address,
    /// A mapping.
    Map {
        /// Which transport.
        protocol: Protocol,
        /// Our port.
        internal: u16,
        /// The port we would like outside.
        wanted: u16,
        /// For so many seconds; 0 deletes.
        life: u32,
    },
}

/// What the router says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// Its external address.
    Address(Ipv4Addr),
    /// A mapping.
    Map {
        /// Which transport.
        protocol: Protocol,
        /// Our port.
        internal: u16,
        /// The port outside.
        external: u16,
        /// For so many seconds.
        life: u32,
    },
}

fn opcode(request: &Request) -> u8 {
    match request {
        Request::Address => 0,
        Request::Map { protocol: Protocol::Udp, .. } => 1,
        Request::Map { protocol: Protocol::Tcp, .. } => 2,
    }
}

impl Request {
    /// The request's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0, opcode(self)];
        if let Self::Map { internal, wanted, life, .. } = self {
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&internal.to_be_bytes());
            out.extend_from_slice(&wanted.to_be_bytes());
            out.extend_from_slice(&life.to_be_bytes());
        }
        out
    }

    /// Whether a response answers this request.
    #[must_use]
    pub fn is_answered_by(&self, response: &Response) -> bool {
        match (self, response) {
            (Self::Address, Response::Address(_)) => true,
            (Self::Map { protocol, internal, .. }, Response::Map { protocol: of, internal: port, .. }) => {
                protocol == of && internal == port
            }
            _ => false,
        }
    }
}

impl Response {
    /// Reads a response.
    ///
    /// # Errors
    /// [`NatError::Malformed`], or [`NatError::Refused`] with the router's reason.
    pub fn decode(bytes: &[u8]) -> Result<Self, NatError> {
        const SHORT: NatError = NatError::Malformed("NAT-PMP answer too short");
        let (head, rest) = bytes.split_first_chunk::<8>().ok_or(SHORT)?;
        let [version, opcode, result @ .., _, _, _, _] = head;
        if *version != 0 || !(128..=130).contains(opcode) {
            return Err(NatError::Malformed("not a NAT-PMP answer"));
        }
        match u16::from_be_bytes(*result) {
            0 => {}
            code => return Err(NatError::Refused(refusal(code))),
        }
        if *opcode == 128 {
            return Ok(Self::Address(rest.first_chunk::<4>().copied().ok_or(SHORT)?.into()));
        }
        let [i0, i1, e0, e1, life @ ..] = rest.first_chunk::<8>().ok_or(SHORT)?;
        Ok(Self::Map {
            protocol: if *opcode == 129 { Protocol::Udp } else { Protocol::Tcp },
            internal: u16::from_be_bytes([*i0, *i1]),
            external: u16::from_be_bytes([*e0, *e1]),
            life: u32::from_be_bytes(*life),
        })
    }
}

fn refusal(code: u16) -> String {
    match code {
        1 => "NAT-PMP version not supported".to_owned(),
        2 => "not authorised; port mapping is switched off in the router".to_owned(),
        3 => "the router has no address itself".to_owned(),
        4 => "out of resources".to_owned(),
        5 => "operation not supported".to_owned(),
        code => format!("result code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: Request = Request::Map { protocol: Protocol::Tcp, internal: 30303, wanted: 30303, life: 600 };

    #[test]
    fn packets_are_as_the_rfc_draws_them() {
        assert_eq!(Request::Address.encode(), [0, 0]);
        assert_eq!(MAP.encode(), [0, 2, 0, 0, 0x76, 0x5f, 0x76, 0x5f, 0, 0, 2, 88]);
        let address = [0, 128, 0, 0, 0, 0, 0, 9, 203, 0, 113, 7];
        let response = Response::decode(&address).unwrap();
        assert_eq!(response, Response::Address([203, 0, 113, 7].into()));
        assert!(Request::Address.is_answered_by(&response) && !MAP.is_answered_by(&response));
        let map = [0, 130, 0, 0, 0, 0, 0, 9, 0x76, 0x5f, 0x12, 0x34, 0, 0, 1, 0];
        let response = Response::decode(&map).unwrap();
        assert_eq!(
            response,
            Response::Map { protocol: Protocol::Tcp, internal: 30303, external: 0x1234, life: 256 }
        );
        assert!(MAP.is_answered_by(&response));
        for whole in [&address[..], &map] {
            (0..whole.len()).for_each(|cut| assert!(Response::decode(&whole[..cut]).is_err(), "{cut}"));
        }
    }

    #[test]
    fn refusals_and_nonsense_are_told() {
        let mut refused = [0, 130, 0, 2, 0, 0, 0, 9];
        assert!(
            matches!(Response::decode(&refused), Err(NatError::Refused(why)) if why.contains("authorised"))
        );
        refused[1] = 127;
        assert!(matches!(Response::decode(&refused), Err(NatError::Malformed(_))));
        refused[0] = 2;
        assert!(matches!(Response::decode(&refused), Err(NatError::Malformed(_))));
    }
}
