//! Addresses as users write them: `fabric://HOST:PORT`, or with the PKI-ID that must answer, `fabric://PKI-ID@HOST:PORT`.

use super::{FABRIC, peer_id};
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use switchboard::Candidate;
use switchboard::text::printable;
use switchboard::wire::AddressError;

/// Reads `fabric://host:port` or `fabric://PKI-ID@host:port`.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn parse(url: &str) -> Result<Candidate, AddressError> {
    let wrong = |what: &str| AddressError(format!("{}: {what}: expected fabric://HOST:PORT", printable(url)));
    let rest = url.strip_prefix("fabric://").ok_or_else(|| wrong("not an address of this wire"))?;
    let (id, authority) = match rest.split_once('@') {
        Some((id, authority)) => {
            let mut bytes = [0; 32];
            hex::decode_to_slice(id, &mut bytes).map_err(|_| wrong("a PKI-ID is 64 hex digits"))?;
            (Some(peer_id(&bytes)), authority)
        }
        None => (None, rest),
    };
    let (host, port) = authority.rsplit_once(':').ok_or_else(|| wrong("no port"))?;
    let port = port
        .parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| wrong("the port is no number from 1 to 65535"))?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if ServerName::try_from(host).is_err() {
        return Err(wrong("the host is neither an IP address nor a DNS name"));
    }
    Ok(Candidate::new(FABRIC, host, port).maybe_id(id))
}

/// How others dial a node that listens there.
#[must_use]
pub fn endpoint(at: SocketAddr) -> String {
    at.to_string()
}
